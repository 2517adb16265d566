"""The curves show what the CSV says, and survive what a real CSV lacks."""

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from tasks.common.report.curves import curves_figure, write_figure

HEADER = "epoch,step,train/loss,train/loss_mask,lr,val/loss,val/dice,val/hd95_mm"
TWO_EPOCHS = f"""{HEADER}
0,1,2.5,1.5,0.1,,,
0,2,2.25,1.25,0.2,,,
0,2,,,,3.5,0.5,12.5
1,3,1.75,1.0,0.1,,,
1,4,1.5,nan,0.05,,,
1,4,,,,3.0,0.75,10.0
2,5,,,,2.5,0.625,8.0
"""


@pytest.fixture
def drawn(tmp_path):
    """Draw the curves of a table."""

    def draw(text=TWO_EPOCHS, **options):
        (tmp_path / "metrics.csv").write_text(text)
        return curves_figure(tmp_path / "metrics.csv", **options)

    return draw


def panels(figure):
    return {axes.get_title().split(":")[0]: axes for axes in figure.axes}


def lines(figure):
    """Return every line that shows logged values, by the metric's name."""
    drawn = [line for axes in figure.axes for line in axes.get_lines() if line.get_gid()]
    return {line.get_gid(): np.array(line.get_data()).T.tolist() for line in drawn}


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_lines_hold_the_numbers_of_the_file(drawn):
    assert lines(drawn()) == {
        "train/loss": [[1, 2.5], [2, 2.25], [3, 1.75], [4, 1.5]],
        "train/loss_mask": [[1, 1.5], [2, 1.25], [3, 1.0]],
        "val/loss": [[2, 3.5], [4, 3.0], [5, 2.5]],
        "lr": [[1, 0.1], [2, 0.2], [3, 0.1], [4, 0.05]],
        "val/dice": [[1, 0.5], [2, 0.75], [3, 0.625]],  # epochs count from 1
        "val/hd95_mm": [[1, 12.5], [2, 10.0], [3, 8.0]],
        "best": [[2, 0.75]],
    }


def test_each_kind_of_metric_has_its_panel(drawn):
    chosen = lines(drawn(scores=["val/dice"]))
    assert {name for name in chosen if name.startswith("val/")} == {"val/dice", "val/loss"}
    found = panels(drawn())
    assert {title: legend(axes) for title, axes in found.items()} == {
        "loss": ["train/loss", "train/loss_mask", "val/loss"],
        "learning rate": ["lr"],
        "validation": ["val/dice"],
        "validation, other": ["val/hd95_mm"],
    }
    assert [axes.get_xlabel() for axes in found.values()] == ["step", "step", "epoch", "epoch"]


@pytest.mark.parametrize(
    ("monitor", "epoch", "marked"),
    [
        (None, None, "validation: best val/dice 0.750, epoch 2"),
        ("val/dice", None, "validation: best val/dice 0.750, epoch 2"),
        ("val/hd95_mm", None, "validation, other: best val/hd95_mm 12.500, epoch 1"),
        ("val/loss", None, "loss: best val/loss 3.500, step 2"),
        ("val/ap", None, None),  # not logged
        ("val/dice", 3, "validation: best val/dice 0.625, epoch 3"),  # that of the checkpoint
        # The table of a resumed run may lack it; the best of the rest is not the best.
        ("val/dice", 9, None),
    ],
)
def test_the_best_epoch_of_the_monitored_metric_is_marked(drawn, monitor, epoch, marked):
    figure = drawn(monitor=monitor, best_epoch=epoch)
    titles = [axes.get_title() for axes in figure.axes]
    assert [title for title in titles if "best" in title] == ([marked] if marked else [])
    assert ("best" in lines(figure)) == (marked is not None)


def test_the_thick_line_is_the_moving_average_of_the_thin_one(drawn):
    values = np.random.default_rng(0).normal(1, 0.1, 100)
    rows = "".join(f"0,{step},{value!r}\n" for step, value in enumerate(values.tolist()))
    axes = panels(drawn("epoch,step,train/loss\n" + rows))["loss"]
    thin, thick = sorted(axes.get_lines(), key=lambda line: line.get_linewidth())
    half = 2  # 5 % of 100 points, on both sides together, rounded to even
    expected = [values[max(0, i - half) : i + half + 1].mean() for i in range(100)]
    np.testing.assert_allclose(thick.get_ydata(), expected)
    np.testing.assert_allclose(thin.get_ydata(), values)


def test_one_epoch_with_one_step_gives_visible_points(drawn):
    figure = drawn("epoch,step,train/loss,val/ap\n0,0,2.5,\n0,0,,0.25\n")
    points = {"train/loss": [[0, 2.5]], "val/ap": [[1, 0.25]], "best": [[1, 0.25]]}
    assert lines(figure) == points
    shown = [line for axes in figure.axes for line in axes.get_lines() if line.get_gid()]
    assert [line.get_marker() for line in shown] == ["o", "o", "*"]


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("epoch,step,val/ap\n0,3,0.5\n", ["validation"]),
        ("step,train/loss\n0,2\n1,1\n", ["loss"]),
        ("epoch,step,lr-SGD,lr-SGD/pg2\n0,1,0.5,0.25\n", ["learning rate"]),
        ("epoch,step,train/loss,lr\n0,1,nan,\n0,2,inf,0.1\n", ["learning rate"]),
    ],
)
def test_missing_columns_only_cost_their_panel(drawn, text, titles):
    assert list(panels(drawn(text))) == titles


def test_more_than_eight_lines_leave_the_legend_readable(drawn):
    names = [f"val/ap/class{k}" for k in range(12)]
    cells = ",".join(f"0.{k:02d}" for k in range(12))
    figure = drawn(f"epoch,step,{','.join(names)}\n0,1,{cells}\n1,2,{cells}\n")
    axes = panels(figure)["validation"]
    assert legend(axes) == names[:8]
    assert axes.get_legend().get_title().get_text() == "and 4 more in gray"
    assert set(lines(figure)) == {*names, "best"}


def test_what_lightning_writes_can_be_read(tmp_path):
    logger = CSVLogger(tmp_path, name="", version="")
    for step in range(3):
        logger.log_metrics({"train/loss": torch.tensor(3.0 - step), "epoch": 0}, step=step)
    logger.log_metrics({"val/ap": 0.5, "epoch": 0}, step=2)
    logger.save()
    found = lines(curves_figure(tmp_path / "metrics.csv"))
    assert found["train/loss"] == [[0, 3.0], [1, 2.0], [2, 1.0]]
    assert found["val/ap"] == [[1, 0.5]]


def test_the_picture_is_written_whole_and_has_no_other_file_beside_it(drawn, tmp_path):
    path = tmp_path / "pictures" / "curves.png"
    write_figure(drawn(), path)
    with Image.open(path) as picture:
        assert picture.width > 3 * picture.height
        assert np.asarray(picture.convert("L")).std() > 10
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics.csv is not there; .* CSVLogger"):
        curves_figure(tmp_path / "metrics.csv")


@pytest.mark.parametrize("text", ["", "epoch,step,test/ap\n0,1,0.5\n", "epoch,step,lr\n0,1,\n"])
def test_nothing_to_draw_is_said(drawn, text):
    with pytest.raises(ValueError, match=r"expected a column train/\*loss\*, lr\* or val/\*; log"):
        drawn(text)
