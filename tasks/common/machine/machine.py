"""The machine that a run computes on: its description, its device and its set-up."""

import logging
import os
import platform
import warnings
from dataclasses import dataclass
from typing import Final

import torch

from backbones.choose import choose
from backbones.errors import UserError
from tasks.common.machine.memory import own_peak
from tasks.common.machine.options import ACCELERATORS, TrainerOptions
from tasks.common.machine.precision import precision
from tasks.common.machine.threads import prepare_cpu
from tasks.common.options.decision import Decision

_IRRELEVANT: Final = (
    ".*does not have many workers.*",  # a choice of the configuration, shown in the banner
    ".*Experiment logs directory .* exists and is not empty.*",  # Hydra made it
    r".*module\(s\) in eval mode at the start of training.*",  # frozen stages
    ".*your dataloader is not resumable.*",  # our data modules leave out what an epoch has seen
    r".*isinstance\(treespec, LeafSpec\)` is deprecated.*",  # Lightning's own use of torch
    ".*It is recommended to use .*sync_dist=True.*",  # every process logs the same score
    r".*ModelCheckpoint\(monitor=.* could not find the monitored key.*",  # no validation yet
)
"""Warnings that a user can do nothing about."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The device, precision and threads of a run, each with its reason."""

    accelerator: Decision
    precision: Decision
    cpu: Decision


def prepare(options: TrainerOptions, *, seed: int) -> Machine:
    """Decide device, precision and threads, and set up the process: warnings, random seed."""
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UserError(f"seed takes an integer from 0 to 2**32 - 1, got {seed!r}.")
    from lightning import seed_everything  # what predicts has no need of it

    seed_everything(seed, workers=True, verbose=False)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in _IRRELEVANT:
        warnings.filterwarnings("ignore", message)
    where = accelerator(options.accelerator)
    return Machine(
        accelerator=where,
        precision=precision(options.precision, device=where.value),
        cpu=prepare_cpu(options.threads),
    )


def accelerator(wanted: str, *, option: str = "trainer.accelerator") -> Decision:
    """Return ``cuda`` or ``cpu``; raise UserError if what is wanted is unknown or not there."""
    choose(dict.fromkeys(ACCELERATORS), wanted, what=option)
    if wanted == "cpu":
        return Decision("cpu", "as configured")
    if torch.cuda.is_available():
        return Decision("cuda", torch.cuda.get_device_name())
    if wanted == "cuda":
        raise UserError(
            f"{option} is cuda, but torch sees no CUDA device; take cpu or auto, or look at "
            "nvidia-smi and torch.version.cuda."
        )
    return Decision("cpu", "no CUDA device")


def device_of(wanted: str, *, option: str = "device") -> torch.device:
    """Return the device for ``auto``, ``cuda``, ``cpu``, or ``cuda:1`` for one of several."""
    kind, colon, number = wanted.partition(":")
    found = accelerator(kind, option=option).value
    if not colon:
        return torch.device(found)
    count = torch.cuda.device_count() if found == "cuda" else 0
    if not number.isdecimal() or int(number) >= count:
        raise UserError(
            f"{option} takes auto, cpu, cuda or cuda:<number>, numbers below the {count} CUDA "
            f"devices that torch sees, got {wanted!r}."
        )
    return torch.device(found, int(number))


def describe() -> dict[str, str]:
    """Return the facts about the machine that results depend on."""
    return {
        "machine": platform.platform(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def peak_memory() -> dict[str, int]:
    """Return the most bytes that this process has used: of the computer, and of a GPU if in use."""
    used = {"process": own_peak()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        used["GPU"] = torch.cuda.max_memory_allocated()
    return used


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="ignore") as file:  # noqa: PTH123
            line = next((line for line in file if line.startswith("model name")), "")
        return line.partition(":")[2].strip() or platform.processor()
    except OSError:
        return platform.processor()
