"""Training a segmenter as a user does, from a command line to the files that are left."""

import csv
import json
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from tasks.detection import assemble as detection
from tasks.detection.config import DETECTION
from tasks.segmentation import assemble as segmentation
from tasks.segmentation.config import SEGMENTATION
from tests.scripts.conftest import CONFIGS

SPLIT = "data.val=[val_*]", "data.test=[test_*]", "backbone.freeze=1"


@pytest.fixture(scope="module")
def first(seg_root, seg_command, in_process, tmp_path_factory):
    """A finished run of two epochs with a frozen stem, and what it printed."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
        patch.setenv("COLUMNS", "300")  # no line is broken
        in_process("train_seg.py", seg_command(seg_root, folder / "first", *SPLIT), folder)
    return folder / "first", printed.getvalue()


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def loaded(run, name="last"):
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


def test_a_run_leaves_a_complete_folder_and_nothing_beside_it(first):
    run, _ = first
    names = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    events = {name for name in names if name.startswith("tensorboard/events.out.tfevents")}
    expected = {"config.yaml", "environment.json", "metrics.csv", "metrics.json", "cases.csv"}
    expected |= {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}
    expected |= {"audit.json", "curves.png", "predictions.png", "tensorboard/hparams.yaml"}
    assert events
    assert names - events == expected
    assert list(run.parent.iterdir()) == [run]
    for picture in ("curves.png", "predictions.png"):
        assert cv2.imread(str(run / picture)).std() > 1


def test_checkpoints_load_without_running_code(first):
    run, _ = first
    assert loaded(run)["global_step"] == 4
    for name in ("best", "last"):
        card = loaded(run, name)["keel"]
        assert card["classes"]["names"] == ["background", "class 80", "class 160", "class 255"]
        assert (card["task"], card["channels"]) == ("segmentation", 1)


def test_the_configuration_and_the_machine_are_kept(first, seg_root):
    run, _ = first
    kept = OmegaConf.load(run / "config.yaml")
    assert (kept.recipe.batch_size, kept.data.root) == (2, str(seg_root))
    environment = json.loads((run / "environment.json").read_text())
    assert "train_seg.py" in environment["command"]
    assert environment["versions"]["torch"] == version("torch")


def test_an_automatic_batch_size_leaves_the_run_of_that_number(
    seg_root, seg_command, in_process, tmp_path, capsys
):
    """40 patches make 20 steps of 2; the trial before leaves no trace in the weights."""
    runs = {}
    for value in ("auto", "2"):
        options = "input.patches=40", "trainer.max_steps=2", f"recipe.batch_size={value}"
        command = seg_command(seg_root, tmp_path / value, *SPLIT, *options)
        in_process("train_seg.py", command, tmp_path)
        runs[value] = loaded(tmp_path / value)
        assert OmegaConf.load(tmp_path / value / "config.yaml").recipe.batch_size == 2
    assert "2 (20 steps per epoch of 40 images)" in capsys.readouterr().out
    assert runs["auto"]["keel_run"] == runs["2"]["keel_run"]
    assert runs["auto"]["state_dict"].keys() == runs["2"]["state_dict"].keys()
    for name, value in runs["auto"]["state_dict"].items():
        assert torch.equal(value, runs["2"]["state_dict"][name]), name


def test_the_best_epoch_is_that_of_the_highest_validation_dice(first):
    run, _ = first
    table = [row for row in rows(run / "metrics.csv") if row["val/dice"]]
    dice = [float(row["val/dice"]) for row in table]
    assert [row["epoch"] for row in table] == ["0", "1"]
    report = json.loads((run / "metrics.json").read_text())
    assert report["best epoch"] == 1 + int(np.argmax(dice))
    assert report["val"]["mean"]["dice"] == pytest.approx(max(dice), abs=1e-6)
    assert loaded(run, "best")["epoch"] + 1 == report["best epoch"]


def test_the_report_is_the_mean_of_the_test_cases(first):
    run, _ = first
    report = json.loads((run / "metrics.json").read_text())
    cases = rows(run / "cases.csv")
    assert {row["case"] for row in cases} == {"test_0000", "test_0001"}
    means = []
    for name in ("class 80", "class 160", "class 255"):
        known = [float(row["dice"]) for row in cases if row["class"] == name and row["dice"]]
        means.append(sum(known) / len(known))
        assert report["scores"][name]["dice"] == pytest.approx(means[-1])
    assert report["scores"]["mean"]["dice"] == pytest.approx(sum(means) / 3)
    assert report["scored split"] == "test"
    assert report["audit"] == "stem: 3 tensors, none moved; 89 of 89 trained tensors moved"


def test_the_terminal_says_what_is_run_and_what_came_out(first, seg_root):
    run, printed = first
    said = " ".join(printed.replace("│", " ").split())
    for fact in (
        "Keel: ResNet-UNet",
        f"data {seg_root}",
        "train 4 cases; background",
        "frozen stem (as told)",
        "norm group (that of the decoder)",
        "patch 64 x 64 (as told), 4 per epoch",
        "= 2 lr",
        f"run folder {run}",
        "epoch 2/2 train/loss",
        "Scores of the best checkpoint on test",
        "audit: epoch 1: stem frozen (3 tensors); 89 tensors train, peak lr c2 0.00025,",
        "audit: stem: 3 tensors, none moved; 89 of 89 trained tensors moved",
        f"everything is in {run}",
    ):
        assert fact in said


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["recipe.lr=5"], "recipe.lr is 5.0, the checkpoint's is 0.001"),
        (
            ["data.classes={0: background, 80: a, 160: b, 255: c}"],
            "classes.names is .*'a', .*, the checkpoint's is .*'class 80'",
        ),
        (
            ["data.test=[test_0000]"],
            r"split.test is \['test_0000'\], the checkpoint's is \['test_\*'\]",
        ),
        (["loss.name=dice"], "loss.name is 'dice', the checkpoint's is 'dice_ce'"),
        (["recipe.epochs=2"], "has 2 of 2 epochs behind it.*evaluate.py"),
    ],
)
def test_a_run_does_not_go_on_in_another_way(
    first, seg_root, tmp_path, overrides, message, seg_command, in_process
):
    last = first[0] / "checkpoints" / "last.ckpt"
    command = seg_command(seg_root, tmp_path / "r", *SPLIT, f"resume={last}", *overrides)
    with pytest.raises(SystemExit, match=f"(?s)^error: .*{message}"):
        in_process("train_seg.py", command, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_evaluate_gives_the_scores_of_the_run(first, seg_root, tmp_path, in_process):
    run, _ = first
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for path in (seg_root / kind).glob("test_*.png"):
            (tmp_path / kind / path.name).write_bytes(path.read_bytes())
    line = [run / "checkpoints" / "best.ckpt", "masks", "images", "--device=cpu"]
    in_process("evaluate.py", [*line, "--output=s.json", "--cases=c.csv"], tmp_path)
    scores = json.loads((tmp_path / "s.json").read_text())
    expected = json.loads((run / "metrics.json").read_text())["scores"]
    assert scores.keys() == expected.keys()
    for name, row in expected.items():
        assert scores[name] == pytest.approx(row, abs=1e-6, nan_ok=True)
    assert [row["case"] for row in rows(tmp_path / "c.csv")] == [
        row["case"] for row in rows(run / "cases.csv")
    ]


def test_a_segmenter_takes_no_options_of_detectors(first, seg_root, tmp_path, in_process):
    line = [first[0] / "checkpoints" / "best.ckpt", seg_root / "images", "--device=cpu"]
    for option in ("--threshold=0", "--annotations=a", "--precision=bf16", "--max-detections=9"):
        message = (
            f"^error: {option.partition('=')[0]} is for detectors, and .* is a segmenter; leave"
        )
        with pytest.raises(SystemExit, match=message):
            in_process("predict.py", [*line, option], tmp_path)
    assert list(tmp_path.iterdir()) == []


def _assembled(task, overrides):
    name = task.__name__.split(".")[1]
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS / name)):
        return task.assemble(compose(name, overrides=overrides))


def test_what_is_frozen_stays_and_the_rest_is_trained(first, seg_root, tmp_path, seg_command):
    """The seed gives the weights that the run began with."""
    SEGMENTATION.register()
    parts = _assembled(segmentation, seg_command(seg_root, tmp_path / "r", *SPLIT))
    before, after = parts.module.state_dict(), loaded(first[0])["state_dict"]
    kept = {key for key in after if torch.equal(before[key], after[key])}
    stem = {
        key for key in after if key.startswith(("network.backbone.conv1", "network.backbone.bn1"))
    }
    assert kept == stem
    assert len(stem) == 3


def _same_backbone(backbone, checkpoint):
    """How many tensors of a checkpoint's backbone there are, all equal."""
    ours = backbone.state_dict()
    prefix = next(key for key in checkpoint if key.endswith("layer1.0.conv1.weight"))
    prefix = prefix.removesuffix("layer1.0.conv1.weight")
    theirs = {k.removeprefix(prefix): v for k, v in checkpoint.items() if k.startswith(prefix)}
    return sum(torch.equal(ours[key], theirs[key]) for key in ours if key in theirs)


