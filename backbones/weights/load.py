"""Load weights into a backbone: whole, or not at all."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from os import PathLike
from typing import Final

from torch import Tensor

from backbones.errors import UserError
from backbones.interface import Backbone
from backbones.lineage import read_from
from backbones.options import Conventions
from backbones.weights.architecture import STATISTICS, Known, describe, stage_of
from backbones.weights.check import (
    Target,
    check_architecture,
    check_numbers,
    check_stride,
    check_tensors,
)
from backbones.weights.conventions import ImageFormat
from backbones.weights.identify import WeightFile, open_weights
from backbones.weights.renames import preactivation_norms, unit_statistics
from backbones.weights.unwrap import backbone_state, prefixes

_STAGES: Final = ("layer", "norms.")  # prefixes of residual stages, and of the norms of features


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What was loaded from a weight file.

    Attributes:
        source: The file, or the tag or address that named it.
        origin: Who wrote it, recognised by its names.
        images: The image format of the file, and who states it.
        converted: What was changed, such as the order of the colours.
        stages: Per stage, stem first: how many of its tensors were loaded, and how many it has.
        dropped: How many tensors of the file were left out, by reason.
        conventions: What the backbone expects of an image now.
    """

    source: str
    origin: str
    images: str
    converted: tuple[str, ...]
    stages: tuple[tuple[int, int], ...]
    dropped: Mapping[str, int]
    conventions: Conventions

    def __str__(self) -> str:
        """Return the table, a stage per line."""
        names = ["stem", *(f"c{k}" for k in range(2, len(self.stages) + 1))]
        lines = [f"weights from {self.source}", f"  origin: {self.origin}"]
        lines += [f"  images: {self.images}"]
        rows = zip(names, self.stages, strict=True)
        lines += [f"  {name:<5}{got:>4} of {all_:>4} tensors" for name, (got, all_) in rows if all_]
        lines += [f"  dropped: {count} of {reason}" for reason, count in self.dropped.items()]
        return "\n".join([*lines, *(f"  converted: {what}" for what in self.converted)])


def load_weights(
    backbone: Backbone,
    weights: str | PathLike[str],
    *,
    name: str,
    missing: Iterable[str] = (),
    conventions: str | Conventions | None = None,
    known: Known | None = None,
) -> LoadReport:
    """Load weights into a backbone, or refuse them.

    Every tensor of the backbone must be in the file, with its shape, unless its name matches a
    pattern in ``missing`` or in `Backbone.neutral`. The file may have more: a classifier, running
    statistics where the backbone's norm has none, stages that were not built; they are dropped and
    counted. A file with any other tensor is refused, and so is one whose image format is unknown.
    Weights for BGR images are converted to RGB. The first convolution and the conventions are
    adapted to the backbone's input channels (see `adapt_first_conv`).

    ========================= =====================================================================
    ``weights``
    ========================= =====================================================================
    ``imagenet``              torchvision's; also ``imagenet_v2`` and torchvision's own names
    ``timm:resnet50.a1_in1k`` timm's, by its name
    ``hf:owner/name@rev``     a repository of HuggingFace's hub
    ``URL#sha256=<hex>``      any address, with at least 8 digits of its hash
    a path                    ``.pth``, ``.pt``, ``.ckpt``, ``.bin``, ``.pkl``, ``.safetensors``
    ========================= =====================================================================

    Args:
        backbone: Changed in place; its ``conventions`` become those of the weights.
        weights: Where they are; see `backbones.weights.origins.ORIGINS` for who may have written
            them.
        name: The backbone's registered name, by which tags are looked up.
        missing: Patterns, such as ``"layer4.*"``, of tensors that the file may lack.
        conventions: What the file expects of an image, whatever the file states: a key of
            `backbones.weights.conventions.CONVENTIONS`, or mean and std of RGB images in [0, 1].
        known: Builders of other backbones, with which a file that does not fit is compared;
            `build_backbone` gives every registered one.

    Raises:
        ValueError: If the tag is unknown, or the file is broken, does not fit, or has an unknown
            image format.
        FileNotFoundError: If the file does not exist.
        ConnectionError: If the weights have to be downloaded and cannot be.
    """
    file = open_weights(weights, name=name)
    target = Target(name=name, known=known or {})
    check_architecture(file, target=target)
    images, by = file.images(conventions)
    given, report = _prepare(backbone, file, images, target=target)
    report = replace(report, images="not known" if images is None else f"{images} ({by})")
    missing = (*missing, *_fresh(backbone, given))
    check_tensors(backbone, given, missing=missing, table=str(report), target=target, file=file)
    check_stride(backbone, file, target=target)
    check_numbers(backbone, given, file=file)
    if images is None:
        raise file.unknown_images()
    backbone.load_file_state({**backbone.file_state(), **given})
    backbone.adopt(report.conventions)
    backbone.provenance = str(report)
    source = file.source
    backbone.lineage = read_from(file.statement.lineage, source.path, label=source.label)
    return report


def adapt_first_conv(weight: Tensor, in_channels: int) -> Tensor:
    """Return a first convolution's weight, (O, C, kH, kW), for another number of input channels.

    One channel: the sum over the channels, so that a gray image gives the same as its copy in
    every channel. More: the channels are repeated in order, and scaled to keep the size of the
    output. This is the rule of timm's ``adapt_input_conv`` and smp's ``patch_first_conv``.
    """
    channels = weight.shape[1]
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight[:, [k % channels for k in range(in_channels)]]
    return repeated * (channels / in_channels)


