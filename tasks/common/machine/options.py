"""What a run is asked to compute on, and what that comes to on this machine."""

import logging
import math
import warnings
from dataclasses import dataclass
from typing import Final

import lightning

from tasks.common.machine import machine
from tasks.common.machine.machine import Decision

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
