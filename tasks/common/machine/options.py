"""The ``trainer`` group of the configuration: where and how a run computes."""

import math
from dataclasses import dataclass
from typing import Final

from tasks.common.options.limits import Options, choice, integer, number

ACCELERATORS: Final = ("auto", "cuda", "cpu")
PRECISIONS: Final = {"auto": "", "32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
"""The names in ``trainer.precision``, and Lightning's for the same."""

CACHES: Final = ("auto", "memory", "disk", "none")


@dataclass(frozen=True, kw_only=True)
class TrainerOptions(Options, group="trainer"):
    """Where and how a run computes.

    Attributes:
        accelerator: The kind of device; ``auto`` takes cuda where there is one.
        devices: How many devices train, each with a process of its own.
        strategy: How the devices work together, as Lightning calls it, such as ``ddp``.
        precision: Numbers that are computed with; ``auto`` takes bf16 where the hardware has it.
        threads: Threads of torch on a CPU; 0 takes one per core.
        workers: Processes that load and augment images; 0 does it in the training process, ``auto``
            asks `tasks.common.data.loading.choose_workers`. They change no sample.
        cache: Where decoded images stay: in ``memory``, on ``disk`` in a temporary file in TMPDIR
            that goes with the run, or nowhere (``none``); ``auto`` asks
            `tasks.common.data.loading.choose_cache`. It changes no sample.
        compile: Whether torch.compile makes kernels of the backbone first. On a CPU that takes
            minutes and saves 2 to 4 % of a step (benchmarks/RESULTS.md).
        grad_checkpointing: Whether activations are computed again in the backward pass in place of
            being kept: those of the stages that train, and of a U-Net's decoder. It changes no loss
            and no gradient. With R50-FPN and nothing frozen it takes a fifth of the memory off, for
            15 % more arithmetic (benchmarks/RESULTS.md).
        validate_every: Epochs from one validation, and choice of the best checkpoint, to the next.
        max_steps: Steps after which training stops; -1 for none. The schedule follows it.
        save_minutes: Minutes of training that may be lost if the process is killed: a checkpoint is
            written when the last is so old, beside that of every epoch. 0 writes one after each
            step, inf none within an epoch.
    """

    accelerator: str = choice("auto", ACCELERATORS)
    devices: int = integer(1, least=1)
    strategy: str = "auto"
    precision: str = choice("auto", PRECISIONS)
    threads: int = integer(0, least=0)
    workers: int | str = integer("auto", least=0, also={"auto": "auto"})
    cache: str = choice("auto", CACHES)
    compile: bool = False
    grad_checkpointing: bool = False
    validate_every: int = integer(1, least=1)
    max_steps: int = integer(-1, least=1, also={-1: "-1 for no limit"})
    save_minutes: float = number(10.0, least=0, also={math.inf: "inf"})
