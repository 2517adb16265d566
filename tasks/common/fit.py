"""The middle of every run: train, be interrupted well, end with a best checkpoint."""

from pathlib import Path

from lightning import LightningDataModule, LightningModule, Trainer

from tasks.common.callbacks import BestCheckpoint


def fit(
    trainer: Trainer,
    module: LightningModule,
    data: LightningDataModule,
    *,
    best: BestCheckpoint,
    resume: str | None,
) -> None:
    """Train; afterwards ``best.best_model_path`` is there.

    Args:
        trainer: From `tasks.common.trainer.build_trainer`.
        module: What to train.
        data: Its batches.
        best: The callback that chooses the checkpoint.
        resume: A checkpoint to go on from, or None.

    Raises:
        SystemExit: If the run is interrupted, with a message that says how to go on.
    """
    folder = Path(best.dirpath or "")
    try:
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except (KeyboardInterrupt, SystemExit) as stop:
        last = folder / "last.ckpt"
        if not last.exists():
            raise SystemExit(
                "\ninterrupted before the first step; there is nothing to keep"
            ) from stop
        raise SystemExit(
            f"\ninterrupted after {trainer.global_step} steps, which are saved: go on with the "
            f"same command and resume={last} (and another run_dir, if you gave one)"
        ) from stop
    if trainer.global_step > best.validated_step:  # max_steps came in the middle of an epoch
        trainer.validate(module, data, verbose=False)
        best.offer(trainer, folder / "best.ckpt")
