"""Training as a user does it, from a command line to the files that are left."""

from importlib.metadata import version

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from tasks.detection.scores.results import evaluate_results, read_truth
from tests.scripts.conftest import finished, in_process, read_json, rows

CLASSES = "data.classes={0:background,80:a,160:b,255:c}"
FILES = {
    *(
        "config.yaml",
        "environment.json",
        "run.json",
        "report.html",
        "metrics.csv",
        "metrics.json",
        "audit.json",
    ),
    *("checkpoints/best.ckpt", "checkpoints/last.ckpt", "curves.png", "predictions.png"),
    "tensorboard/hparams.yaml",
}
OWN = {
    "detection": {"scored/truth.json", "scored/predictions.json"},
    "segmentation": {"cases.csv"},
}
SAID = {
    "detection": (
        *("Keel: Faster R-CNN", "data {root}/annotations/instances_train.json"),
        *("classes disk, square, triangle", "train 8 images, ", "val 5 images, "),
        *("backbone tiny, 3 channels in", "weights random initialisation"),
        *("norm batch (as configured)", "frozen nothing (no weights were loaded)"),
        *("images to 64 px (at most 96)", "recipe 1 epochs of adamw", "= 1 lr"),
        *("lr 0.000125 (0.001 per 8 images)", "precision 32-true (as configured)"),
        *("device cpu (as configured)", "cpu 1 threads", "denormals are zero"),
        *("epoch 1/1 train/loss", "everything is in {run}"),
    ),
    "segmentation": (
        *("Keel: ResNet-UNet", "data {root}", "train 4 cases; background"),
        *("frozen stem (as configured)", "norm group (that of the decoder)"),
        *("patch 64 x 64 (as configured), 4 per epoch", "= 2 lr", "run folder {run}"),
        *("epoch 2/2 train/loss", "Scores of the best checkpoint on test"),
        "audit: epoch 1: stem frozen (3 tensors); 89 tensors train, peak lr c2 0.00025,",
        "audit: stem: 3 tensors, none moved; 89 of 89 trained tensors moved",
        "everything is in {run}",
    ),
}


def loaded(run, name="last"):
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


def test_a_run_leaves_a_complete_folder_and_nothing_beside_it(task, first):
    run, _ = first
    names = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    events = {name for name in names if name.startswith("tensorboard/events.out.tfevents")}
    own = OWN[task.training.task]
    assert events
    assert names - events == FILES | own
    assert list(run.parent.iterdir()) == [run]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert all(f">{title}</h" in page for title in ("Classes", "Worst images"))
    for picture in ("curves.png", "predictions.png"):
        assert cv2.imread(str(run / picture)).std() > 1


def test_the_configuration_and_the_machine_are_kept(task, first):
    run, _ = first
    kept = OmegaConf.load(run / "config.yaml")
    changed = task.training.compose(task.line(run))
    assert kept.data.root == str(task.root)
    assert kept.recipe == changed.recipe
    assert kept.model == changed.model
    environment = read_json(run / "environment.json")
    assert task.script in environment["command"]
    assert environment["versions"]["torch"] == version("torch")


def test_a_checkpoint_says_how_many_stages_were_frozen(task, first):
    run, _ = first
    kept = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["keel_run"]
    assert kept["backbone"]["freeze"] == (task.training.task == "segmentation")


def test_the_terminal_says_what_is_run_and_what_came_out(task, first):
    run, printed = first
    said = " ".join(printed.replace("│", " ").split())
    for fact in SAID[task.training.task]:
        assert fact.format(run=run, root=task.root) in said


def test_every_step_and_epoch_is_logged(trained):
    run, _ = trained
    table = rows(run / "metrics.csv")
    losses = [float(row["train/loss"]) for row in table if row["train/loss"]]
    assert len(losses) == 8
    assert all(0 < loss < 100 for loss in losses)
    assert [row["epoch"] for row in table if row["val/ap"]] == ["0"]
    (tested,) = [row for row in table if row["test/ap"]]
    scores = read_json(run / "metrics.json")["scores"]
    assert float(tested["test/ar_100"]) == pytest.approx(scores["ar_100"])


def test_the_detections_that_are_kept_give_the_scores_of_the_run_again(trained):
    run, _ = trained
    truth, found = (run / "scored" / name for name in ("truth.json", "predictions.json"))
    scores = evaluate_results(found, read_truth(truth), limit=None)[0]
    kept = read_json(run / "metrics.json")["scores"]
    assert {k: None if v != v else v for k, v in scores.items()} == kept