def _prepare(
    backbone: Backbone, file: WeightFile, images: ImageFormat | None, *, target: Target
) -> tuple[dict[str, Tensor], LoadReport]:
    """Return the file's tensors as this backbone takes them, and the report on them."""
    expected = backbone.file_state()
    first_conv = backbone.first_conv.removeprefix(backbone.key_prefix)
    given = _backbone_part(file, first_conv, target=target)
    others = len(file.as_named) - len(given)
    converted = _convert(given, file, images, first_conv=first_conv)
    new = expected.keys() - given.keys()
    norms = {k: v for k, v in preactivation_norms(given).items() if k in new}
    if norms:
        given |= norms
        converted.append(f"added {len(norms)} tensors: norms of features, from the stages after")
    for pattern, count in _fresh(backbone, given).items():
        converted.append(f"{count} tensors {pattern} are not in the file and keep initial values")
    have, want = (_in_channels(state[first_conv]) for state in (given, expected))
    if have not in (0, want) and given[first_conv].ndim == expected[first_conv].ndim:
        given[first_conv] = adapt_first_conv(given[first_conv], want)
        converted.append(f"{first_conv} from {have} to {want} input channels")
    conventions = Conventions() if images is None else images.conventions()
    dropped = {"other parts of the model, such as a classifier": others} if others else {}
    dropped |= _drop(given, expected, backbone.unbuilt)
    return given, LoadReport(
        source=file.source.label,
        origin=file.origin.name + (f", below {file.wrapper!r}" if file.wrapper else ""),
        images="",
        converted=tuple(converted),
        stages=_coverage(backbone, given),
        dropped=dropped,
        conventions=conventions.for_channels(have or want).for_channels(want),
    )


def _backbone_part(file: WeightFile, first_conv: str, *, target: Target) -> dict[str, Tensor]:
    """Return the file's tensors of the backbone, under our names or, for timm's, under its own."""
    is_ours = bool(prefixes(file.state, first_conv)) or not prefixes(file.as_named, first_conv)
    try:
        return backbone_state(file.state if is_ours else file.as_named, first_conv=first_conv)
    except ValueError as error:
        raise UserError(
            f"{file.source.path} does not hold weights of {target.name!r}: {error}"
            f"{describe(file.state, target.others_like(file))}"
        ) from error


def _convert(
    given: dict[str, Tensor], file: WeightFile, images: ImageFormat | None, *, first_conv: str
) -> list[str]:
    """Add statistics that the file has folded into its norms, and convert BGR to RGB, in place."""
    notes = []
    if file.origin.folded:
        more = unit_statistics(given)
        given |= more
        what = "running statistics of 0 and 1, folded in the file"
        notes.append(f"added {len(more)} tensors: {what}")
    if images is not None and images.bgr:
        given[first_conv] = images.in_rgb(given[first_conv])
        notes.append("BGR to RGB, in the first convolution")
    if images is not None and images.white != 1:
        notes.append(f"[0, {images.white:g}] to [0, 1], in mean and std")
    return notes


def _in_channels(weight: Tensor) -> int:
    return weight.shape[1] if weight.ndim > 1 else 0  # 0: refused with all other wrong shapes


def _fresh(backbone: Backbone, given: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the `Backbone.neutral` patterns that a file has no tensor of, and their counts."""
    keys = {p: [k for k in backbone.file_state() if fnmatch(k, p)] for p in backbone.neutral}
    return {p: len(names) for p, names in keys.items() if names and not given.keys() & set(names)}


def _drop(
    given: dict[str, Tensor], expected: Mapping[str, Tensor], unbuilt: frozenset[str]
) -> dict[str, int]:
    """Remove the tensors that the backbone may leave out, and return their counts by reason."""
    stages = {stage_of(key) for key in expected}
    has_statistics = any(fnmatch(key, "*.running_mean") for key in expected)
    dropped: Counter[str] = Counter()
    for key in [key for key in given if key not in expected]:
        if key.startswith(_STAGES) and stage_of(key) not in stages:
            reason = "stages that are not built"
        elif key in unbuilt:
            reason = "parts of the model that are not built"
        elif key.endswith("num_batches_tracked"):
            reason = "batch counters"
        elif not has_statistics and any(fnmatch(key, pattern) for pattern in STATISTICS):
            reason = "running statistics, which this norm does not have"
        else:
            continue
        dropped[reason] += 1
        del given[key]
    return dict(dropped)


def _coverage(backbone: Backbone, given: Mapping[str, Tensor]) -> tuple[tuple[int, int], ...]:
    """Return per stage how many of its tensors are given with their shape, and how many it has."""
    names = {id(tensor): key for key, tensor in backbone.file_state().items()}
    counts = []
    for stage in backbone.stages():
        tensors = [t for m in stage for t in m.state_dict(keep_vars=True).values()]
        fits = [getattr(given.get(names[id(t)]), "shape", None) == t.shape for t in tensors]
        counts.append((sum(fits), len(fits)))
    return tuple(counts)
