"""Weights by tag, file or address: whether they fit, and what they expect of an image."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from os import PathLike
from typing import Final

from torch import Tensor

from backbones.interface import Backbone
from backbones.options import Conventions
from backbones.weights.check import (
    Kin,
    check_architecture,
    check_numbers,
    check_stride,
    check_tensors,
)
from backbones.weights.conventions import ImageFormat
from backbones.weights.identify import WeightFile, open_weights
from backbones.weights.lookalike import STATISTICS, Known, stage_of
from backbones.weights.names import preactivation_norms
from backbones.weights.unwrap import backbone_state, prefixes

_STAGES: Final = ("layer", "norms.")
"""How the names of residual stages, and of what belongs to one feature, begin."""


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What a weight file gave a backbone.

    Attributes:
        source: The file, or what it was asked for by.
        origin: Who wrote it, as its names tell.
        images: What the file expects of an image, in its own terms, and who says so.
        converted: What was changed on the way, such as the order of the colours.
        stages: Per stage, stem first: how many of its tensors were loaded, and how many it has.
        dropped: How many tensors of the file have no place in this backbone, by reason.
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
    pattern in ``missing`` or in `Backbone.neutral`. What the backbone cannot hold is dropped and
    counted: a classifier, the running statistics when its norm has none, stages that were not
    built. Anything else in the file is refused, as is a file of which nobody knows what images it
    was trained on. A file for BGR images is changed to one for RGB. The first convolution is
    adapted to the backbone's input channels (see `adapt_first_conv`), and the conventions with it.

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
        weights: Where they are. Who wrote them is told by their names; see
            `backbones.weights.origins.ORIGINS`.
        name: The backbone's registered name, by which tags are looked up.
        missing: Patterns, such as ``"layer4.*"``, of tensors that the file may lack.
        conventions: What the file expects of an image, before all that it says itself: a key of
            `backbones.weights.conventions.CONVENTIONS`, or mean and std of RGB images in [0, 1].
        known: Other backbones, with which a file that does not fit is compared; `build_backbone`
            gives every registered one.

    Raises:
        ValueError: If the tag is unknown, the file is broken, it does not fit, or nobody knows its
            conventions.
        FileNotFoundError: If the file does not exist.
        ConnectionError: If the weights have to be downloaded and cannot be.
    """
    file = open_weights(weights, name=name)
    kin = Kin(name=name, known=known or {})
    check_architecture(file, kin=kin)
    images, by = file.images(conventions)
    given, report = _prepare(backbone, file, images, kin=kin)
    report = replace(report, images="not known" if images is None else f"{images} ({by})")
    missing = (*missing, *_fresh(backbone, given))
    check_tensors(backbone, given, missing=missing, table=str(report), kin=kin, file=file)
    check_stride(backbone, file, kin=kin)
    check_numbers(backbone, given, file=file)
    if images is None:
        raise file.unknown_images()
    backbone.load_file_state({**backbone.file_state(), **given})
    backbone.adopt(report.conventions)
    backbone.provenance = str(report)
    return report


def adapt_first_conv(weight: Tensor, in_channels: int) -> Tensor:
    """Return a first convolution's weight for another number of input channels.

    One channel: the sum over the channels, so that a gray image gives what its copy in every
    channel gave. More: the channels cycled, and rescaled to keep the size of the output. This is
    the rule of timm's ``adapt_input_conv`` and smp's ``patch_first_conv``.

    Args:
        weight: (O, C, kH, kW).
        in_channels: The new C.
    """
    channels = weight.shape[1]
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    cycled = weight[:, [k % channels for k in range(in_channels)]]
    return cycled * (channels / in_channels)


