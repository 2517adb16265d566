"""Where a weight file comes from, told by its names: one table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from torch import Tensor

from backbones.conventions import CONVENTIONS, ImageFormat
from backbones.convert import prefixes
from backbones.convert_names import (
    from_caffe2,
    from_children,
    from_detectron2,
    from_encoder,
    from_mmlab,
    from_preactivation,
    from_transformers,
    is_sequence,
    preactivation_norms,
    same_names,
    unit_statistics,
)

State = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Clues:
    """What there is to tell an origin by.

    Attributes:
        state: The tensors, without the wrappers' parts of their names.
        content: What else the checkpoint and its notes hold.
        wrapper: The keys that led to the tensors, joined by dots.
    """

    state: State
    content: Mapping[str, Any]
    wrapper: str = ""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A project that writes weight files.

    Attributes:
        name: For the report.
        matches: Whether a file is one of its.
        rename: Its names to ours.
        complete: Tensors that it lacks and that follow from those it has, of the renamed ones.
        added: What they are, for the report.
        images: What it does to an image; None where its files differ in that.
        stride_in_1x1: Where its bottlenecks stride; None where its files differ in that.
        hub: Whether a hub's JSON files beside it are about it.
    """

    name: str
    matches: Callable[[Clues], bool]
    rename: Callable[[State], dict[str, Tensor]] = same_names
    complete: Callable[[State], dict[str, Tensor]] | None = None
    added: str = ""
    images: ImageFormat | None = None
    stride_in_1x1: bool | None = None
    hub: bool = False


def recognise(clues: Clues) -> Origin:
    """Return the first origin of `ORIGINS` that a file matches; the last one matches every file."""
    return next(origin for origin in ORIGINS if origin.matches(clues))


def _begins(*names: str) -> Callable[[Clues], bool]:
    return lambda c: any(key.startswith(names) for key in c.state)


def _stem(c: Clues, name: str = "conv1.weight") -> list[str]:
    return prefixes(c.state, name)


def _detectron2(c: Clues) -> bool:
    return bool(_stem(c, "stem.conv1.weight")) and any("res2.0." in key for key in c.state)


def _caffe2(c: Clues) -> bool:
    return "conv1_w" in c.state and not any("gn_s" in key for key in c.state)


def _folded(c: Clues) -> bool:
    """Whether norms have statistics of 0 and 1, and a scale that was learned: Caffe2's work."""
    scales = [v for k, v in c.state.items() if k.endswith(("bn1.weight", "norm.weight"))]
    means = [v for k, v in c.state.items() if k.endswith("running_mean")]
    variances = [v for k, v in c.state.items() if k.endswith("running_var")]
    return (
        bool(means)
        and not any(v.any() for v in means)
        and all(((v - 1).abs() < 1e-4).all() for v in variances)
        and any((v != 1).any() for v in scales)
    )


def _grouped(c: Clues) -> bool:
    middle = [v for k, v in c.state.items() if k.endswith((".conv2.weight", "branch2b_w"))]
    return any(v.ndim == 4 and v.shape[1] < v.shape[0] for v in middle)


def _mmlab(c: Clues) -> bool:
    heads = ("neck.", "head.", "bbox_head.", "rpn_head.", "roi_head.", "decode_head.")
    deep = [f"{prefix}layer1.0.conv1.weight" for prefix in _stem(c, "stem.0.weight")]
    meta = c.content.get("meta")
    told = meta if isinstance(meta, Mapping) else {}
    return (
        any(str(key).startswith(("mm", "cfg", "config")) for key in told)
        or any(key in c.state for key in deep)
        or ("backbone.conv1.weight" in c.state and _begins(*heads)(c))
    )


def _radimagenet(c: Clues) -> bool:
    own = all(key.startswith("backbone.") for key in c.state)
    return own and not c.wrapper and "backbone.4.0.conv1.weight" in c.state


def _timm(c: Clues) -> bool:
    parts = (".se.", ".convs.")
    deep = _stem(c, "conv1.0.weight") == [""]
    return deep or (_plain(c) and any(p in key for key in c.state for p in parts))


def _lightning(c: Clues) -> bool:
    return "pytorch-lightning_version" in c.content


def _plain(c: Clues) -> bool:
    """Whether the names are bare ones, and nobody says that he trained the network himself."""
    return _stem(c) == [""] and not _lightning(c)


_IMAGENET: Final = CONVENTIONS["imagenet"]
_ONLINE: Final = ("online_encoder.", "online_network.", "online_net.", "online.")
_MOMENTUM: Final = ("base_encoder.", "momentum_encoder.")
_FOLDED: Final = "running statistics of 0 and 1, which the file has folded into scale and shift"

