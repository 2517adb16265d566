"""Where a weight file comes from, told by its names: one table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from torch import Tensor

from backbones.weights.clues import (
    Clues,
    State,
    begins,
    is_caffe2,
    is_detectron2,
    is_dino,
    is_folded,
    is_grouped,
    is_lightning,
    is_mmlab,
    is_plain,
    is_published,
    is_radimagenet,
    is_segmenter,
    is_timm,
    stems,
)
from backbones.weights.conventions import CONVENTIONS, ImageFormat
from backbones.weights.names import (
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


_IMAGENET: Final = CONVENTIONS["imagenet"]
_ONLINE: Final = ("online_encoder.", "online_network.", "online_net.", "online.")
_MOMENTUM: Final = ("base_encoder.", "momentum_encoder.")
_FOLDED: Final = "running statistics of 0 and 1, which the file has folded into scale and shift"

ORIGINS: Final[Sequence[Origin]] = (
    Origin(name="Keel", matches=lambda c: isinstance(c.content.get("keel"), Mapping)),
    Origin(
        name="Caffe2, ResNeXt (detectron2's FAIR)",
        matches=lambda c: is_caffe2(c) and is_grouped(c),
        rename=from_caffe2,
        complete=unit_statistics,
        added=_FOLDED,
        images=CONVENTIONS["imagenet_bgr"],
        stride_in_1x1=False,
    ),
    Origin(
        name="Caffe2 (detectron2's MSRA)",
        matches=is_caffe2,
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
        matches=lambda c: is_detectron2(c) and is_folded(c) and is_grouped(c),
        rename=from_detectron2,
        images=CONVENTIONS["imagenet_bgr"],
        stride_in_1x1=False,
    ),
    Origin(
        name="detectron2, ResNet of Caffe2",
        matches=lambda c: is_detectron2(c) and is_folded(c),
        rename=from_detectron2,
        images=CONVENTIONS["caffe"],
        stride_in_1x1=True,
    ),
    Origin(
        name="detectron2, converted from torchvision's names",
        matches=lambda c: is_detectron2(c) and stems(c, "stem.conv1.weight") == [""],
        rename=from_detectron2,
        images=_IMAGENET,
        stride_in_1x1=False,
    ),
    Origin(name="detectron2, a model", matches=is_detectron2, rename=from_detectron2),
    Origin(
        name="HuggingFace transformers",
        matches=lambda c: bool(stems(c, "embedder.embedder.convolution.weight")),
        rename=from_transformers,
        hub=True,
    ),
    Origin(
        name="MoCo v1/v2",
        matches=begins("encoder_q."),
        rename=partial(from_encoder, names=["encoder_q."]),
        images=_IMAGENET,
        stride_in_1x1=False,
    ),
    Origin(
        name="MoCo v3",
        matches=begins(*_MOMENTUM),
        rename=partial(from_encoder, names=_MOMENTUM),
        images=_IMAGENET,
        stride_in_1x1=False,
    ),
    Origin(
        name="DINO",
        matches=is_dino,
        images=_IMAGENET,
        stride_in_1x1=False,
    ),
    Origin(
        name="SwAV",
        matches=lambda c: stems(c) == [""] and begins("prototypes.")(c),
        images=CONVENTIONS["swav"],
        stride_in_1x1=False,
    ),
    Origin(
        name="BYOL's online network",
        matches=begins(*_ONLINE),
        rename=partial(from_encoder, names=_ONLINE),
    ),
    Origin(
        name="RadImageNet",
        matches=is_radimagenet,
        rename=from_children,
        images=CONVENTIONS["radimagenet"],
        stride_in_1x1=False,
    ),
    Origin(
        name="a Sequential of torchvision's modules",
        matches=lambda c: is_sequence(c.state),
        rename=from_children,
    ),
    Origin(name="mmdetection, mmpretrain or their kin", matches=is_mmlab, rename=from_mmlab),
    Origin(
        name="a detector of torchvision's",
        matches=lambda c: stems(c) == ["backbone.body."] and not is_lightning(c),
        images=_IMAGENET,
        stride_in_1x1=False,
    ),
    Origin(
        name="a segmenter of torchvision's",
        matches=is_segmenter,
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
    Origin(name="timm", matches=is_timm, hub=True),
    Origin(
        name="Caffe's, ResNeXt, under torchvision's names",
        matches=lambda c: stems(c) == [""] and is_folded(c) and is_grouped(c),
        stride_in_1x1=False,
    ),
    Origin(
        name="Caffe's, under torchvision's names",
        matches=lambda c: stems(c) == [""] and is_folded(c),
        stride_in_1x1=True,
    ),
    Origin(name="torchvision", matches=is_published, images=_IMAGENET, stride_in_1x1=False),
    Origin(
        name="a ResNet of other classes or channels than torchvision's files",
        matches=lambda c: is_plain(c) and "fc.weight" in c.state,
        stride_in_1x1=False,
    ),
    # Whoever saved a backbone alone may have built it with another stride.
    Origin(name="a ResNet of torchvision's names without a classifier", matches=is_plain),
    Origin(name="a model trained with Lightning", matches=is_lightning),
    Origin(name="a model of a project that is not known", matches=lambda _: True),
)
"""Every origin, special ones first."""
