"""The middle of every run: train, be interrupted well, end with a best checkpoint."""

import signal
from pathlib import Path

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from tasks.common.report.terminal import print_line
from tasks.common.resume.checkpoints import BEST, saved_in
from tasks.common.resume.stop import StopRequest, end_loaders
from tasks.common.run.callbacks import BestCheckpoint, LastCheckpoint


def fit(
    trainer: Trainer,
    module: LightningModule,
    data: LightningDataModule,
    *,
    best: BestCheckpoint,
    last: LastCheckpoint,
    resume: Path | None,
) -> None:
    """Train; an interrupted run says how to go on, and exits with 128 + the signal's number."""
    try:
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except StopRequest as stop:
        end_loaders()
        _tell(f"interrupted after {trainer.global_step} steps", trainer, best, last, resume=resume)
        raise SystemExit(128 + stop.number) from stop
    except (KeyboardInterrupt, SystemExit) as stop:  # at once: Lightning makes one of the other
        end_loaders()
        _tell(f"stopped in step {trainer.global_step + 1}", trainer, best, last, resume=resume)
        number = signal.SIGTERM if isinstance(stop, SIGTERMException) else signal.SIGINT
        raise SystemExit(128 + number) from stop
    except Exception:
        _tell(f"an error in step {trainer.global_step + 1}", trainer, best, last, resume=resume)
        raise


def validate_rest(
    trainer: Trainer, module: LightningModule, data: LightningDataModule, *, best: BestCheckpoint
) -> None:
    """Validate what was trained since the last validation; ``max_steps`` may end in an epoch."""
    if trainer.global_step > best.validated_step:
        trainer.validate(module, data, verbose=False)
        best.offer(trainer, Path(best.dirpath or "") / BEST)


def _tell(
    what: str, trainer: Trainer, best: BestCheckpoint, last: LastCheckpoint, *, resume: Path | None
) -> None:
    """Say what happened, what is on the disk, and how to go on from there."""
    if not trainer.is_global_zero:
        return
    again = "go on with the same command and resume={} (and another run_dir, if you gave one)"
    folder = last.path.parent
    there = [path for path in saved_in(folder) if path.name != BEST]
    chosen = Path(best.best_model_path) if best.best_model_path else None
    if there:  # the last; or the one before, if the process was cut off as it was renamed
        how = f"{last.saved_step} steps are saved: {again.format(there[0])}"
    elif last.has_saved:
        how = f"{last.saved_step} steps were saved, and {last.path} is not there any more. "
        how += _after_loss(folder, chosen, again)
    elif resume is not None and resume.is_file():
        how = f"nothing new is saved: {again.format(resume)}"
    elif resume is not None:
        how = f"nothing new is saved, and {resume} is not there any more: start a new run"
    else:
        how = "nothing is saved: start a new run"
    if chosen is not None and chosen.is_file():
        score = float("nan") if best.best_model_score is None else float(best.best_model_score)
        how += f"\nthe best checkpoint so far is {chosen} ({best.monitor} {score:.3f})"
    print_line(f"\n{what}; {how}", always=True)


def _after_loss(folder: Path, chosen: Path | None, again: str) -> str:
    """Return what can be done if checkpoints are gone that had been there."""
    if chosen is not None and chosen.is_file():
        return f"From the best epoch, {again.format(chosen)}"
    if folder.parent.exists():
        return f"{folder.parent} is there without checkpoints: start a new run"
    return (
        f"The run folder {folder.parent} is gone: if it was moved, "
        f"{again.format('<its new place>')}; if it was deleted, start a new run"
    )
