"""The middle of every run: train, be interrupted well, end with a best checkpoint."""

import signal
from pathlib import Path

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from tasks.common.callbacks import BestCheckpoint, LastCheckpoint
from tasks.common.report import print_line
from tasks.common.resume import PREVIOUS
from tasks.common.stop import StopRequest, end_loaders


def fit(
    trainer: Trainer,
    module: LightningModule,
    data: LightningDataModule,
    *,
    best: BestCheckpoint,
    last: LastCheckpoint,
    resume: Path | None,
) -> None:
    """Train; afterwards ``best.best_model_path`` is there.

    Args:
        trainer: From `tasks.common.trainer.build_trainer`.
        module: What to train.
        data: Its batches.
        best: The callback that chooses the checkpoint.
        last: The callback that keeps the last one.
        resume: A checkpoint to go on from, or None.

    Raises:
        SystemExit: If the run is interrupted, after a line that says how to go on. The exit
            status is 128 + the signal's number: 130 after Ctrl-C, 143 after SIGTERM.
    """
    try:
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except StopRequest as stop:
        end_loaders()
        _tell(f"interrupted after {trainer.global_step} steps", trainer, last, resume=resume)
        raise SystemExit(128 + stop.number) from stop
    except (KeyboardInterrupt, SystemExit) as stop:  # at once: Lightning makes one of the other
        end_loaders()
        _tell(f"stopped in step {trainer.global_step + 1}", trainer, last, resume=resume)
        told = signal.SIGTERM if isinstance(stop, SIGTERMException) else signal.SIGINT
        raise SystemExit(128 + told) from stop
    except Exception:
        _tell(f"an error in step {trainer.global_step + 1}", trainer, last, resume=resume)
        raise
    if trainer.global_step > best.validated_step:  # max_steps came in the middle of an epoch
        trainer.validate(module, data, verbose=False)
        best.offer(trainer, Path(best.dirpath or "") / "best.ckpt")


def _tell(what: str, trainer: Trainer, last: LastCheckpoint, *, resume: Path | None) -> None:
    """Say what happened, what is saved, and how to go on from there."""
    if not trainer.is_global_zero:
        return
    again = "go on with the same command and resume={} (and another run_dir, if you gave one)"
    if last.path.exists() or last.path.with_name(PREVIOUS).exists():  # cut off as it was renamed
        how = f"{last.saved_step} steps are saved: {again.format(last.path)}"
    elif resume is not None:
        how = f"nothing new is saved: {again.format(resume)}"
    else:
        how = "nothing is saved: start anew"
    print_line(f"\n{what}; {how}")
