"""Lightning's trainer, set up the way every run of ours wants it."""

import logging
import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger

from tasks.common.machine import machine
from tasks.common.machine.machine import Decision
from tasks.common.recipe.recipe import Recipe
from tasks.common.report.table_log import TableLogger
from tasks.common.resume.checkpoints import LAST
from tasks.common.resume.random_state import ExactState
from tasks.common.run.callbacks import AtomicCheckpointIO, BestCheckpoint, EpochLine, LastCheckpoint

_IRRELEVANT: Final = (
    ".*does not have many workers.*",  # a choice of the configuration, shown in the banner
    ".*Experiment logs directory .* exists and is not empty.*",  # Hydra made it
    r".*module\(s\) in eval mode at the start of training.*",  # frozen stages
    ".*your dataloader is not resumable.*",  # our data modules leave out what an epoch has seen
    r".*isinstance\(treespec, LeafSpec\)` is deprecated.*",  # Lightning's own use of torch
    ".*It is recommended to use .*sync_dist=True.*",  # every process logs the same score
    r".*ModelCheckpoint\(monitor=.* could not find the monitored key.*",  # no validation yet
)
"""Warnings that tell our user nothing to act on."""

_LOOKS: Final = "_find_unused_parameters_true"
"""How Lightning calls a strategy that looks for parameters without a gradient."""


@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """Where and how a run computes.

    Attributes:
        accelerator: ``auto``, ``cuda`` or ``cpu``.
        devices: How many processes, one per device.
        strategy: Lightning's name of how they work together, such as ``ddp``.
        precision: A key of `tasks.common.machine.machine.PRECISIONS`.
        threads: For torch's operators on a CPU; 0 takes one per core.
        workers: Processes that load and augment images; 0 does it in the training process, ``auto``
            asks `tasks.common.data.loading.choose_workers`. They change no sample.
        cache: Where decoded images stay: in ``memory``, on ``disk`` in a scratch file below TMPDIR
            that goes with the run, or nowhere (``none``); ``auto`` asks
            `tasks.common.data.loading.choose_cache`. It changes no sample.
        compile: Whether torch.compile makes kernels of the backbone first. On a CPU that takes
            minutes and saves 2 to 4 % of a step (benchmarks/RESULTS.md).
        validate_every: Epochs from one validation, and choice of the best checkpoint, to the next.
        max_steps: Stop after so many steps; -1 for none. The schedule follows it.
        save_minutes: Of training that may be lost if the process is killed: a checkpoint is
            written when the last is so old, beside that of every epoch. 0 writes one after each
            step, inf none within an epoch.
    """

    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "auto"
    threads: int = 0
    workers: int | str = "auto"
    cache: str = "auto"
    compile: bool = False
    validate_every: int = 1
    max_steps: int = -1
    save_minutes: float = 10.0

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        for name, least in (("devices", 1), ("threads", 0), ("validate_every", 1)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"trainer.{name} takes an integer from {least}, got {value!r}.")
        if self.workers != "auto" and not (isinstance(self.workers, int) and self.workers >= 0):
            raise ValueError(
                f"trainer.workers takes auto or an integer from 0, got {self.workers!r}."
            )
        if self.max_steps < 1 and self.max_steps != -1:
            raise ValueError(
                f"trainer.max_steps takes a number of steps from 1, or -1 for no limit, got "
                f"{self.max_steps!r}."
            )
        if math.isnan(self.save_minutes) or self.save_minutes < 0:
            raise ValueError(
                f"trainer.save_minutes takes minutes from 0, or inf, got {self.save_minutes!r}."
            )


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the options came to on this machine, each choice with its reason."""

    accelerator: Decision
    precision: Decision
    cpu: Decision


def prepare(options: TrainerOptions, *, seed: int) -> Machine:
    """Look at the machine, decide, and set up the process: threads, warnings, random seed.

    Args:
        options: What the user wants.
        seed: From 0 to 2**32 - 1.

    Raises:
        ValueError: If an option is unknown, or asks for what the machine does not have, or the
            seed is none.
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed takes an integer from 0 to 2**32 - 1, got {seed!r}.")
    lightning.seed_everything(seed, workers=True, verbose=False)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in _IRRELEVANT:
        warnings.filterwarnings("ignore", message)
    accelerator = machine.accelerator(options.accelerator)
    return Machine(
        accelerator=accelerator,
        precision=machine.precision(options.precision, device=accelerator.value),
        cpu=machine.prepare_cpu(options.threads),
    )


