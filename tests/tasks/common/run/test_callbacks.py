"""Checkpoints that are whole or not there, and a run that goes on with its best."""

from pathlib import Path

import lightning
import pytest
import torch

from tasks.common.resume.checkpoints import find_start
from tasks.common.resume.random_state import ExactState
from tasks.common.run.callbacks import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint
from tasks.common.run.fit import fit, validate_rest
from tests.training import OneWeight, quiet_trainer


class Slope(OneWeight):
    """One weight, whose loss, score and faults are given: the loop and nothing else."""

    def __init__(self, scores=(), losses=(), stop_at=None, error=KeyboardInterrupt):
        super().__init__()
        self.scores, self.losses, self.stop_at, self.error = scores, losses, stop_at, error

    def training_step(self, batch, batch_idx):
        if self.global_step == self.stop_at:
            raise self.error
        loss = self.losses[batch_idx] if self.losses else 1.0
        return super().training_step(batch, batch_idx) + loss - 1

    def on_validation_epoch_end(self):
        self.log("val/ap", self.scores[self.current_epoch] if self.scores else 0.0)

    def test_step(self, batch, batch_idx):  # noqa: ARG002 (Lightning's hook, not a test)
        if self.stop_at == "test":
            raise self.error


def trainer(folder, *callbacks, epochs=2, **options):
    plugins = [AtomicCheckpointIO()]
    return quiet_trainer(
        folder, max_epochs=epochs, callbacks=list(callbacks), plugins=plugins, **options
    )


def read(path):
    return torch.load(path, weights_only=True)


@pytest.fixture
def last(tmp_path):
    return tmp_path / "last.ckpt"


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
def test_a_crash_while_writing_leaves_the_old_checkpoint(last, monkeypatch, error):
    AtomicCheckpointIO().save_checkpoint({"step": 1}, last)

    def crash(_checkpoint, partial):
        Path(partial).write_bytes(b"half of a checkp")
        raise error

    monkeypatch.setattr("lightning.fabric.plugins.io.torch_io._atomic_save", crash)
    with pytest.raises(type(error)):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, last)
    assert read(last) == {"step": 1}
    assert list(last.parent.iterdir()) == [last]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("new/best.ckpt", {"best.ckpt": 3}),  # its folder is made
        ("last.ckpt", {"last.ckpt": 3, "previous.ckpt": 2}),
    ],
)
def test_a_checkpoint_replaces_the_one_before(tmp_path, name, kept):
    path = tmp_path / name
    for step in (1, 2, 3):
        AtomicCheckpointIO().save_checkpoint({"step": step}, str(path))
    assert {file.name: read(file)["step"] for file in path.parent.iterdir()} == kept


@pytest.mark.parametrize("fails_at", range(2))
def test_whenever_the_process_dies_there_is_a_whole_checkpoint(last, monkeypatch, fails_at):
    """Before either of the two renamings, and without the tidying up of an exception."""
    count, rename = iter(range(9)), Path.replace
    for step in (1, 2):
        AtomicCheckpointIO().save_checkpoint({"step": step}, last)

    def dies(self, target):
        if next(count) == fails_at:
            raise RuntimeError("killed")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", dies)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(RuntimeError, match="killed"):
        AtomicCheckpointIO().save_checkpoint({"step": 3}, last)
    assert read(find_start(last)[0]) == {"step": 2}


def test_a_run_that_stops_before_its_first_step_leaves_nothing(tmp_path, last):
    with pytest.raises(SystemExit):
        trainer(tmp_path, LastCheckpoint(last)).fit(Slope(stop_at=0))
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_does_not_spoil_the_last_checkpoint(tmp_path, last):
    with pytest.raises(FloatingPointError):
        trainer(tmp_path, LastCheckpoint(last)).fit(Slope(stop_at=3, error=FloatingPointError))
    assert read(last)["global_step"] == 2


def test_a_stop_in_the_final_test_does_not_save_the_weights_that_are_tested(tmp_path, last):
    module, runner = Slope(stop_at="test"), trainer(tmp_path, LastCheckpoint(last))
    runner.fit(module)
    last.unlink()
    with pytest.raises(SystemExit):
        runner.test(module, verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_the_last_epoch_is_kept_whichever_was_the_best(tmp_path, last):
    callbacks = BestCheckpoint(tmp_path, monitor="val/ap"), LastCheckpoint(last)
    trainer(tmp_path, *callbacks, epochs=3).fit(Slope(scores=[0.1, 0.9, 0.5]))
    assert read(tmp_path / "best.ckpt")["epoch"] == 1
    saved = read(last)
    assert saved["epoch"] == 2
    (state,) = [state for key, state in saved["callbacks"].items() if "Best" in key]
    assert state["best_model_score"].item() == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("scores", "change", "score", "epoch"),
    [
        ([0.9, 0.1, 0.5], None, 0.9, 0),
        ([0.3, 0.1, 0.5], None, 0.5, 2),  # it gets better
        ([0.9, 0.1, 0.5], "moved", 0.9, 0),
        ([0.9, 0.1, 0.5], "deleted", 0.5, 2),  # the choice starts again
    ],
)
def test_a_resumed_run_has_the_best_of_all_that_is_there(tmp_path, scores, change, score, epoch):
    """Two epochs in ``a``, the third in ``b``."""
    best, start = None, tmp_path / "a" / "last.ckpt"
    for folder, epochs, resume in (("a", 2, None), ("b", 3, start)):
        best = BestCheckpoint(tmp_path / folder, monitor="val/ap")
        callbacks = best, LastCheckpoint(tmp_path / folder / "last.ckpt"), ExactState()
        if resume and change == "deleted":
            resume.with_name("best.ckpt").unlink()
        elif resume and change == "moved":
            resume = resume.parent.rename(tmp_path / "c") / resume.name
        runner = trainer(tmp_path, *callbacks, epochs=epochs)
        runner.fit(Slope(scores=scores), ckpt_path=resume, weights_only=True)
    assert best.best_model_score.item() == pytest.approx(score)
    assert best.best_model_path == str(tmp_path / "b" / "best.ckpt")
    assert read(tmp_path / "b" / "best.ckpt")["epoch"] == epoch
    assert read(tmp_path / "b" / "last.ckpt")["epoch"] == 2
    if change is None:  # the old one is left alone
        assert read(tmp_path / "a" / "best.ckpt")["epoch"] == 0
        names = [sorted(p.name for p in (tmp_path / folder).iterdir()) for folder in "ab"]
        assert names == [["best.ckpt", "last.ckpt"]] * 2


@pytest.mark.parametrize(("score", "best"), [(0.9, 0.9), (0.1, 0.5)])
def test_steps_after_the_last_validation_are_validated_too(tmp_path, last, score, best):
    """Three steps of two-step epochs: the last one belongs to no whole epoch."""
    keeper, model = BestCheckpoint(tmp_path, monitor="val/ap"), Slope(scores=[0.5, score, score])
    loop, data = trainer(tmp_path, keeper, epochs=5, max_steps=3), lightning.LightningDataModule()
    data.train_dataloader = data.val_dataloader = model.train_dataloader
    fit(loop, model, data, best=keeper, last=LastCheckpoint(last), resume=None)
    validate_rest(loop, model, data, best=keeper)
    assert keeper.validated_step == 2
    assert float(keeper.best_model_score) == pytest.approx(best)
    assert read(keeper.best_model_path)["global_step"] == (3 if score == best else 2)