def test_a_segmenters_backbone_serves_a_detector(first, root, tmp_path, command):
    best = first[0] / "checkpoints" / "best.ckpt"
    options = f"backbone.weights={best}", "backbone.norm=group"
    DETECTION.register()
    parts = _assembled(detection, command(root, tmp_path / "r", *options))
    state = loaded(first[0], "best")["state_dict"]
    parameters = len(list(parts.backbone.parameters()))
    # The stem sees three channels in place of one: its weights are shared out.
    assert _same_backbone(parts.backbone, state) == parameters - 1
    ours, theirs = parts.backbone.conv1.weight, state["network.backbone.conv1.weight"]
    torch.testing.assert_close(ours.sum(dim=1), theirs.sum(dim=1))


def test_a_detectors_backbone_serves_a_segmenter(root, seg_root, tmp_path, command, seg_command):
    DETECTION.register()
    parts = _assembled(detection, command(root, tmp_path / "r"))
    state = parts.module.state_dict()
    best = tmp_path / "best.ckpt"
    torch.save({"state_dict": state, "keel": parts.card.to_dict()}, best)
    options = f"backbone.weights={best}", "backbone.norm=batch"
    overrides = seg_command(seg_root, tmp_path / "r", *SPLIT, *options)
    SEGMENTATION.register()
    parts = _assembled(segmentation, overrides)
    assert _same_backbone(parts.backbone, state) == len(parts.backbone.state_dict()) - 1


@pytest.mark.slow
def test_predict_needs_nothing_but_the_checkpoint(first, seg_root, tmp_path, finished):
    line = [first[0] / "checkpoints" / "best.ckpt", seg_root / "images" / "test_0000.png"]
    output = finished("predict.py", [*line, "--output=out", "--device=cpu"], tmp_path)
    assert output.startswith("test_0000: class 80 ")
    with Image.open(tmp_path / "out" / "masks" / "test_0000.png") as mask:
        assert set(np.unique(mask)) <= {0, 80, 160, 255}
    assert (tmp_path / "out" / "overlays" / "test_0000.png").is_file()
