"""Lightning's trainer, set up as every run of Keel needs it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import Profiler

from backbones.errors import UserError
from tasks.common.machine.machine import Machine
from tasks.common.machine.options import TrainerOptions
from tasks.common.recipe.recipe import Recipe
from tasks.common.report.terminal import is_quiet
from tasks.common.resume.checkpoints import LAST
from tasks.common.resume.random_state import ExactState
from tasks.common.run.callbacks import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint
from tasks.common.run.loggers import loggers
from tasks.common.run.progress import EpochLine, RunBar
from tasks.common.run.setup import Setup

_LOOKS: Final = "_find_unused_parameters_true"
"""How Lightning calls a strategy that looks for parameters without a gradient."""


def choose_strategy(options: TrainerOptions, recipe: Recipe) -> str:
    """Return the strategy, one that does not wait for gradients of frozen stages.

    DDP gets every parameter that will ever train (see `tasks.common.recipe.unfreeze.Unfreezing`),
    and has to find in every step which of them have no gradient yet.
    """
    strategy = options.strategy
    if not recipe.thaws or options.devices == 1 or strategy.endswith(_LOOKS):
        return strategy
    if strategy in ("auto", "ddp", "ddp_spawn", "ddp_fork"):
        return f"{'ddp' if strategy == 'auto' else strategy}{_LOOKS}"
    raise UserError(
        f"recipe.unfreeze and recipe.frozen_until do not go with trainer.strategy={strategy} on "
        f"{options.devices} devices: it fixes at the start what is trained. Use "
        "trainer.strategy=ddp, or leave them out."
    )


def build_trainer(
    setup: Setup[Any, Any],
    *,
    folder: Path,
    monitor: str,
    shown: tuple[str, ...],
    callbacks: Sequence[Callback] = (),
    profiler: Profiler | None = None,
) -> tuple[lightning.Trainer, BestCheckpoint, LastCheckpoint]:
    """Return the trainer, and the callbacks that keep the best checkpoint and the last one."""
    options, recipe = setup.options, setup.recipe
    if recipe.epochs % options.validate_every:
        raise UserError(
            f"trainer.validate_every={options.validate_every} would leave the end of "
            f"recipe.epochs={recipe.epochs} without a validation; use a divisor of it."
        )
    best = BestCheckpoint(folder / "checkpoints", monitor=monitor)
    last = LastCheckpoint(folder / "checkpoints" / LAST, minutes=options.save_minutes)
    # Lightning puts the last two last: what they save has what the others make of a step.
    ours = [*callbacks, EpochLine(shown, best=best), ExactState(), best, last]
    strategy = choose_strategy(options, recipe)
    try:
        trainer = _trainer(
            setup, folder=folder, callbacks=ours, strategy=strategy, profiler=profiler
        )
    except (MisconfigurationException, ValueError) as error:
        raise UserError(f"trainer.devices or trainer.strategy does not fit: {error}") from error
    return trainer, best, last


def _trainer(
    setup: Setup[Any, Any],
    *,
    folder: Path,
    callbacks: list[Callback],
    strategy: str,
    profiler: Profiler | None,
) -> lightning.Trainer:
    options, recipe, shows_progress = (
        setup.options,
        setup.recipe,
        sys.stdout.isatty() and not is_quiet(),
    )
    return lightning.Trainer(
        accelerator=setup.where.accelerator.value,
        devices=options.devices,
        strategy=strategy,
        precision=setup.where.precision.value,  # type: ignore[arg-type]
        max_epochs=recipe.epochs,
        max_steps=options.max_steps,
        check_val_every_n_epoch=options.validate_every,
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.clip or None,
        callbacks=[*callbacks, *([RunBar()] if shows_progress else [])],
        logger=loggers(setup.logger, folder),
        plugins=[AtomicCheckpointIO()],
        profiler=profiler,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        enable_progress_bar=shows_progress,
        enable_model_summary=False,
    )


def trial_trainer(
    where: Machine, *, steps: int, precision: str, callbacks: Sequence[Callback], clip: float = 0
) -> lightning.Trainer:
    """Return a trainer for a few steps on one device, of which nothing is logged or saved."""
    return lightning.Trainer(
        accelerator=where.accelerator.value,
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        max_steps=steps,
        limit_val_batches=0,
        gradient_clip_val=clip or None,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
