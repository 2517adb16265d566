"""A run that is stopped at any point, and one that goes on from there, are one run: bit for bit.

The loop and nothing else: a network of a few numbers with everything that remembers or draws.
The tasks' own runs are compared in ``tests/scripts``.
"""

import math
import random
import shutil
import signal

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn
from torch.utils.data import Dataset

from tasks.common.data.data_module import ResumableDataModule
from tasks.common.resume.random_state import ExactState
from tasks.common.run.callbacks import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint
from tasks.common.run.fit import fit
from tasks.common.run.progress import EpochLine
from tests.training import differences, quiet_trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:You're resuming from a checkpoint that ended before the epoch"  # as our Trainer does
)

EPOCHS, BATCHES, ACCUMULATE = 3, 5, 2
STEPS = 3  # of an epoch; the last one has one batch


class Noisy(Dataset):
    """Samples whose noise depends on the key alone."""

    def __getitem__(self, key):
        return torch.randn(4, generator=torch.Generator().manual_seed(hash(key)))


class Data(ResumableDataModule):
    """Fourteen samples in five batches."""

    def train_dataloader(self):
        return self.training_loader(Noisy(), aspect_ratios=[1.0] * 14, batch_size=3)

    def val_dataloader(self):
        return self.ordered_loader(Noisy(), length=3, batch_size=2)


class Net(lightning.LightningModule):
    """Statistics, momentum, a schedule, and a draw from each generator in every step."""

    def __init__(self, at=None, *, event=signal.SIGINT, times=1):
        super().__init__()
        torch.manual_seed(5)
        layers = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 1)
        self.layers = nn.Sequential(*layers)
        self.at, self.event, self.times = at, event, times
        self.losses, self.score = [], 0.0

    def happen(self, *place):
        """What stops the run comes in the middle of a batch."""
        for _ in range(self.times if place == self.at else 0):
            if not isinstance(self.event, int):
                raise self.event
            signal.raise_signal(self.event)

    def training_step(self, batch, index):
        self.happen("train", self.current_epoch, index)
        drawn = random.random() + np.random.rand()  # noqa: NPY002, S311
        loss = (self.layers(batch) ** 2).mean() * drawn
        logged_at = self.trainer.fit_loop.epoch_loop._batches_that_stepped
        self.losses.append((self.current_epoch, index, logged_at, loss.item()))
        return loss

    def validation_step(self, batch, index):
        self.happen("val", self.current_epoch, index)
        torch.rand(3)  # a validation may draw as well
        self.score += self.layers(batch).sum().item()

    def on_validation_epoch_end(self):
        self.log("val/ap", self.score)
        self.score = 0.0

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.1)
        steps = self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 1 - s / (steps + 1))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def run(folder, module, *, resume=None, minutes=math.inf, workers=0, every=1, steps=-1, ema=True):
    """Train in ``folder``; return the losses, and the status that the process would end with."""
    random.seed(1 if resume is None else 7)  # a resumed process begins anywhere
    np.random.seed(1 if resume is None else 7)  # noqa: NPY002
    torch.manual_seed(1 if resume is None else 7)
    best = BestCheckpoint(folder, monitor="val/ap")
    last = LastCheckpoint(folder / "last.ckpt", minutes=minutes)
    averages = [EMAWeightAveraging(decay=0.9)] if ema else []
    trainer = quiet_trainer(
        folder,
        max_epochs=EPOCHS,
        max_steps=steps,
        accumulate_grad_batches=ACCUMULATE,
        check_val_every_n_epoch=every,
        callbacks=[best, last, ExactState(), EpochLine(("val/ap",)), *averages],
        plugins=[AtomicCheckpointIO()],
    )
    try:
        fit(trainer, module, Data(seed=3, workers=workers), best=best, last=last, resume=resume)
    except SystemExit as stop:
        return module.losses, stop.code
    return module.losses, 0


