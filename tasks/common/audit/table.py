"""What trains: each parameter's group and learning rate, each module's mode, and what is wrong."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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
class StageRow:
    """What trains of one stage, or of the head."""

    stage: str  # its name
    tensors: int  # how many parameters and buffers it has
    trainable: int  # how many of them take a gradient
    lr: float  # learning rate of its groups, now
    peak_lr: float  # the highest of the schedule
    eval_modules: tuple[str, ...]  # those in eval mode that have tensors of their own


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and buffer by the name it has in the network."""
    pairs = (*module.named_parameters(), *module.named_buffers())
    return {_short(name): tensor for name, tensor in pairs}


def stage_of_names(module: nn.Module, backbone: Backbone) -> dict[str, str]:
    """Return the stage, or `HEAD`, of each of `named_tensors`."""
    stage_of = stage_of_tensors(backbone)
    return {name: stage_of.get(id(t), HEAD) for name, t in named_tensors(module).items()}


def norm_names(module: nn.Module) -> set[str]:
    """Return the names, of `named_tensors`, in batch norms whose statistics are fixed.

    That is, with the scale as a buffer: torchvision's and timm's frozen norms, and others' copies.
    """
    norms = {n: m for n, m in module.named_modules() if _is_fixed_norm(m)}
    return {_short(f"{n}.{name}") for n, m in norms.items() for name, _ in m.named_buffers()}


def _is_fixed_norm(module: nn.Module) -> bool:
    return {"weight", "running_var"} <= {name for name, _ in module.named_buffers(recurse=False)}


def _short(name: str) -> str:
    return name.removeprefix("network.")


def digest(tensor: Tensor) -> str:
    """Return a hash of a tensor's bits, the same on any device and in any memory format."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return hashlib.blake2b(flat.view(torch.uint8).numpy().data, digest_size=16).hexdigest()


def listed(names: list[str]) -> str:
    """Return the first names of many, for a message."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def stage_rows(module: nn.Module, backbone: Backbone, optimizer: Optimizer) -> list[StageRow]:
    """Return a row per stage that has tensors, from the image to the head."""
    tensors, stages = named_tensors(module), stage_of_names(module, backbone)
    rates = {
        id(p): (float(group["lr"]), _peak(group))
        for group in optimizer.param_groups
        for p in group["params"]
    }
    eval_modules: dict[str, list[str]] = {name: [] for name in (*STAGES, HEAD)}
    of_modules = {id(inner): name for name, inner in stage_modules(backbone)}
    for name, inner in module.named_modules():
        own = any(True for _ in (*inner.parameters(recurse=False), *inner.buffers(recurse=False)))
        if own and not inner.training:
            eval_modules[of_modules.get(id(inner), HEAD)].append(_short(name))
    rows = []
    for stage in (*STAGES, HEAD):
        mine = [tensors[name] for name in stages if stages[name] == stage]
        lr, peak = max((rates[id(t)] for t in mine if id(t) in rates), default=(0.0, 0.0))
        counts = {"tensors": len(mine), "trainable": sum(t.requires_grad for t in mine)}
        modules = tuple(eval_modules[stage])
        row = StageRow(stage=stage, **counts, lr=lr, peak_lr=peak, eval_modules=modules)
        rows += [row] if mine else []
    return rows


