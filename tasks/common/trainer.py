"""Lightning's trainer, set up the way every run of ours wants it."""

import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from tasks.common import machine
from tasks.common.callbacks import AtomicCheckpointIO, BestCheckpoint, EpochLine, LastCheckpoint
from tasks.common.machine import Decision
from tasks.common.optim import Recipe

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


@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """Where and how a run computes.

    Attributes:
        accelerator: ``auto``, ``cuda`` or ``cpu``.
        devices: How many processes, one per device.
        strategy: Lightning's name of how they work together, such as ``ddp``.
        precision: A key of `tasks.common.machine.PRECISIONS`.
        threads: For torch's operators on a CPU; 0 takes one per core.
        workers: Processes that load and augment images; 0 does it in the training process, ``auto``
            asks `tasks.common.loading.choose_workers`. They change no sample.
        cache: Whether decoded images stay in memory, ``memory`` or ``none``; ``auto`` asks
            `tasks.common.loading.choose_cache`. It changes no sample.
        validate_every: Epochs from one validation, and choice of the best checkpoint, to the next.
        max_steps: Stop after so many steps; -1 for none. The schedule follows it.
    """

    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "auto"
    threads: int = 0
    workers: int | str = "auto"
    cache: str = "auto"
    validate_every: int = 1
    max_steps: int = -1

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


def build_trainer(
    options: TrainerOptions,
    recipe: Recipe,
    where: Machine,
    *,
    folder: Path,
    monitor: str,
    shown: tuple[str, ...],
    callbacks: Sequence[Callback] = (),
) -> tuple[lightning.Trainer, BestCheckpoint]:
    """Return the trainer, and the callback that knows the best checkpoint.

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
    ours: list[Callback] = [
        best,
        LastCheckpoint(checkpoints / "last.ckpt"),
        EpochLine(shown),
        *callbacks,
    ]
    if sys.stdout.isatty():
        ours.append(RichProgressBar())
    try:
        return _trainer(options, recipe, where, folder=folder, callbacks=ours), best
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
        strategy=options.strategy,
        precision=where.precision.value,  # type: ignore[arg-type]
        max_epochs=recipe.epochs,
        max_steps=options.max_steps,
        check_val_every_n_epoch=options.validate_every,
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.clip or None,
        callbacks=callbacks,
        logger=[
            CSVLogger(folder, name="", version=""),
            TensorBoardLogger(folder, name="", version="tensorboard"),
        ],
        plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
    )
