"""Where a run stands between two of its steps, and a checkpoint that goes on exactly from there."""

from dataclasses import dataclass
from typing import Any

from lightning import Trainer
from lightning.pytorch.trainer.states import TrainerFn


@dataclass(frozen=True, kw_only=True)
class Position:
    """The batch that comes next: its epoch, from 0, and how many batches of it came before."""

    epoch: int
    batches: int


def position(trainer: Trainer) -> Position:
    """Return where a run stands; after the last batch of an epoch that is the next epoch."""
    loop = trainer.fit_loop
    epoch = max(0, loop.epoch_progress.current.ready - 1)
    batches = loop.epoch_loop.batch_progress.current.completed
    if batches < loop.max_batches:
        return Position(epoch=epoch, batches=batches)
    return Position(epoch=epoch + 1, batches=0)


def settle(loop: dict[str, Any], trainer: Trainer) -> None:
    """Set the counters of a checkpoint so that Lightning goes on with the batch that comes next.

    Left as they are where a checkpoint is written, they count a batch as begun, or an epoch as
    not ended: Lightning then runs the end of that epoch, its hooks and its lines, twice. A run
    that had not validated yet goes on with the validation.
    """
    val_loop, val = trainer.fit_loop.epoch_loop.val_loop, "epoch_loop.val_loop.batch_progress"
    fitting = trainer.state.fn == TrainerFn.FITTING
    if fitting and trainer.validating and val_loop.batch_progress.current.ready == 0:
        # As if the first batch of the validation had been begun: it is run as a whole.
        _count(loop[val]["total"], begun=1, done=0)
        return
    where, batches = position(trainer), loop["epoch_loop.batch_progress"]
    for span in ("total", "current"):
        begun = where.epoch + (where.batches > 0)
        _count(loop["epoch_progress"][span], begun=begun, done=where.epoch)
    _count(batches["current"], begun=where.batches, done=where.batches)
    for total in (batches["total"], loop[val]["total"]):
        _count(total, begun=total["completed"], done=total["completed"])
    loop["epoch_loop.state_dict"]["_batches_that_stepped"] = trainer.global_step


def begin(trainer: Trainer) -> None:
    """Begin an epoch as one: under ``max_steps`` Lightning would end the one before once more."""
    loop = trainer.fit_loop.epoch_loop
    if loop.batch_progress.current.ready == 0:
        loop.restarting = False


def _count(tracker: dict[str, int], *, begun: int, done: int) -> None:
    tracker |= {"ready": begun, "started": begun, "processed": done, "completed": done}