def test_the_best_epoch_is_that_of_the_highest_validation_dice(segmented):
    run, _ = segmented
    table = [row for row in rows(run / "metrics.csv") if row["val/dice"]]
    dice = [float(row["val/dice"]) for row in table]
    assert [row["epoch"] for row in table] == ["0", "1"]
    report = read_json(run / "metrics.json")
    assert report["best epoch"] == 1 + int(np.argmax(dice))
    assert report["val"]["mean"]["dice"] == pytest.approx(max(dice), abs=1e-6)
    assert loaded(run, "best")["epoch"] + 1 == report["best epoch"]


def test_the_report_is_the_mean_of_the_test_cases(segmented):
    run, _ = segmented
    report, cases = read_json(run / "metrics.json"), rows(run / "cases.csv")
    assert {row["case"] for row in cases} == {"test_0000", "test_0001"}
    means = []
    for name in ("class 80", "class 160", "class 255"):
        known = [float(row["dice"]) for row in cases if row["class"] == name and row["dice"]]
        means.append(sum(known) / len(known))
        assert report["scores"][name]["dice"] == pytest.approx(means[-1])
    assert report["scores"]["mean"]["dice"] == pytest.approx(sum(means) / 3)
    assert report["scored split"] == "test"
    assert report["audit"] == "stem: 3 tensors, none moved; 89 of 89 trained tensors moved"


def test_the_times_of_a_run_add_up_and_are_printed(first):
    run, printed = first
    report = read_json(run / "metrics.json")
    parts = report["seconds by part"]
    assert sum(parts.values()) == pytest.approx(report["seconds"])
    took = {"set-up", "loading", "training steps", "validation", "scoring", "checkpoints", "test"}
    assert min(parts[name] for name in took) > 0
    assert parts["imports"] < 5  # torch is imported: not those of this process
    assert report["images trained on"] == 8  # 8 images, and 4 patches in each of 2 epochs
    rate = 8 / (parts["loading"] + parts["training steps"])
    assert report["images a second"] == pytest.approx(rate, abs=0.01)
    assert f"pictures and curves │ {parts['pictures and curves']:>7.1f} │" in printed
    assert f"{report['seconds']:.0f} s in all; everything is in {run}" in printed


@pytest.mark.parametrize(
    ("task", "overrides", "message"),
    [
        ("detection", "", "1 of 1 epochs behind it.*evaluate.py"),
        ("detection", "recipe.lr=5 recipe.epochs=9", r"lr is 5.0, the .* is 0.001"),
        ("segmentation", "", "has 2 of 2 epochs behind it.*evaluate.py"),
        ("segmentation", CLASSES, "classes.names is .*'a', .*, the checkpoint's is .*'class 80'"),
        ("segmentation", "data.test=[test_0000]", r"split.test is \['test_0000'\].* \['test_\*'\]"),
        ("segmentation", "loss.name=dice", "name is 'dice', the checkpoint's is 'dice_ce'"),
    ],
    indirect=["task"],
)
def test_an_ended_or_another_run_does_not_go_on(task, first, overrides, message, tmp_path):
    with pytest.raises(SystemExit, match=f"(?s)^error: .*{message}"):
        task.train(tmp_path / "r", f"resume={first[0]}", *overrides.split())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_a_run_is_not_written_to(trained, detection):
    run, _ = trained
    before = (run / "config.yaml").read_text()
    with pytest.raises(SystemExit, match=r"^error: run_dir=.* holds a run already"):
        detection.train(run, "seed=1")
    assert (run / "config.yaml").read_text() == before


@pytest.mark.slow
@pytest.mark.usefixtures("_no_pictures")
def test_an_automatic_batch_size_leaves_the_run_of_that_number(segmentation, tmp_path, capsys):
    """40 patches make 20 steps of 2; the trial before leaves no trace in the weights."""
    runs = []
    for size in ("auto", "2"):
        options = "input.patches=40", "trainer.max_steps=2", f"recipe.batch_size={size}"
        runs.append(segmentation.train(tmp_path / size, *options))
        assert OmegaConf.load(runs[-1] / "config.yaml").recipe.batch_size == 2
    assert "2 (20 steps per epoch of 40 images)" in capsys.readouterr().out
    found, expected = map(loaded, runs)
    assert found["keel_run"] == expected["keel_run"]
    torch.testing.assert_close(found["state_dict"], expected["state_dict"], rtol=0, atol=0)


