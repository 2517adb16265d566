"""What trains: each parameter's group and learning rate, each module's mode, and what is wrong."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from backbones import Backbone
from tasks.common.recipe.groups import stage_modules, stage_of_tensors
from tasks.common.recipe.stages import HEAD, STAGES, stages_text

_NAMED: Final = 3  # in a message


@dataclass(frozen=True, kw_only=True)
class StageLine:
    """What trains of one stage, or of the head.

    Attributes:
        stage: Its name.
        tensors: How many parameters and buffers it has.
        trainable: How many of them take a gradient.
        lr: Learning rate of its groups, now.
        peak_lr: The highest of the schedule.
        eval_modules: Names of its modules in eval mode that have tensors of their own.
    """

    stage: str
    tensors: int
    trainable: int
    lr: float
    peak_lr: float
    eval_modules: tuple[str, ...]


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and buffer by the name it has in the network."""
    pairs = (*module.named_parameters(), *module.named_buffers())
    return {name.removeprefix("network."): tensor for name, tensor in pairs}


def stage_of_names(module: nn.Module, backbone: Backbone) -> dict[str, str]:
    """Return the stage, or `HEAD`, of each of `named_tensors`."""
    stage_of = stage_of_tensors(backbone)
    return {name: stage_of.get(id(t), HEAD) for name, t in named_tensors(module).items()}


def norm_names(module: nn.Module) -> set[str]:
    """Return the names, of `named_tensors`, of all that batch norms hold whose statistics stay.

    That is every module whose scale is a buffer beside a running variance, whosever class it is:
    torchvision's and timm's frozen norms, detectron2's and transformers' copies.
    """
    norms = {n: m for n, m in module.named_modules() if _is_fixed_norm(m)}
    names = (f"{n}.{name}" for n, m in norms.items() for name, _ in m.named_buffers())
    return {name.removeprefix("network.") for name in names}


def _is_fixed_norm(module: nn.Module) -> bool:
    return {"weight", "running_var"} <= {name for name, _ in module.named_buffers(recurse=False)}


def digest(tensor: Tensor) -> str:
    """Return a fingerprint of a tensor's bits, the same on any device and in any memory format."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return hashlib.blake2b(flat.view(torch.uint8).numpy().data, digest_size=16).hexdigest()


def listed(names: list[str]) -> str:
    """Return the first names of many, for a message."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def stage_lines(module: nn.Module, backbone: Backbone, optimizer: Optimizer) -> list[StageLine]:
    """Return a line per stage that has tensors, from the image to the head."""
    tensors, stages = named_tensors(module), stage_of_names(module, backbone)
    rates = {
        id(p): (float(group["lr"]), float(group.get("initial_lr", group["lr"])))
        for group in optimizer.param_groups
        for p in group["params"]
    }
    modes: dict[str, list[str]] = {name: [] for name in (*STAGES, HEAD)}
    of_modules = {id(inner): name for name, inner in stage_modules(backbone)}
    for name, inner in module.named_modules():
        own = any(True for _ in (*inner.parameters(recurse=False), *inner.buffers(recurse=False)))
        if own and not inner.training:
            modes[of_modules.get(id(inner), HEAD)].append(name.removeprefix("network."))
    lines = []
    for stage in (*STAGES, HEAD):
        mine = [tensors[name] for name in stages if stages[name] == stage]
        lr, peak = max((rates[id(t)] for t in mine if id(t) in rates), default=(0.0, 0.0))
        line = StageLine(
            stage=stage,
            tensors=len(mine),
            trainable=sum(t.requires_grad for t in mine),
            lr=lr,
            peak_lr=peak,
            eval_modules=tuple(modes[stage]),
        )
        lines += [line] if mine else []
    return lines


