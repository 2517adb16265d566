"""``recipe.batch_size=auto``: as many images as memory, data set and learning rate allow."""

import gc
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from omegaconf import DictConfig

from backbones.errors import UserError
from backbones.weights.read import read_checkpoint
from tasks.common.machine import memory
from tasks.common.machine.memory import size_text
from tasks.common.options.decision import Decision
from tasks.common.recipe.ema import MovingAverage
from tasks.common.recipe.unfreeze import check_unfreezing, frozen_stages
from tasks.common.resume.checkpoints import find_start
from tasks.common.run.task import RunParts
from tasks.common.run.trainer import trial_trainer

_STEPS_PER_EPOCH: Final = 20
_LR_REACH: Final = 2  # how far from `lr_images` the linear rule is relied on
_CPU_MOST: Final = 8  # a detector gains nothing beyond 2 images, a U-Net a third beyond 8
_FULL: Final = 0.8
_TRIAL_STEPS: Final = 2  # the optimiser's state is there from the second on


def settle_batch_size(cfg: DictConfig, assemble: Callable[[DictConfig], RunParts]) -> Decision:
    """Put a number where ``cfg.recipe.batch_size`` is ``auto``, and return it with the reason.

    A resumed run takes what it had. Otherwise it is the largest power of two with which an epoch
    has 20 steps, the effective batch is at most twice ``recipe.lr_images``, and training fills at
    most 80 % of the memory. On a GPU that is tried out with real steps of parts that are then
    thrown away; on a CPU it is at most 8, and judged by the memory that two images take. Where the
    number decides the network (``backbone.norm=auto``), that network is tried out as well.
    """
    wanted = cfg.recipe.batch_size
    if isinstance(wanted, int):
        return Decision(str(wanted), "as configured")
    if wanted != "auto":
        raise UserError(f"recipe.batch_size takes auto or an integer from 1, got {wanted!r}.")
    if cfg.trainer.devices > 1:
        raise UserError(
            f"recipe.batch_size=auto is for one device, and trainer.devices is "
            f"{cfg.trainer.devices}, which could decide differently; give a number."
        )
    decision = _decided(cfg, assemble) if cfg.resume is None else _saved(Path(cfg.resume))
    cfg.recipe.batch_size = int(decision.value)
    return decision


def limit(images: int, *, lr_images: int, accumulate: int) -> Decision:
    """Return the largest power of two that the data set and the learning rate allow.

    >>> str(limit(205, lr_images=16, accumulate=1))
    '8 (26 steps per epoch of 205 images)'
    """
    by_data = _power_of_two(images // _STEPS_PER_EPOCH)
    by_rate = _power_of_two(_LR_REACH * lr_images // accumulate)
    if by_data <= by_rate:
        steps = -(-images // by_data)
        return Decision(str(by_data), f"{steps} steps per epoch of {images} images")
    reason = f"at most {_LR_REACH} x recipe.lr_images={lr_images} in an effective batch"
    return Decision(str(by_rate), reason)


def _power_of_two(most: int) -> int:
    return 1 << (max(1, most).bit_length() - 1)


def _saved(run: Path) -> Decision:
    """Return the batch size of a stopped run; `check_resume` says what else is wrong with it."""
    recipe = read_checkpoint(find_start(run)[0]).get("keel_run", {}).get("recipe", {})
    return Decision(str(recipe.get("batch_size", 1)), "that of the run resumed")


def _decided(cfg: DictConfig, assemble: Callable[[DictConfig], RunParts]) -> Decision:
    parts = _trial_parts(cfg, assemble, batch_size=1)
    images = len(parts.data.train_dataloader().dataset)
    most = limit(images, lr_images=cfg.recipe.lr_images, accumulate=cfg.recipe.accumulate)
    is_gpu = parts.setup.where.accelerator.value == "cuda"
    decide = _by_trial if is_gpu else _by_estimate
    decision, tried = decide(parts, most), repr(parts.module)
    del parts  # frees its memory
    gc.collect()
    parts = _trial_parts(cfg, assemble, batch_size=int(decision.value))
    # With fewer images it may be the first network again, which has been tried with more.
    return decision if repr(parts.module) == tried else decide(parts, decision)


def _trial_parts(
    cfg: DictConfig, assemble: Callable[[DictConfig], RunParts], *, batch_size: int
) -> RunParts:
    """Return the parts of a run, to be thrown away; the trials set their own number of images."""
    trial = cfg.copy()
    trial.feature_cache.views = 0
    trial.recipe.batch_size = batch_size
    trial.recipe.lr_images *= batch_size  # the learning rate of one image, the least
    parts = assemble(trial)
    parts.data.workers = 0
    recipe, backbone = parts.setup.recipe, parts.backbone
    count = {"base": backbone.frozen, "stages": len(backbone.stages())}
    check_unfreezing(recipe, **count)
    backbone.freeze(frozen_stages(recipe, recipe.epochs - 1, **count))  # what takes most memory
    return parts


def _by_trial(parts: RunParts, most: Decision) -> Decision:
    """Double the batch until the GPU's memory is full."""
    total = torch.cuda.mem_get_info()[1]
    fitting, share = 0, 0.0
    while fitting < int(most.value):
        tried = fitting * 2 or 1
        filled = gpu_share(parts, batch_size=tried)
        if filled > _FULL:
            break
        fitting, share = tried, filled
    if not fitting:
        raise UserError(
            f"one image takes more than {_FULL:.0%} of the {size_text(total)} of the GPU; use "
            "smaller images or patches, a smaller backbone, or freeze more stages."
        )
    used = f"{share:.0%} of memory in use"
    if fitting == int(most.value):
        return Decision(most.value, f"{most.reason}; {used}")
    return Decision(str(fitting), f"{used}; twice as many take more than {_FULL:.0%}")


def gpu_share(parts: RunParts, *, batch_size: int) -> float:
    """Return the share of the GPU's memory that training fills; infinity if it is not enough."""
    free, total = torch.cuda.mem_get_info()
    others = total - free - torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    try:
        take_steps(parts, batch_size=batch_size)
    except torch.OutOfMemoryError:
        return math.inf
    finally:
        gc.collect()
        torch.cuda.empty_cache()
    return (others + torch.cuda.max_memory_reserved()) / total


def _by_estimate(parts: RunParts, most: Decision) -> Decision:
    """Estimate by what two images take: running out of memory on a CPU kills the process."""
    if (free := memory.free_memory()) is None:
        raise UserError(
            "recipe.batch_size=auto has to know how much memory is free, which this system does "
            "not say; give a number."
        )
    before, _ = memory.own_memory()
    take_steps(parts, batch_size=2)
    each = max(1, memory.own_memory()[1] - before) / 2
    fitting = _power_of_two(int(_FULL * free / each))
    if fitting < min(int(most.value), _CPU_MOST):
        reason = f"an image takes up to {size_text(each)} of {size_text(free)} free"
        return Decision(str(fitting), reason)
    if int(most.value) <= _CPU_MOST:
        return most
    return Decision(str(_CPU_MOST), "a CPU gains little from more")


def take_steps(parts: RunParts, *, batch_size: int) -> None:
    """Take real steps, and keep nothing of them but the network's changed weights."""
    parts.data.batch_size = batch_size
    where, ema = parts.setup.where, parts.setup.recipe.ema
    averages = [MovingAverage(ema)] if ema else []  # a second copy of the weights
    precision = where.precision.value
    trainer = trial_trainer(where, steps=_TRIAL_STEPS, precision=precision, callbacks=averages)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*have no `val_dataloader`.*")
        trainer.fit(parts.module, train_dataloaders=parts.data.train_dataloader())