def test_what_is_frozen_stays_and_the_rest_is_trained(segmented, segmentation, tmp_path):
    """The seed gives the weights that the run began with."""
    parts = segmentation.parts(tmp_path / "r")
    before, after = parts.module.state_dict(), loaded(segmented[0])["state_dict"]
    kept = {key for key in after if torch.equal(before[key], after[key])}
    stem = tuple(f"network.backbone.{name}" for name in ("conv1", "bn1"))
    assert kept == {key for key in after if key.startswith(stem)}
    assert len(kept) == 3


def test_a_segmenters_backbone_serves_a_detector(segmented, detection, tmp_path):
    """The way back is in tests/tasks/test_backbone_of_both_tasks.py."""
    best = segmented[0] / "checkpoints" / "best.ckpt"
    options = f"backbone.weights={best}", "backbone.norm=group"
    backbone = detection.parts(tmp_path / "r", *options).backbone
    state = loaded(segmented[0], "best")["state_dict"]
    theirs = {key: state[f"network.backbone.{key}"] for key in backbone.state_dict()}
    # The stem sees three channels in place of one: its weights are shared out.
    stem, seen = theirs.pop("conv1.weight"), backbone.state_dict()["conv1.weight"]
    assert all(torch.equal(backbone.state_dict()[key], tensor) for key, tensor in theirs.items())
    torch.testing.assert_close(seen.sum(dim=1), stem.sum(dim=1))


@pytest.fixture
def begin(trained, detection, tmp_path, monkeypatch):
    """Start a run that begins with the trained detector, without weights of its own."""
    monkeypatch.setenv("COLUMNS", "300")

    def begins(*options):
        line = detection.line(tmp_path / "x", f"init_from={trained[0]}", *options)
        line.remove("backbone.weights=random")
        in_process("train_det.py", line, tmp_path)

    return begins


def test_a_run_begins_with_a_detector_and_says_so(begin, trained, capsys):
    begin("backbone.norm=auto", "audit=only")
    printed = capsys.readouterr().out
    path = trained[0] / "checkpoints" / "best.ckpt"
    assert f"weights         init_from {path}; its backbone began with random" in printed
    assert f"begins with     the whole of {path}; classes kept: disk, square, triangle;" in printed
    assert "norm            batch (that of init_from)" in printed
    assert "frozen          stem, c2 (of loaded weights)" in printed


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("backbone.weights=imagenet", r"and so does backbone\.weights; leave one of them out"),
        ("resume={run}", r"init_from is '.*', the checkpoint's is None"),
    ],
)
def test_init_from_and_what_contradicts_it_is_refused(begin, trained, option, message):
    with pytest.raises(SystemExit, match=message):
        begin(option.format(run=trained[0]))


@pytest.mark.slow
def test_two_processes_score_every_image_once_and_leave_one_folder(detection, root, tmp_path):
    """Of five images each process gets three; the scores are those of one process."""
    overrides = "trainer.devices=2", "trainer.strategy=ddp", "data.test=null", "recipe.epochs=4"
    output = finished("train_det.py", detection.line("runs/r", *overrides), tmp_path)
    run = tmp_path / "runs" / "r"
    assert list(run.parent.iterdir()) == [run]
    assert output.count("Keel: Faster R-CNN") == 1
    assert output.count("epoch   1/4") == 1
    assert "sync_dist" not in output
    losses = [row for row in rows(run / "metrics.csv") if row["train/loss"]]
    assert len(losses) == 4 * 4  # 8 images, 2 a step
    truth = root / "annotations" / "instances_val.json"
    options = ["--output=scores.json", "--device=cpu", "--precision=32"]  # as the run
    options.append("--no-intervals")
    finished("evaluate.py", [run, truth, root / "images", *options], tmp_path)
    scores, report = read_json(tmp_path / "scores.json"), read_json(run / "metrics.json")
    assert scores == pytest.approx(report["scores"], abs=1e-6, nan_ok=True)
    assert scores["ap"] > 0
    kept = run / "scored"  # of both processes
    again = evaluate_results(kept / "predictions.json", read_truth(kept / "truth.json"), limit=None)
    assert again[0]["ap"] == report["scores"]["ap"]
    assert report["images trained on"] == 4 * 8  # of both processes
    assert 1 < report["seconds by part"]["imports"] < report["seconds"]