def group_lines(module: nn.Module, optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return name, learning rates, weight decay and tensors of each group, in plain values."""
    names = {id(tensor): name for name, tensor in named_tensors(module).items()}
    return [
        {
            "group": group.get("name", ""),
            "lr": float(group["lr"]),
            "peak lr": float(group.get("initial_lr", group["lr"])),
            "weight decay": group["weight_decay"],
            "trains": [names.get(id(p), "?") for p in group["params"] if p.requires_grad],
            "frozen": [names.get(id(p), "?") for p in group["params"] if not p.requires_grad],
        }
        for group in optimizer.param_groups
    ]


def faults(
    module: nn.Module, backbone: Backbone, optimizer: Optimizer, *, frozen: int
) -> Iterator[str]:
    """Yield what is wrong before a step: with groups, with what is frozen, and with modes.

    Args:
        module: What is trained.
        backbone: The part of it that has stages.
        optimizer: Of the run.
        frozen: How many stages ought to be frozen.
    """
    yield from _group_faults(module, optimizer)
    stages = stage_of_names(module, backbone)
    cold = set(STAGES[:frozen])
    parameters = {n: p for n, p in named_tensors(module).items() if isinstance(p, nn.Parameter)}
    free = [n for n, p in parameters.items() if stages[n] in cold and p.requires_grad]
    if free:
        yield f"frozen and yet taking a gradient: {listed(free)}"
    still = {id(backbone.get_parameter(key)) for key in backbone.never_trained}
    warm = {n: p for n, p in parameters.items() if stages[n] not in cold and id(p) not in still}
    stuck = [n for n, p in warm.items() if not p.requires_grad]
    if stuck:
        yield f"to be trained, and requires_grad is False: {listed(stuck)}"
    names = {id(m): name.removeprefix("network.") for name, m in module.named_modules()}
    # A stage may hold loose parameters, in a list that is no module of the network.
    inner = [(stage, m) for stage, m in stage_modules(backbone) if id(m) in names]
    awake = [names[id(m)] for stage, m in inner if stage in cold and m.training]
    if awake:
        yield f"frozen and yet in train mode, where statistics move: {listed(awake)}"
    asleep = [names[id(m)] for stage, m in inner if stage not in cold and not m.training]
    if asleep:
        yield f"to be trained, and in eval mode, where statistics stay: {listed(asleep)}"


def _group_faults(module: nn.Module, optimizer: Optimizer) -> Iterator[str]:
    """Yield which parameters are not in exactly one group, or can never move in theirs."""
    tensors = named_tensors(module)
    names = {id(t): n for n, t in tensors.items() if isinstance(t, nn.Parameter)}
    counts = Counter(id(p) for group in optimizer.param_groups for p in group["params"])
    if missing := [name for key, name in names.items() if key not in counts]:
        yield f"in no group of the optimiser: {listed(missing)}"
    if twice := [name for key, name in names.items() if counts[key] > 1]:
        yield f"several times in the groups of the optimiser: {listed(twice)}"
    if foreign := len(counts.keys() - names.keys()):
        yield f"the optimiser has {foreign} parameters that are not of the network"
    still = [
        names.get(id(p), "?")
        for group in optimizer.param_groups
        if not group.get("initial_lr", group["lr"])
        for p in group["params"]
        if p.requires_grad
    ]
    if still:
        yield (
            f"to be trained at a learning rate of 0: {listed(still)}; freeze what is not to train "
            "with backbone.freeze"
        )


def phase_text(epoch: int, cold: int, lines: list[StageLine]) -> str:
    """Return what trains from an epoch on, in one line.

    Args:
        epoch: From 0.
        cold: How many stages are frozen.
        lines: Of `stage_lines`.
    """
    tensors = sum(line.tensors for line in lines if line.stage in STAGES[:cold])
    frozen = f"{stages_text(cold)} frozen" + (f" ({tensors} tensors)" if cold else "")
    rates = {line.stage: line.peak_lr for line in lines if line.trainable}
    shown = ", ".join(f"{stage} {lr:.3g}" for stage, lr in rates.items())
    return (
        f"epoch {epoch + 1}: {frozen}; {sum(line.trainable for line in lines)} tensors train, "
        f"peak lr {shown}"
    )
