"""Whether weights fit a backbone; if they do not, what they are and what can be done."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch

from torch import Tensor, nn

from backbones.interface import Backbone
from backbones.plugins import timms_name
from backbones.weights.identify import WeightFile
from backbones.weights.locate import in_timm
from backbones.weights.lookalike import Known, family_of, lookalikes, said, skeleton


@dataclass(frozen=True, kw_only=True)
class Kin:
    """The backbone that is asked for, among the others that there are.

    Attributes:
        name: Its registered name.
        known: Builders of the others, and of it.
    """

    name: str
    known: Known

    def look(self, file: WeightFile) -> str:
        """Return a sentence about which other backbone a file is of."""
        return said(family_of(file.state), self.likely(file))

    def likely(self, file: WeightFile) -> list[str]:
        """Return the names of the other backbones that a file may be of."""
        others = {name: build for name, build in self.known.items() if name != self.name}
        if family_of(file.state):
            return []
        return lookalikes(file.state, others, stride_in_1x1=self.stride(file))

    def stride(self, file: WeightFile) -> bool | None:
        """Return whether the file's bottlenecks stride in the 1x1; None if nobody knows."""
        if file.said.stride_in_1x1 is not None:
            return file.said.stride_in_1x1
        if file.said.architecture is not None and file.said.architecture in self.known:
            backbone = skeleton(self.known[file.said.architecture])
            return None if backbone is None else backbone.stride_in_1x1
        return file.origin.stride_in_1x1


def check_architecture(file: WeightFile, *, kin: Kin) -> None:
    """Raise if a file says that it is of another network, whose shapes may be the same.

    Args:
        file: The file.
        kin: The backbone among the others; ``timm/<name>`` is timm's ``<name>``.

    Raises:
        ValueError: If it does; it names the backbones that it is of, if there are any.
    """
    said = file.said.architecture
    if said is None or file.origin.name == "Keel" or timms_name(said) == timms_name(kin.name):
        return
    names = [name for name in (said, f"timm/{said}") if name in kin.known or in_timm(name)]
    use = (
        f"use backbone {' or '.join(map(repr, names))}, or" if names else "it is none of ours: use"
    )
    raise ValueError(
        f"{file.source.path} is of a {said}, says {file.said.by}, and was not loaded into "
        f"{kin.name!r}: networks of the same shapes can compute different things; {use} other "
        "weights."
    )


def check_tensors(
    backbone: Backbone,
    given: Mapping[str, Tensor],
    *,
    missing: tuple[str, ...],
    table: str,
    kin: Kin,
    file: WeightFile,
) -> None:
    """Raise unless the tensors cover the backbone.

    Args:
        backbone: What they are for.
        given: Tensors under the backbone's names.
        missing: Patterns of those that may be missing.
        table: What the report says of them.
        kin: The backbone among the others, with which a file that does not fit is compared.
        file: Where the tensors are from.

    Raises:
        ValueError: If one is missing, unexpected, or of another shape.
    """
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
    names = kin.likely(file)
    raise ValueError(
        f"the weights do not fit {kin.name!r}: {detail}.{said(family_of(file.state), names)} "
        f"Nothing was loaded; {_advice(backbone, extra, names=names, file=file)}\n{table}"
    )


def check_stride(backbone: Backbone, file: WeightFile, *, kin: Kin) -> None:
    """Raise if the file's bottlenecks stride elsewhere than the backbone's.

    The shapes are the same either way, and the features are not: detectron2's ``STRIDE_IN_1X1``,
    mmdetection's ``style``.

    Args:
        backbone: What the file is for.
        file: The file.
        kin: The backbone among the others.

    Raises:
        ValueError: If they differ; it names the backbones that fit.
    """
    if backbone.stride_in_1x1 is None:
        return
    stride = kin.stride(file)
    if stride in (None, backbone.stride_in_1x1):
        return
    places = {True: "the first 1x1 convolution, as Caffe's do", False: "the 3x3 convolution"}
    names = lookalikes(file.state, kin.known, stride_in_1x1=stride)
    use = " or ".join(names) or "one of those whose stride is there"
    raise ValueError(
        f"{file.source.path} ({file.origin.name}) is of a network whose bottlenecks stride in "
        f"{places[bool(stride)]}; those of {kin.name!r} stride in "
        f"{places[backbone.stride_in_1x1]}: same shapes, other features. Nothing was loaded; use "
        f"backbone {use}."
    )


def _advice(backbone: Backbone, extra: list[str], *, names: list[str], file: WeightFile) -> str:
    """Return what to do about weights that do not fit."""
    if len(names) == 1:
        return (
            f"use backbone {names[0]!r}, for a run backbone={names[0]} "
            f"backbone.weights={shlex.quote(file.source.label)}."
        )
    placeholders = {name for name, m in backbone.named_modules() if isinstance(m, nn.Identity)}
    if any(key.rpartition(".")[0] in placeholders for key in extra):
        return (
            "norm='none' has no place for the scale and shift that the file's norms learned: "
            "build the backbone with norm='batch' or 'frozen_batch', or with weights='random'."
        )
    return "use weights of this architecture and norm."


def check_numbers(backbone: Backbone, given: Mapping[str, Tensor], *, file: WeightFile) -> None:
    """Raise if a tensor has numbers that are NaN or infinite, or integers in the place of weights.

    Integers are what quantisation leaves: without its scales they would be loaded as large weights.

    Args:
        backbone: What they are for.
        given: Tensors under the backbone's names.
        file: Where the tensors are from.

    Raises:
        ValueError: With the names of the first.
    """
    floats = [k for k, v in backbone.file_state().items() if v.is_floating_point() and k in given]
    whole = [k for k in floats if not given[k].is_floating_point()]
    if whole:
        raise ValueError(
            f"{file.source.path} has {str(given[whole[0]].dtype).removeprefix('torch.')} in the "
            f"place of floating-point numbers in {len(whole)} tensors, such as "
            f"{', '.join(whole[:3])}, as a quantised model has; give the weights from before."
        )
    spoilt = [k for k in floats if not given[k].float().isfinite().all()]
    if spoilt:
        raise ValueError(
            f"{file.source.path} has numbers that are NaN or infinite in {len(spoilt)} tensors, "
            f"such as {', '.join(spoilt[:3])}; give a file of a run that did not diverge."
        )
