"""Checkpoints that are whole or not there, and a run that goes on with its best."""

from pathlib import Path

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from tasks.common.resume.checkpoints import find_start
from tasks.common.resume.random_state import ExactState
from tasks.common.run.callbacks import AtomicCheckpointIO, BestCheckpoint, EpochLine, LastCheckpoint
from tasks.common.run.fit import fit, validate_rest
from tests.trainer import quiet_trainer


class Slope(lightning.LightningModule):
    """One weight, whose loss, score and faults are given: the loop and nothing else."""

    def __init__(self, scores=(), losses=(), stop_at=None, error=KeyboardInterrupt):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.scores, self.losses, self.stop_at, self.error = scores, losses, stop_at, error

    def training_step(self, _batch, batch_idx):
        if self.global_step == self.stop_at:
            raise self.error
        loss = self.losses[batch_idx] if self.losses else 1.0
        return self.weight.sum() * 0 + loss + (self.weight.sum() - self.weight.detach().sum())

    def validation_step(self, batch, batch_idx):
        pass

    def on_validation_epoch_end(self):
        self.log("val/ap", self.scores[self.current_epoch] if self.scores else 0.0)

    def test_step(self, batch, batch_idx):  # noqa: ARG002 (Lightning's hook, not a test)
        if self.stop_at == "test":
            raise self.error

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def train_dataloader(self):
        return DataLoader(torch.zeros(2), batch_size=1)  # two steps are an epoch

    val_dataloader = test_dataloader = train_dataloader


def trainer(folder, *callbacks, epochs=2, **options):
    return quiet_trainer(
        folder,
        max_epochs=epochs,
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO()],
        **options,
    )


def best_in(folder):
    return BestCheckpoint(
        folder,
        "best",
        monitor="val/ap",
        mode="max",
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )


