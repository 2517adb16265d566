"""Refuse weights that do not fit a backbone, and say which backbone they are for."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial

from torch import Tensor, nn

from backbones.errors import UserError
from backbones.interface import Backbone
from backbones.options import BackboneOptions
from backbones.plugins import timms_name
from backbones.weights.architecture import (
    Known,
    build_on_meta,
    describe,
    family_of,
    fitting_backbones,
)
from backbones.weights.identify import WeightFile
from backbones.weights.locate import in_timm


@dataclass(frozen=True, kw_only=True)
class Target:
    """The backbone that a file is loaded into: its registered name, and all builders by name."""

    name: str
    known: Known

    def others_like(self, file: WeightFile) -> list[str]:
        """Return the names of the other backbones that a file may be for."""
        others = {name: build for name, build in self.known.items() if name != self.name}
        if family_of(file.state):
            return []
        return fitting_backbones(file.state, others, stride_in_1x1=self.stride_of(file))

    def stride_of(self, file: WeightFile) -> bool | None:
        """Return whether the file's bottlenecks stride in the 1x1; None if that is not known."""
        stated = file.statement
        if stated.stride_in_1x1 is not None:
            return stated.stride_in_1x1
        if stated.architecture is not None and stated.architecture in self.known:
            backbone = build_on_meta(partial(self.known[stated.architecture], BackboneOptions()))
            return None if backbone is None else backbone.stride_in_1x1
        return file.origin.stride_in_1x1


def check_architecture(file: WeightFile, *, target: Target) -> None:
    """Raise if a file states another architecture, whose tensors may have the same shapes."""
    stated = file.statement.architecture
    if stated is None or file.origin.name == "Keel":
        return
    if timms_name(stated) == timms_name(target.name):
        return
    names = [name for name in (stated, f"timm/{stated}") if name in target.known or in_timm(name)]
    known = f"use backbone {' or '.join(map(repr, names))}, or"
    use = known if names else "Keel does not have it: use"
    raise UserError(
        f"{file.source.path} is of a {stated}, says {file.statement.by}, and was not loaded into "
        f"{target.name!r}: networks of the same shapes can compute different things; {use} other "
        "weights."
    )


def check_tensors(
    backbone: Backbone,
    given: Mapping[str, Tensor],
    *,
    missing: tuple[str, ...],
    table: str,
    target: Target,
    file: WeightFile,
) -> None:
    """Raise, with ``table``, unless ``given`` covers the backbone but for ``missing``."""
    expected = backbone.file_state()
    may_miss = (*missing, "*num_batches_tracked")  # files older than torch 0.4.1 have no counters
    lost = [k for k in expected if k not in given and not any(fnmatch(k, p) for p in may_miss)]
    extra = [k for k in given if k not in expected]
    shapes = [
        f"{k} {tuple(given[k].shape)} instead of {tuple(expected[k].shape)}"
        for k in given
        if k in expected and given[k].shape != expected[k].shape
    ]
    if not (lost or extra or shapes):
        return
    parts = {"missing": lost, "unexpected": extra, "of another shape": shapes}
    detail = "; ".join(
        f"{len(keys)} {what}, such as {', '.join(keys[:3])}" for what, keys in parts.items() if keys
    )
    names = target.others_like(file)
    raise UserError(
        f"the weights do not fit {target.name!r}: {detail}.{describe(file.state, names)} "
        f"Nothing was loaded; {_advice(backbone, extra, names=names, file=file)}\n{table}"
    )


def _advice(backbone: Backbone, extra: list[str], *, names: list[str], file: WeightFile) -> str:
    if len(names) == 1:
        return (
            f"use backbone {names[0]!r}, for a run backbone={names[0]} "
            f"backbone.weights={shlex.quote(file.source.label)}."
        )
    without_norm = {name for name, m in backbone.named_modules() if isinstance(m, nn.Identity)}
    if any(key.rpartition(".")[0] in without_norm for key in extra):
        return (
            "norm='none' cannot hold the learned scale and shift of the file's norms: build the "
            "backbone with norm='batch' or 'frozen_batch', or with weights='random'."
        )
    return "use weights of this architecture and norm."


def check_stride(backbone: Backbone, file: WeightFile, *, target: Target) -> None:
    """Raise if bottlenecks stride in another convolution: the same shapes, but other features.

    See detectron2's ``STRIDE_IN_1X1`` and mmdetection's ``style``.
    """
    stride = target.stride_of(file) if backbone.stride_in_1x1 is not None else None
    if stride in (None, backbone.stride_in_1x1):
        return
    places = {True: "the first 1x1 convolution, as Caffe's do", False: "the 3x3 convolution"}
    names = fitting_backbones(file.state, target.known, stride_in_1x1=stride)
    use = " or ".join(names) or "one with that stride"
    raise UserError(
        f"{file.source.path} ({file.origin.name}) is of a network whose bottlenecks stride in "
        f"{places[bool(stride)]}; those of {target.name!r} stride in {places[not stride]}: same "
        f"shapes, other features. Nothing was loaded; use backbone {use}."
    )


def check_numbers(backbone: Backbone, given: Mapping[str, Tensor], *, file: WeightFile) -> None:
    """Raise if a weight is NaN, infinite, or an integer, as in quantised files."""
    floats = [k for k, v in backbone.file_state().items() if v.is_floating_point() and k in given]
    whole = [k for k in floats if not given[k].is_floating_point()]
    if whole:
        raise UserError(
            f"{file.source.path} has {str(given[whole[0]].dtype).removeprefix('torch.')} in the "
            f"place of floating-point numbers in {len(whole)} tensors, such as "
            f"{', '.join(whole[:3])}, as a quantised model has; give the weights from before."
        )
    broken = [k for k in floats if not given[k].float().isfinite().all()]
    if broken:
        raise UserError(
            f"{file.source.path} has numbers that are NaN or infinite in {len(broken)} tensors, "
            f"such as {', '.join(broken[:3])}; give a file of a run that did not diverge."
        )
