"""What a recipe or a feature cache does to a run of either task, and the audit without a run."""

import pytest
import torch

from tasks.common.run.trainer import build_trainer
from tests.scripts.conftest import finished, read_json, rows
from tests.training import differences

SLOW_TOO = ["detection", pytest.param("segmentation", marks=pytest.mark.slow)]
THAW = (
    *("backbone.freeze=5", "recipe.epochs=2", "recipe.unfreeze={c5: 1}"),
    *("recipe.ema=0.5", "recipe.label_smoothing=0.1", "recipe.lr_decay=0.5", "recipe.restarts=1"),
)


def train_losses(run):
    return [float(row["train/loss"]) for row in rows(run / "metrics.csv") if row["train/loss"]]


def moved(before, after):
    """The stages of which a tensor moved, those of which none did, and the rest of the network."""
    places = {"conv1": "stem", "bn1": "stem", **{f"layer{k}": f"c{k + 1}" for k in range(1, 5)}}
    found = {}
    for name, tensor in after.items():
        inner = name.partition("backbone.")[2].removeprefix("body.").partition(".")[0]
        same = torch.equal(tensor, before[name])
        found.setdefault(places.get(inner, "head"), set()).add(same)
    return found


@pytest.mark.parametrize("task", SLOW_TOO, indirect=True)
def test_a_stage_thaws_and_the_average_is_kept(task, tmp_path, capsys):
    start = task.parts(tmp_path / "r", *THAW).module.state_dict()
    run = task.train(tmp_path / "r", *THAW)
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    for state in (saved["state_dict"], saved["current_model_state"]):
        still = {stage for stage, same in moved(start, state).items() if same == {True}}
        assert still == {"stem", "c2", "c3", "c4"}
    audit = read_json(run / "audit.json")
    assert [phase["first epoch"] for phase in audit["phases"]] == [1, 2]
    assert [len(phase["frozen"]) for phase in audit["phases"]] == [5, 4]
    rates = {line["stage"]: line["peak_lr"] for line in audit["phases"][0]["stages"]}
    head = rates["head"]
    assert [rates[f"c{k}"] for k in (5, 4, 3)] == pytest.approx([head, head / 2, head / 4])
    best = run / "checkpoints" / "best.ckpt"
    kept = torch.load(best, weights_only=True)["state_dict"]
    for name, tensor in task.load(best)[0].state_dict().items():
        assert torch.equal(tensor, kept[f"network.{name}"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for fact in ("c5 trains from epoch 2", "1 warm restart;", "decay 0.5"):
        assert fact in said
    assert f"audit: {audit['report']}" in said


def test_audit_only_takes_a_step_of_each_phase_and_trains_nothing(task, tmp_path, capsys):
    thaw = *THAW[:3], "audit=only"
    run = task.train(tmp_path / "r", *thaw)
    assert [path.name for path in run.iterdir()] == ["audit.json"]
    written = read_json(run / "audit.json")
    assert [phase["first epoch"] for phase in written["phases"]] == [1, 2]
    (first,), (second,) = (phase["phases"] for phase in written["phases"])
    trains = [{line["stage"]: line["trainable"] for line in p["stages"]} for p in (first, second)]
    assert trains[0]["c5"] == 0
    assert trains[1]["c5"] == 15
    assert trains[0]["head"] == trains[1]["head"] > 0
    said = capsys.readouterr().out
    assert "From epoch 1 on: stem, c2, c3, c4, c5 frozen" in said
    assert "From epoch 2 on: stem, c2, c3, c4 frozen" in said
    assert "epoch 1/2" not in " ".join(said.split())


def test_audit_only_ends_with_a_message_when_something_is_wrong(task, tmp_path):
    message = "audit before the first step of epoch 1: to be trained at a learning rate of 0"
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        task.train(tmp_path / "r", "recipe.backbone_lr_factor=0", "audit=only")


@pytest.mark.slow
def test_activations_that_are_computed_twice_change_no_run(task, tmp_path):
    """Stages thaw, paths are dropped, and the averaged weights and the statistics are kept."""
    options = *THAW, "backbone.norm=batch", "backbone.drop_path=0.3", "recipe.accumulate=2"
    runs = [
        task.train(
            tmp_path / on, *options, f"trainer.grad_checkpointing={on}", "trainer.max_steps=3"
        )
        for on in ("false", "true")
    ]
    assert differences(*(run / "checkpoints" for run in runs)) == []
    parts = [task.parts(tmp_path / "p", f"trainer.grad_checkpointing={on}") for on in (0, 1)]
    assert [p.backbone.grad_checkpointing for p in parts] == [False, True]


@pytest.mark.slow
def test_two_processes_thaw_as_one_does(task, tmp_path):
    """Each sees other images; DDP has to gather the gradients of what thaws later as well."""
    more = "trainer.devices=2", "trainer.strategy=ddp", *THAW[:3]
    output = finished(task.script, task.line(tmp_path / "r", *more), tmp_path)
    report = read_json(tmp_path / "r" / "audit.json")["report"]
    assert report.startswith("stem, c2, c3, c4: ")
    assert report.endswith("tensors moved, alike in 2 processes")
    assert f"audit: {report}" in output


@pytest.mark.slow
def test_a_compiled_backbone_learns_as_an_eager_one(detection, tmp_path):
    eager, compiled = (
        train_losses(detection.train(tmp_path / on, f"trainer.compile={on}", "trainer.max_steps=2"))
        for on in ("false", "true")
    )
    assert compiled == pytest.approx(eager, rel=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("_no_pictures")
def test_a_feature_cache_found_again_changes_no_loss(segmentation, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    options = "backbone.freeze=4", "augment=strong", "recipe.epochs=1", "input.patches=6"
    printed = {}
    for run, where in (("a", "none"), ("b", "disk"), ("c", "disk")):
        cache = "feature_cache.views=1", f"feature_cache.where={where}"
        segmentation.train(tmp_path / run, *options, *cache)
        printed[run] = capsys.readouterr().out
    assert "1 view of 6 images, nothing kept" in printed["a"]
    assert "feature cache: 6 of 6 computed" in printed["b"]
    assert "6 of 6 there already" in printed["c"]
    assert "computed" not in printed["c"].partition("there already")[2]
    losses = [train_losses(tmp_path / run) for run in "abc"]
    assert len(losses[0]) == 3
    assert losses[0] == losses[1] == losses[2]


def test_the_trainer_clips_gradients_as_the_recipe_says(segmentation, tmp_path):
    for clip, expected in ((0.25, 0.25), (0, None)):
        setup = segmentation.parts(tmp_path / "run", f"recipe.clip={clip}").setup
        trainer, *_ = build_trainer(setup, folder=tmp_path, monitor="val/dice", shown=())
        assert trainer.gradient_clip_val == expected