def group_rows(module: nn.Module, optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return name, learning rates, weight decay and tensors of each group, in plain values."""
    names = {id(tensor): name for name, tensor in named_tensors(module).items()}
    return [
        {
            "group": group.get("name", ""),
            "lr": float(group["lr"]),
            "peak lr": _peak(group),
            "weight decay": group["weight_decay"],
            "trains": [names.get(id(p), "?") for p in group["params"] if p.requires_grad],
            "frozen": [names.get(id(p), "?") for p in group["params"] if not p.requires_grad],
        }
        for group in optimizer.param_groups
    ]


def _peak(group: dict[str, Any]) -> float:
    return float(group.get("initial_lr", group["lr"]))


def faults(
    module: nn.Module, backbone: Backbone, optimizer: Optimizer, *, frozen: int
) -> Iterator[str]:
    """Yield what is wrong before a step with groups, with what is frozen, and with modes."""
    yield from _group_faults(module, optimizer)
    stages, frozen_stages = stage_of_names(module, backbone), set(STAGES[:frozen])
    parameters = {n: p for n, p in named_tensors(module).items() if isinstance(p, nn.Parameter)}
    never = {id(backbone.get_parameter(key)) for key in backbone.never_trained}
    taking = {name for name, p in parameters.items() if p.requires_grad}
    held = {name: p for name, p in parameters.items() if stages[name] in frozen_stages}
    free = [name for name, p in parameters.items() if name not in held and id(p) not in never]
    yield from _listed("frozen and yet taking a gradient", [n for n in held if n in taking])
    yield from _listed(
        "to be trained, and requires_grad is False", [n for n in free if n not in taking]
    )
    names = {id(m): _short(name) for name, m in module.named_modules()}
    # A stage may hold loose parameters, in a list that is no module of the network.
    modules = [
        (stage in frozen_stages, m) for stage, m in stage_modules(backbone) if id(m) in names
    ]
    yield from _listed(
        "frozen and yet in train mode, where statistics move",
        [names[id(m)] for is_frozen, m in modules if is_frozen and m.training],
    )
    yield from _listed(
        "to be trained, and in eval mode, where statistics stay",
        [names[id(m)] for is_frozen, m in modules if not is_frozen and not m.training],
    )


def _listed(what: str, names: list[str], *, advice: str = "") -> Iterator[str]:
    if names:
        yield f"{what}: {listed(names)}{advice}"


def _group_faults(module: nn.Module, optimizer: Optimizer) -> Iterator[str]:
    """Yield which parameters are not in exactly one group, or can never move in theirs."""
    tensors, groups = named_tensors(module), optimizer.param_groups
    names = {id(t): n for n, t in tensors.items() if isinstance(t, nn.Parameter)}
    counts = Counter(id(p) for group in groups for p in group["params"])
    yield from _listed(
        "in no group of the optimiser", [name for key, name in names.items() if not counts[key]]
    )
    yield from _listed(
        "several times in the groups of the optimiser",
        [name for key, name in names.items() if counts[key] > 1],
    )
    if foreign := len(counts.keys() - names.keys()):
        yield f"the optimiser has {foreign} parameters that are not of the network"
    stopped = [p for group in groups if not _peak(group) for p in group["params"]]
    yield from _listed(
        "to be trained at a learning rate of 0",
        [names.get(id(p), "?") for p in stopped if p.requires_grad],
        advice="; freeze what is not to train with backbone.freeze",
    )


def phase_text(epoch: int, frozen: int, rows: list[StageRow]) -> str:
    """Return what trains from an epoch on, counted from 0, in one line."""
    tensors = sum(row.tensors for row in rows if row.stage in STAGES[:frozen])
    stages = f"{stages_text(frozen)} frozen" + (f" ({tensors} tensors)" if frozen else "")
    rates = ", ".join(f"{row.stage} {row.peak_lr:.3g}" for row in rows if row.trainable)
    count = sum(row.trainable for row in rows)
    return f"epoch {epoch + 1}: {stages}; {count} tensors train, peak lr {rates}"


def moved_by_gradient(
    trained: Mapping[str, Tensor],
    optimizer: Optimizer,
    rates: Iterable[float],
    names: Iterable[str],
) -> set[str] | None:
    """Return which of ``names`` have a gradient that moves them; None if one is not finite.

    A step of 1e-8 is lost in float32 next to a weight of 1, so such a parameter may stay unchanged.
    """
    gradients = [p.grad for p in trained.values() if p.grad is not None]
    if not bool(torch.stack([g.isfinite().all() for g in gradients]).all()):
        return None
    groups = {
        id(p): (group, rate)
        for group, rate in zip(optimizer.param_groups, rates, strict=True)
        for p in group["params"]
    }
    moves = {
        name: (p.sub(_direction(p.grad, group), alpha=rate) != p).any()
        for name in names
        if (p := trained[name]).grad is not None
        for group, rate in [groups[id(p)]]
    }
    found = torch.stack([*moves.values()]).tolist() if moves else []  # one wait for the device
    return {name for name, move in zip(moves, found, strict=True) if move}


def _direction(gradient: Tensor, group: dict[str, Any]) -> Tensor:
    """Return what the first step with a gradient goes along: AdamW's is of size 1."""
    return gradient / (gradient.abs() + group["eps"]) if "eps" in group else gradient