def _prepare(
    backbone: Backbone, file: WeightFile, images: ImageFormat | None, *, kin: Kin
) -> tuple[dict[str, Tensor], LoadReport]:
    """Return the file's tensors as this backbone takes them, and the report on them."""
    expected = backbone.file_state()
    first_conv = backbone.first_conv.removeprefix(backbone.key_prefix)
    is_ours = bool(prefixes(file.state, first_conv)) or not prefixes(file.as_named, first_conv)
    try:
        given = backbone_state(file.state if is_ours else file.as_named, first_conv=first_conv)
    except ValueError as error:
        raise ValueError(
            f"{file.source.path} does not hold weights of {kin.name!r}: {error}{kin.look(file)}"
        ) from error
    rest = {"other parts of the model, such as a classifier": file.count - len(given)}
    given, converted = _converted(given, file, images, first_conv=first_conv)
    norms = preactivation_norms(given)
    norms = {k: v for k, v in norms.items() if k in expected and k not in given}
    if norms:  # of features that the network of the file did not hand out
        given = {**given, **norms}
        converted.append(f"added {len(norms)} tensors: norms of features, from the stages after")
    for pattern, count in _fresh(backbone, given).items():
        converted.append(f"{count} tensors {pattern} are not in the file and begin afresh")
    have = given[first_conv].shape[1] if given[first_conv].ndim > 1 else 0
    given, adapted = _fit_channels(given, expected, first_conv)
    dropped = {
        reason: n for reason, n in (rest | _drop(given, expected, backbone.unbuilt)).items() if n
    }
    return given, LoadReport(
        source=file.source.label,
        origin=file.origin.name + (f", below {file.wrapper!r}" if file.wrapper else ""),
        images="",
        converted=(*converted, *adapted),
        stages=_coverage(backbone, given),
        dropped={reason: count for reason, count in dropped.items() if count},
        conventions=_conventions(images, have=have, want=expected[first_conv].shape[1]),
    )


def _converted(
    given: dict[str, Tensor], file: WeightFile, images: ImageFormat | None, *, first_conv: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Add what follows from the file's tensors, and turn blue first into red first."""
    notes = []
    if file.origin.complete is not None and (more := file.origin.complete(given)):
        given = {**given, **more}
        notes.append(f"added {len(more)} tensors: {file.origin.added}")
    if images is not None and images.bgr:
        given = {**given, first_conv: images.in_rgb(given[first_conv])}
        notes.append("BGR, turned to RGB in the first convolution")
    if images is not None and images.white != 1:
        notes.append(f"[0, {images.white:g}], turned to [0, 1] in mean and std")
    return given, notes


def _fresh(backbone: Backbone, given: Mapping[str, Tensor]) -> dict[str, int]:
    """Return which of the `Backbone.neutral` patterns a file has nothing of, and their tensors."""
    keys = {p: [k for k in backbone.file_state() if fnmatch(k, p)] for p in backbone.neutral}
    return {p: len(names) for p, names in keys.items() if names and not given.keys() & set(names)}


def _conventions(images: ImageFormat | None, *, have: int, want: int) -> Conventions:
    """Return the conventions for ``want`` channels, of a file that has ``have``."""
    conventions = Conventions() if images is None else images.conventions()
    for count in (have, want):
        if count and count != len(conventions.mean):
            conventions = conventions.for_channels(count)
    return conventions


def _fit_channels(
    given: dict[str, Tensor], expected: Mapping[str, Tensor], first_conv: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Adapt the first convolution to the channels of the backbone."""
    if given[first_conv].ndim != expected[first_conv].ndim:
        return given, []  # refused with every other shape that does not fit
    have, want = given[first_conv].shape[1], expected[first_conv].shape[1]
    if have == want:
        return given, []
    adapted = f"{first_conv} from {have} to {want} input channels"
    return {**given, first_conv: adapt_first_conv(given[first_conv], want)}, [adapted]


def _drop(
    given: dict[str, Tensor], expected: Mapping[str, Tensor], unbuilt: frozenset[str]
) -> dict[str, int]:
    """Remove what this backbone cannot hold, and return the counts by reason."""
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