def read(path):
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
def test_a_crash_while_writing_leaves_the_old_checkpoint_and_no_partial_file(
    tmp_path, monkeypatch, error
):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    def crash(_checkpoint, partial):
        Path(partial).write_bytes(b"half of a checkp")
        raise error

    monkeypatch.setattr("lightning.fabric.plugins.io.torch_io._atomic_save", crash)
    with pytest.raises(type(error)):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert read(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_replaces_the_old_one_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "best.ckpt"
    for step in (1, 2):
        AtomicCheckpointIO().save_checkpoint({"step": step}, str(path))
    assert read(path) == {"step": 2}
    assert list(path.parent.iterdir()) == [path]


def test_the_last_checkpoint_becomes_the_previous_one(tmp_path):
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for step in (1, 2, 3):
        AtomicCheckpointIO().save_checkpoint({"step": step}, last)
    assert (read(last), read(previous)) == ({"step": 3}, {"step": 2})
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("fails_at", range(2))
def test_whenever_the_process_dies_there_is_a_whole_checkpoint(tmp_path, monkeypatch, fails_at):
    """Before either of the two renamings, and without the tidying up of an exception."""
    last, count = tmp_path / "last.ckpt", iter(range(9))
    for step in (1, 2):
        AtomicCheckpointIO().save_checkpoint({"step": step}, last)
    rename = Path.replace

    def dies(self, target):
        if next(count) == fails_at:
            raise RuntimeError("killed")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", dies)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(RuntimeError, match="killed"):
        AtomicCheckpointIO().save_checkpoint({"step": 3}, last)
    assert read(find_start(last)[0]) == {"step": 2}


def test_a_run_that_stops_before_its_first_step_leaves_nothing(tmp_path):
    with pytest.raises(SystemExit):
        trainer(tmp_path, LastCheckpoint(tmp_path / "last.ckpt")).fit(Slope(stop_at=0))
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_does_not_spoil_the_last_checkpoint(tmp_path):
    module = Slope(stop_at=3, error=FloatingPointError)
    with pytest.raises(FloatingPointError):
        trainer(tmp_path, LastCheckpoint(tmp_path / "last.ckpt")).fit(module)
    assert read(tmp_path / "last.ckpt")["global_step"] == 2


def test_a_stop_in_the_final_test_does_not_save_the_weights_that_are_tested(tmp_path):
    module = Slope(stop_at="test")
    runner = trainer(tmp_path, LastCheckpoint(tmp_path / "last.ckpt"))
    runner.fit(module)
    (tmp_path / "last.ckpt").unlink()
    with pytest.raises(SystemExit):
        runner.test(module, verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_the_last_epoch_is_kept_whichever_was_the_best(tmp_path):
    callbacks = best_in(tmp_path), LastCheckpoint(tmp_path / "last.ckpt")
    trainer(tmp_path, *callbacks, epochs=3).fit(Slope(scores=[0.1, 0.9, 0.5]))
    assert read(tmp_path / "best.ckpt")["epoch"] == 1
    last = read(tmp_path / "last.ckpt")
    assert last["epoch"] == 2
    (state,) = [state for key, state in last["callbacks"].items() if "Best" in key]
    assert state["best_model_score"].item() == pytest.approx(0.9)


def resumed(tmp_path, scores, *, epochs, keep=True, move=False):
    """Train two epochs in ``a``, go on in ``b``, and return the callback of ``b``."""
    start = tmp_path / "a"
    callbacks = best_in(start), LastCheckpoint(start / "last.ckpt"), ExactState()
    trainer(tmp_path, *callbacks, epochs=2).fit(Slope(scores=scores))
    if not keep:
        (start / "best.ckpt").unlink()
    if move:
        start = start.rename(tmp_path / "c")
    best = best_in(tmp_path / "b")
    callbacks = best, LastCheckpoint(tmp_path / "b" / "last.ckpt"), ExactState()
    trainer(tmp_path, *callbacks, epochs=epochs).fit(
        Slope(scores=scores), ckpt_path=start / "last.ckpt", weights_only=True
    )
    return best


def test_a_resumed_run_keeps_the_best_checkpoint_of_the_run_before(tmp_path):
    best = resumed(tmp_path, [0.9, 0.1, 0.5], epochs=3)
    assert best.best_model_score.item() == pytest.approx(0.9)
    assert best.best_model_path == str(tmp_path / "b" / "best.ckpt")
    assert read(tmp_path / "b" / "best.ckpt")["epoch"] == 0
    assert read(tmp_path / "b" / "last.ckpt")["epoch"] == 2
    names = [sorted(p.name for p in (tmp_path / folder).iterdir()) for folder in "ab"]
    assert names == [["best.ckpt", "last.ckpt"]] * 2


@pytest.mark.parametrize(
    ("scores", "options", "score", "epoch"),
    [
        ([0.3, 0.1, 0.5], {}, 0.5, 2),  # it gets better
        ([0.9, 0.1, 0.5], {"move": True}, 0.9, 0),
        ([0.9, 0.1, 0.5], {"keep": False}, 0.5, 2),  # the choice starts again
    ],
)
def test_a_resumed_run_has_the_best_of_all_that_is_there(tmp_path, scores, options, score, epoch):
    best = resumed(tmp_path, scores, epochs=3, **options)
    assert best.best_model_score.item() == pytest.approx(score)
    assert read(tmp_path / "b" / "best.ckpt")["epoch"] == epoch
    if not options:  # the old one is left alone
        assert read(tmp_path / "a" / "best.ckpt")["epoch"] == 0


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
    trainer(tmp_path, EpochLine(()), ExactState()).fit(
        Slope(), ckpt_path=str(last), weights_only=True
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "epoch   2/2  train/loss 1.000  0 s"
    assert all(line.endswith("  0 s") for line in lines)


@pytest.mark.parametrize(("last", "best"), [(0.9, 0.9), (0.1, 0.5)])
def test_steps_after_the_last_validation_are_validated_too(tmp_path, last, best):
    """Three steps of two-step epochs: the last one belongs to no whole epoch."""
    keeper = BestCheckpoint(
        dirpath=tmp_path, filename="best", monitor="val/ap", mode="max", save_weights_only=False
    )
    model = Slope(scores=[0.5, last, last])
    loop = trainer(tmp_path, keeper, epochs=5, max_steps=3)
    keeps = LastCheckpoint(tmp_path / "last.ckpt")
    fit(loop, model, Nothing(model), best=keeper, last=keeps, resume=None)
    validate_rest(loop, model, Nothing(model), best=keeper)
    assert keeper.validated_step == 2
    assert float(keeper.best_model_score) == pytest.approx(best)
    saved = torch.load(keeper.best_model_path, weights_only=True)
    assert saved["global_step"] == (3 if last == best else 2)


class Nothing(lightning.LightningDataModule):
    """The loaders of a model, as a data module."""

    def __init__(self, model):
        super().__init__()
        self.train_dataloader = self.val_dataloader = model.train_dataloader


def test_a_line_has_scores_only_where_an_epoch_was_validated(tmp_path, capsys):
    model = Slope(scores=[0.25, 0.5, 0.75])
    loop = trainer(
        tmp_path, EpochLine(("val/ap",)), epochs=3, max_steps=5, check_val_every_n_epoch=2
    )
    loop.fit(model)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert ["val/ap" in line for line in lines] == [False, True, False]