def choose_strategy(options: TrainerOptions, recipe: Recipe) -> str:
    """Return the strategy, one that does not wait for gradients of frozen stages.

    DDP is shown all that will ever train (see `tasks.common.recipe.unfreeze.Unfreezing`), and has
    to look, step by step, for what of it has no gradient yet.

    Args:
        options: Devices and strategy.
        recipe: Whether stages are unfrozen.

    Raises:
        ValueError: If stages are unfrozen under a strategy that cannot be told so.
    """
    strategy = options.strategy
    if not recipe.thaws or options.devices == 1 or strategy.endswith(_LOOKS):
        return strategy
    if strategy in ("auto", "ddp", "ddp_spawn", "ddp_fork"):
        return f"{'ddp' if strategy == 'auto' else strategy}{_LOOKS}"
    raise ValueError(
        f"recipe.unfreeze and recipe.frozen_until do not go with trainer.strategy={strategy} on "
        f"{options.devices} devices: it fixes at the start what is trained. Use "
        "trainer.strategy=ddp, or leave them out."
    )


def build_trainer(
    options: TrainerOptions,
    recipe: Recipe,
    where: Machine,
    *,
    folder: Path,
    monitor: str,
    shown: tuple[str, ...],
    callbacks: Sequence[Callback] = (),
) -> tuple[lightning.Trainer, BestCheckpoint, LastCheckpoint]:
    """Return the trainer, and the callbacks that keep the best checkpoint and the last one.

    Args:
        options: Devices and strategy.
        recipe: Epochs, accumulation, clipping.
        where: What `prepare` decided.
        folder: The run folder; logs and checkpoints go there.
        monitor: The metric that chooses the best checkpoint; higher is better.
        shown: Metrics to print after each epoch.
        callbacks: Further ones.

    Raises:
        ValueError: If Lightning refuses the devices or the strategy, or the last epoch would not
            be validated.
    """
    if recipe.epochs % options.validate_every:
        raise ValueError(
            f"trainer.validate_every={options.validate_every} would leave the end of "
            f"recipe.epochs={recipe.epochs} without a validation; use a divisor of it."
        )
    checkpoints = folder / "checkpoints"
    best = BestCheckpoint(
        checkpoints,
        filename="best",
        monitor=monitor,
        mode="max",
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
    last = LastCheckpoint(checkpoints / LAST, minutes=options.save_minutes)
    ours: list[Callback] = [
        *callbacks,
        EpochLine(shown),
        ExactState(),
        best,  # Lightning puts these two last: what they save has what the others make of a step
        last,
    ]
    if sys.stdout.isatty():
        ours.append(RichProgressBar())
    try:
        return _trainer(options, recipe, where, folder=folder, callbacks=ours), best, last
    except MisconfigurationException as error:
        raise ValueError(f"trainer.devices or trainer.strategy does not fit: {error}") from error


def _trainer(
    options: TrainerOptions,
    recipe: Recipe,
    where: Machine,
    *,
    folder: Path,
    callbacks: list[Callback],
) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator=where.accelerator.value,
        devices=options.devices,
        strategy=choose_strategy(options, recipe),
        precision=where.precision.value,  # type: ignore[arg-type]
        max_epochs=recipe.epochs,
        max_steps=options.max_steps,
        check_val_every_n_epoch=options.validate_every,
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.clip or None,
        callbacks=callbacks,
        logger=[
            TableLogger(folder, name="", version=""),
            TensorBoardLogger(folder, name="", version="tensorboard"),
        ],
        plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
    )