ORIGINS: Final[Sequence[Origin]] = (
    Origin(name="Keel", matches=lambda c: isinstance(c.content.get("keel"), Mapping)),
    Origin(
        name="Caffe2, ResNeXt (detectron2's FAIR)",
        matches=lambda c: _caffe2(c) and _grouped(c),
        rename=from_caffe2,
        complete=unit_statistics,
        added=_FOLDED,
        images=CONVENTIONS["imagenet_bgr"],
        stride_in_1x1=False,
    ),
    Origin(
        name="Caffe2 (detectron2's MSRA)",
        matches=_caffe2,
        rename=from_caffe2,
        complete=unit_statistics,
        added=_FOLDED,
        images=CONVENTIONS["caffe"],
        stride_in_1x1=True,
    ),
    Origin(
        name="Caffe2, group norm",
        matches=lambda c: "conv1_w" in c.state,
        rename=from_caffe2,
        stride_in_1x1=False,
    ),
    Origin(
        name="detectron2, ResNeXt of Caffe2",
        matches=lambda c: _detectron2(c) and _folded(c) and _grouped(c),
        rename=from_detectron2,
        images=CONVENTIONS["imagenet_bgr"],
        stride_in_1x1=False,
    ),
    Origin(
        name="detectron2, ResNet of Caffe2",
        matches=lambda c: _detectron2(c) and _folded(c),
        rename=from_detectron2,
        images=CONVENTIONS["caffe"],
        stride_in_1x1=True,
    ),
    Origin(
        name="detectron2, converted from torchvision's names",
        matches=lambda c: _detectron2(c) and _stem(c, "stem.conv1.weight") == [""],
        rename=from_detectron2,
        images=_IMAGENET,
        stride_in_1x1=False,
    ),
    Origin(name="detectron2, a model", matches=_detectron2, rename=from_detectron2),
    Origin(
        name="HuggingFace transformers",
        matches=lambda c: bool(_stem(c, "embedder.embedder.convolution.weight")),
        rename=from_transformers,
        hub=True,
    ),
    Origin(
        name="MoCo v1/v2",
        matches=_begins("encoder_q."),
        rename=partial(from_encoder, names=["encoder_q."]),
        images=_IMAGENET,
        stride_in_1x1=False,
    ),
    Origin(
        name="MoCo v3",
        matches=_begins(*_MOMENTUM),
        rename=partial(from_encoder, names=_MOMENTUM),
        images=_IMAGENET,
        stride_in_1x1=False,
    ),
    Origin(
        name="DINO",
        matches=lambda c: c.wrapper in ("teacher", "student") and _stem(c) in ([""], ["backbone."]),
        images=_IMAGENET,
        stride_in_1x1=False,
    ),
    Origin(
        name="SwAV",
        matches=lambda c: _stem(c) == [""] and _begins("prototypes.")(c),
        images=CONVENTIONS["swav"],
        stride_in_1x1=False,
    ),
    Origin(
        name="BYOL's online network",
        matches=_begins(*_ONLINE),
        rename=partial(from_encoder, names=_ONLINE),
    ),
    Origin(
        name="RadImageNet",
        matches=_radimagenet,
        rename=from_children,
        images=CONVENTIONS["radimagenet"],
        stride_in_1x1=False,
    ),
    Origin(
        name="a Sequential of torchvision's modules",
        matches=lambda c: is_sequence(c.state),
        rename=from_children,
    ),
    Origin(name="mmdetection, mmpretrain or their kin", matches=_mmlab, rename=from_mmlab),
    Origin(
        name="a detector of torchvision's",
        matches=lambda c: _stem(c) == ["backbone.body."] and not _lightning(c),
        images=_IMAGENET,
        stride_in_1x1=False,
    ),
    Origin(
        name="a segmenter of torchvision's",
        matches=lambda c: (
            _stem(c) == ["backbone."] and _begins("classifier.")(c) and not _lightning(c)
        ),
        images=_IMAGENET,
        stride_in_1x1=False,
    ),
    Origin(
        name="timm, pre-activation",
        matches=lambda c: "stages.0.blocks.0.norm1.running_var" in c.state,
        rename=from_preactivation,
        complete=preactivation_norms,
        added="norms of c1 to c4, which in the file begin the next stage",
        hub=True,
    ),
    Origin(name="timm", matches=_timm, hub=True),
    Origin(
        name="Caffe's, ResNeXt, under torchvision's names",
        matches=lambda c: _stem(c) == [""] and _folded(c) and _grouped(c),
        stride_in_1x1=False,
    ),
    Origin(
        name="Caffe's, under torchvision's names",
        matches=lambda c: _stem(c) == [""] and _folded(c),
        stride_in_1x1=True,
    ),
    Origin(
        name="torchvision",
        matches=lambda c: _plain(c) and "fc.weight" in c.state,
        images=_IMAGENET,
        stride_in_1x1=False,
    ),
    # Whoever saved a backbone alone may have built it with another stride.
    Origin(name="torchvision's names", matches=_plain, images=_IMAGENET),
    Origin(name="a model trained with Lightning", matches=_lightning),
    Origin(name="a model of a project that is not known", matches=lambda _: True),
)
"""Every origin, special ones first."""
