"""The line of an epoch and the bar say how training goes: by hand-made clocks."""

import pytest

from tasks.common.resume.random_state import ExactState
from tasks.common.run import progress
from tasks.common.run.callbacks import BestCheckpoint, LastCheckpoint
from tasks.common.run.progress import EpochLine, RunBar
from tests.tasks.common.run.test_callbacks import Slope, trainer


def test_the_line_of_an_epoch_has_the_mean_loss_and_the_scores(tmp_path, capsys):
    module = Slope(scores=[0.25, 0.5], losses=[1.0, 4.0])
    trainer(tmp_path, EpochLine(("val/ap", "val/ap50"))).fit(module)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "epoch   1/2  train/loss 2.500  val/ap 0.250  0 s",
        "epoch   2/2  train/loss 2.500  val/ap 0.500  0 s",
    ]


def test_accumulation_does_not_change_the_loss_that_is_printed(tmp_path, capsys):
    module = Slope(losses=[1.0, 4.0])
    trainer(tmp_path, EpochLine(()), epochs=1, accumulate_grad_batches=2).fit(module)
    assert "train/loss 2.500" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
@pytest.mark.parametrize("stop_at", [1, 2])
def test_an_epoch_resumed_in_its_middle_is_timed_from_there(tmp_path, capsys, stop_at):
    last = tmp_path / "last.ckpt"
    with pytest.raises(SystemExit):
        trainer(tmp_path, LastCheckpoint(last, minutes=0), ExactState()).fit(Slope(stop_at=stop_at))
    again = trainer(tmp_path, EpochLine(()), ExactState())
    again.fit(Slope(), ckpt_path=str(last), weights_only=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "epoch   2/2  train/loss 1.000  0 s"
    assert all(line.endswith("  0 s") for line in lines)


def test_a_line_has_scores_only_where_an_epoch_was_validated(tmp_path, capsys):
    options = {"epochs": 3, "max_steps": 5, "check_val_every_n_epoch": 2}
    trainer(tmp_path, EpochLine(("val/ap",)), **options).fit(Slope(scores=[0.25, 0.5, 0.75]))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert ["val/ap" in line for line in lines] == [False, True, False]


def test_the_best_epochs_are_marked(tmp_path, capsys):
    best = BestCheckpoint(tmp_path, monitor="val/ap")
    loop = trainer(tmp_path, EpochLine(("val/ap",), best=best), best, epochs=4)
    loop.fit(Slope(scores=[0.5, 0.25, 0.5, 0.75]))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert ["best" in line for line in lines] == [True, False, False, True]


class Counting(Slope):
    """Steps of 4 images, which take the given seconds, after those of waiting for them."""

    def __init__(self, clock, waits, works):
        super().__init__()
        self.clock, self.waits, self.works, self.trained = clock, waits, works, 0

    def training_step(self, batch, batch_idx):
        self.clock.now += self.works
        self.trained += 4
        return super().training_step(batch, batch_idx)

    def on_train_epoch_start(self):
        self.clock.now += self.waits

    def on_validation_epoch_end(self):
        self.clock.now += 30
        super().on_validation_epoch_end()


class Time:
    """A clock that is set by hand."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Time()
    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.setattr(progress, "peak_memory", lambda: {"process": 2_500_000_000})
    return clock


@pytest.mark.parametrize(
    ("waits", "works", "speed"),
    [
        (0, 5, "0.8 images/s  2.5 GB"),  # 8 images in 2 x 5 s
        (2.4, 5, "0.645 images/s  2.5 GB"),  # 2.4 of 12.4 s are 19 %
        (10, 5, "0.4 images/s  2.5 GB  waited for images 50% of the time"),
    ],
)
def test_the_speed_is_that_of_training_without_the_validation(
    tmp_path, capsys, clock, waits, works, speed
):
    trainer(tmp_path, EpochLine(()), epochs=1).fit(Counting(clock, waits, works))
    (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("epoch"))
    assert line == f"epoch   1/1  train/loss 1.000  {waits + 2 * works + 30:.0f} s  {speed}"


def test_with_a_gpu_the_memory_is_that_of_the_gpu(tmp_path, capsys, clock, monkeypatch):
    used = {"process": 9_000_000_000, "GPU": 700_000_000}
    monkeypatch.setattr(progress, "peak_memory", lambda: used)
    trainer(tmp_path, EpochLine(()), epochs=1).fit(Counting(clock, 0, 5))
    assert "0.8 images/s  700 MB of the GPU" in capsys.readouterr().out


def test_the_bar_shows_images_a_second_and_the_time_left(tmp_path, clock):
    shown = []

    class Bar(RunBar):
        def on_train_batch_end(self, loop, module, *_):
            shown.append(self.get_metrics(loop, module))

    options = {"enable_progress_bar": True, "epochs": 2}
    trainer(tmp_path, Bar(), **options).fit(Counting(clock, 0, 5))
    rates = [(metrics["images/s"], metrics["left"]) for metrics in shown]
    # After 2 steps 2 are left; then 30 s of validation count for both.
    assert rates == [("0.8", "15 s"), ("0.8", "10 s"), ("0.267", "15 s"), ("0.32", "0 s")]
    assert all("v_num" not in metrics for metrics in shown)