def stopped_and_resumed(tmp_path, module, **options):
    """Stop in ``a`` and go on in ``b``; return the losses of both, and the status of the first."""
    first, status = run(tmp_path / "a", module, **options)
    rest, _ = run(tmp_path / "b", Net(), resume=tmp_path / "a" / "last.ckpt", **options)
    return first, rest, status


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run in one go: its folder and losses."""
    folder = tmp_path_factory.mktemp("whole")
    losses, status = run(folder, Net())
    assert (len(losses), status) == (EPOCHS * BATCHES, 0)
    assert torch.load(folder / "best.ckpt", weights_only=True)["epoch"] == 1
    return folder, losses


def steps_in(folder, *names):
    return [torch.load(folder / name, weights_only=True)["global_step"] for name in names]


WITHIN = [("train", e, b) for e in range(EPOCHS) for b in range(BATCHES)]
VALIDATING = [("val", e, b) for e in range(EPOCHS) for b in range(2)]


@pytest.mark.parametrize("at", WITHIN + VALIDATING[:-2])
def test_a_run_stopped_anywhere_and_resumed_is_the_run_in_one_go(tmp_path, whole, at):
    first, rest, status = stopped_and_resumed(tmp_path, Net(at))
    assert status == 128 + signal.SIGINT
    assert first + rest == whole[1]
    begun = sum(place[1:] <= at[1:] for place in WITHIN) if at[0] == "train" else 5 * (at[1] + 1)
    steps_end = [n for n in range(1, 16) if n % BATCHES in (0, 2, 4)]
    assert len(first) == min(n for n in steps_end if n >= begun)  # the step is brought to its end
    assert differences(whole[0], tmp_path / "b") == []


@pytest.mark.parametrize("at", VALIDATING[-2:])
def test_a_signal_after_the_last_step_does_not_keep_a_run_from_its_end(tmp_path, whole, at):
    losses, status = run(tmp_path, Net(at))
    assert (losses, status) == (whole[1], 0)
    assert differences(whole[0], tmp_path) == []


@pytest.mark.parametrize("name", ["last.ckpt", "previous.ckpt"])
@pytest.mark.parametrize("at", [("train", 0, 4), ("train", 1, 0), ("val", 1, 0), ("train", 2, 4)])
def test_a_run_killed_at_once_goes_on_from_any_checkpoint(tmp_path, whole, at, name):
    """One is written after every step; what came after it is done again."""
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "a", Net(at, event=RuntimeError("killed")), minutes=0)
    rest, _ = run(tmp_path / "b", Net(), resume=tmp_path / "a" / name)
    assert rest == whole[1][-len(rest) :]
    assert differences(whole[0], tmp_path / "b") == []


def test_a_run_goes_on_from_its_best_epoch(tmp_path, whole):
    rest, _ = run(tmp_path, Net(), resume=whole[0] / "best.ckpt")
    assert rest == whole[1][10:]
    assert differences(whole[0], tmp_path) == []


def test_a_run_may_be_stopped_again_and_again(tmp_path, whole):
    places = [("train", 0, 0), ("train", 0, 4), ("val", 0, 1), ("train", 1, 2), None]
    losses, resume = [], None
    for number, at in enumerate(places):
        losses += run(tmp_path / str(number), Net(at), resume=resume)[0]
        resume = tmp_path / str(number) / "last.ckpt"
    assert losses == whole[1]
    assert differences(whole[0], resume.parent) == []


@pytest.mark.parametrize(
    ("at", "options"),
    [
        (("train", 0, 4), {"steps": 8}),
        (("train", 1, 1), {"steps": 8}),
        (("val", 0, 1), {"steps": 8}),
        (("train", 0, 4), {"every": 3}),
        (("train", 1, 3), {"ema": False}),
    ],
)
def test_so_is_a_run_of_so_many_steps_or_of_fewer_validations(tmp_path, at, options):
    straight, _ = run(tmp_path / "whole", Net(), **options)
    first, rest, status = stopped_and_resumed(tmp_path, Net(at), **options)
    assert status == 130
    assert first + rest == straight
    assert differences(tmp_path / "whole", tmp_path / "b") == []


def test_a_signal_in_the_last_of_so_many_steps_lets_the_run_end(tmp_path):
    """Lightning would not go on with the validation after it."""
    losses, status = run(tmp_path, Net(("train", 0, 4)), steps=3, minutes=0)
    assert (len(losses), status) == (5, 0)
    assert steps_in(tmp_path, "best.ckpt", "last.ckpt") == [3, 3]


def test_a_second_ctrl_c_stops_at_once_and_leaves_what_was_saved(tmp_path, whole, capfd):
    first, rest, status = stopped_and_resumed(tmp_path, Net(("train", 1, 3), times=2))
    assert (len(first), status) == (8, 130)
    said, again = capfd.readouterr(), f"the same command and resume={tmp_path / 'a' / 'last.ckpt'}"
    assert said.err.count("SIGINT: stopping after this step or validation; Ctrl-C again") == 1
    assert f"stopped in step 5; 3 steps are saved: go on with {again}" in said.out
    assert rest == whole[1][5:]
    assert differences(whole[0], tmp_path / "b") == []


def test_a_scheduler_may_repeat_sigterm(tmp_path, whole, capfd):
    module = Net(("train", 1, 2), event=signal.SIGTERM, times=3)
    first, rest, status = stopped_and_resumed(tmp_path, module)
    said = capfd.readouterr()
    assert (len(first), status) == (9, 143)
    assert said.err.count("SIGTERM: stopping") == 1
    assert "interrupted after 5 steps; 5 steps are saved: go on with" in said.out
    assert first + rest == whole[1]


def test_what_is_saved_is_not_saved_again(tmp_path):
    """Told in a validation, the run stops where the next epoch begins."""
    run(tmp_path, Net(("val", 1, 0)))
    assert steps_in(tmp_path, "previous.ckpt", "last.ckpt") == [3, 6]


def test_the_line_of_a_resumed_epoch_has_the_mean_loss_of_all_of_it(tmp_path, capsys):
    run(tmp_path / "whole", Net())
    straight = capsys.readouterr().out.splitlines()
    stopped_and_resumed(tmp_path, Net(("train", 1, 1)))
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("epoch")]
    assert lines == straight


def test_an_error_tells_where_to_go_on_from(tmp_path, capsys):
    last = tmp_path / "a" / "last.ckpt"
    again = f"go on with the same command and resume={last} (and another run_dir"
    for folder, place, resume, said in (
        ("a", ("train", 0, 3), None, "an error in step 2; nothing is saved: start a new run"),
        ("a", ("train", 1, 3), None, f"an error in step 5; 3 steps are saved: {again}"),
        ("b", ("train", 1, 0), last, f"an error in step 4; nothing new is saved: {again}"),
    ):
        with pytest.raises(OSError, match=r"a\.png"):
            run(tmp_path / folder, Net(place, event=OSError("a.png is truncated")), resume=resume)
        assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lose", "message"),
    [
        (shutil.rmtree, "{last} is not there any more. The run folder {run} is gone: if it was"),
        (lambda run: run.rename(run.with_name("moved")), "any more. The run folder {run} is gone"),
        (lambda run: shutil.rmtree(run / "checkpoints"), "any more. {run} is there without check"),
        (lambda run: (run / "checkpoints" / "last.ckpt").unlink(), "any more. From the best epoch"),
    ],
    ids=["all_deleted", "moved", "checkpoints_deleted", "last_deleted"],
)
def test_an_error_tells_what_is_still_on_the_disk(tmp_path, capsys, lose, message):
    """In the second epoch, so that there were checkpoints of the first."""
    folder = tmp_path / "run" / "checkpoints"

    class Losing(Net):
        def happen(self, *place):
            if place == ("train", 1, 1):
                lose(folder.parent)
                raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        run(folder, Losing())
    printed = capsys.readouterr().out
    assert "an error in step 4; 3 steps were saved, and " in printed
    assert message.format(last=folder / "last.ckpt", run=folder.parent) in printed
    best_is_there = (folder / "best.ckpt").exists()
    assert ("the best checkpoint so far is" in printed) == best_is_there == ("best ep" in message)


def test_workers_that_fetch_ahead_fetch_the_right_epoch(tmp_path, whole):
    first, rest, _ = stopped_and_resumed(tmp_path, Net(("train", 1, 1)), workers=1)
    assert first + rest == whole[1]
    assert differences(whole[0], tmp_path / "b") == []
