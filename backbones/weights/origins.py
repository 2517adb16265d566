"""Who wrote a weight file, recognised by its names and shapes: one row of `ORIGINS` per project."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from torch import Tensor

from backbones.weights.conventions import CONVENTIONS, ImageFormat
from backbones.weights.renames import (
    from_caffe2,
    from_children,
    from_detectron2,
    from_encoder,
    from_mmlab,
    from_preactivation,
    from_transformers,
    is_sequence,
)
from backbones.weights.unwrap import prefixes

State = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a weight file holds."""

    state: State  # its tensors, without the prefixes of wrappers
    others: Mapping[str, Any]  # other entries, and JSON objects about the file
    wrapper: str = ""  # the keys that led to the tensors, joined by dots


@dataclass(frozen=True)
class Origin:
    """A project that writes weight files."""

    name: str  # for the report
    matches: Callable[[Contents], bool]  # whether a file comes from this project
    rename: Callable[[State], dict[str, Tensor]] = dict  # renames its tensors to ours
    folded: bool = False  # whether statistics are folded into scale and shift
    images: ImageFormat | None = None  # what it expects of an image, if always the same
    stride_in_1x1: bool | None = None  # of its bottlenecks, if always the same
    hub: bool = False  # whether JSON files beside a file describe it


def recognise(file: Contents) -> Origin:
    """Return the first origin of `ORIGINS` that a file matches; the last one matches every file."""
    return next(origin for origin in ORIGINS if origin.matches(file))


def _begins(*names: str) -> Callable[[Contents], bool]:
    return lambda file: any(key.startswith(names) for key in file.state)


def _all(*tests: Callable[[Contents], bool]) -> Callable[[Contents], bool]:
    return lambda file: all(test(file) for test in tests)


def _before(file: Contents, name: str = "conv1.weight") -> list[str]:
    """Return the prefixes of the first convolution, one for every network in the file."""
    return prefixes(file.state, name)


def _is_detectron2(file: Contents) -> bool:
    return bool(_before(file, "stem.conv1.weight")) and any("res2.0." in key for key in file.state)


def _is_caffe2(file: Contents) -> bool:
    """Return whether the names are the first Detectron's, with batch norms."""
    return "conv1_w" in file.state and not any("gn_s" in key for key in file.state)


def _is_folded(file: Contents) -> bool:
    """Return whether norms have statistics of 0 and 1 and a learned scale, as Caffe2's have."""
    scales = [v for k, v in file.state.items() if k.endswith(("bn1.weight", "norm.weight"))]
    means = [v for k, v in file.state.items() if k.endswith("running_mean")]
    variances = [v for k, v in file.state.items() if k.endswith("running_var")]
    return (
        bool(means)
        and not any(v.any() for v in means)
        and all(((v - 1).abs() < 1e-4).all() for v in variances)
        and any((v != 1).any() for v in scales)
    )


def _is_grouped(file: Contents) -> bool:
    """Return whether there are grouped convolutions, as in a ResNeXt."""
    middle = [v for k, v in file.state.items() if k.endswith((".conv2.weight", "branch2b_w"))]
    return any(v.ndim == 4 and v.shape[1] < v.shape[0] for v in middle)


def _is_mmlab(file: Contents) -> bool:
    """Return whether the names or the ``meta`` entry are those of an OpenMMLab project."""
    heads = _begins("neck.", "head.", "bbox_head.", "rpn_head.", "roi_head.", "decode_head.")
    deep = [f"{prefix}layer1.0.conv1.weight" for prefix in _before(file, "stem.0.weight")]
    meta = file.others.get("meta")
    entries = meta if isinstance(meta, Mapping) else {}
    return (
        any(str(key).startswith(("mm", "cfg", "config")) for key in entries)
        or any(key in file.state for key in deep)
        or ("backbone.conv1.weight" in file.state and heads(file))
    )


def _is_radimagenet(file: Contents) -> bool:
    own = all(key.startswith("backbone.") for key in file.state)
    return own and not file.wrapper and "backbone.4.0.conv1.weight" in file.state


def _is_timm(file: Contents) -> bool:
    """Return whether the names are those of architectures that torchvision does not have."""
    deep = _before(file, "conv1.0.weight") == [""]
    return deep or (_is_plain(file) and any(".se." in k or ".convs." in k for k in file.state))


def _is_lightning(file: Contents) -> bool:
    return "pytorch-lightning_version" in file.others


def _is_bare(file: Contents) -> bool:
    return _before(file) == [""]


def _is_plain(file: Contents) -> bool:
    """Return whether the names have no prefix, and the file is not of a user's own training."""
    return _is_bare(file) and not _is_lightning(file)


def _is_dino(file: Contents) -> bool:
    """Return whether there are a teacher and a student with DINO's head; others have them too."""
    pair = [file.others[name] for name in ("student", "teacher") if name in file.others]
    names = [str(key) for part in pair if isinstance(part, Mapping) for key in part]
    has_head = "dino_loss" in file.others or any("head.mlp." in name for name in names)
    is_pair = file.wrapper in ("teacher", "student")
    return has_head and is_pair and _before(file) in ([""], ["backbone."])


def _is_segmenter(file: Contents) -> bool:
    """Return whether torchvision's head has the 21 classes that torchvision publishes it for."""
    last = file.state.get("classifier.4.weight")
    published = last is not None and last.ndim == 4 and len(last) == 21
    return published and _before(file) == ["backbone."] and not _is_lightning(file)


def _is_published(file: Contents) -> bool:
    """Return whether torchvision published the file: three channels and the classes of ImageNet.

    A user's own training has other classes, and may have another mean.
    """
    head = {key: tuple(v.shape) for key, v in file.state.items() if key.startswith("fc.")}
    classes = {"fc.weight": (1000, *head.get("fc.weight", ())[1:]), "fc.bias": (1000,)}
    channels = tuple(file.state["conv1.weight"].shape)[1:2] if _is_plain(file) else ()
    return head == classes and channels == (3,)


_ONLINE: Final = ("online_encoder.", "online_network.", "online_net.", "online.")
_MOMENTUM: Final = ("base_encoder.", "momentum_encoder.")
_AS_TORCHVISION: Final = partial(Origin, images=CONVENTIONS["imagenet"], stride_in_1x1=False)
_AS_CAFFE: Final = partial(Origin, images=CONVENTIONS["caffe"], stride_in_1x1=True)
_AS_RESNEXT: Final = partial(Origin, images=CONVENTIONS["imagenet_bgr"], stride_in_1x1=False)

ORIGINS: Final[Sequence[Origin]] = (
    Origin("Keel", lambda f: isinstance(f.others.get("keel"), Mapping)),
    _AS_RESNEXT(
        "Caffe2, ResNeXt (detectron2's FAIR)",
        _all(_is_caffe2, _is_grouped),
        from_caffe2,
        folded=True,
    ),
    _AS_CAFFE("Caffe2 (detectron2's MSRA)", _is_caffe2, from_caffe2, folded=True),
    Origin("Caffe2, group norm", lambda f: "conv1_w" in f.state, from_caffe2, stride_in_1x1=False),
    _AS_RESNEXT(
        "detectron2, ResNeXt of Caffe2",
        _all(_is_detectron2, _is_folded, _is_grouped),
        from_detectron2,
    ),
    _AS_CAFFE("detectron2, ResNet of Caffe2", _all(_is_detectron2, _is_folded), from_detectron2),
    _AS_TORCHVISION(
        "detectron2, converted from torchvision's names",
        lambda f: _is_detectron2(f) and _before(f, "stem.conv1.weight") == [""],
        from_detectron2,
    ),
    Origin("detectron2, a model", _is_detectron2, from_detectron2),
    Origin(
        "HuggingFace transformers",
        lambda f: bool(_before(f, "embedder.embedder.convolution.weight")),
        rename=from_transformers,
        hub=True,
    ),
    _AS_TORCHVISION(
        "MoCo v1/v2", _begins("encoder_q."), rename=partial(from_encoder, names=["encoder_q."])
    ),
    _AS_TORCHVISION("MoCo v3", _begins(*_MOMENTUM), rename=partial(from_encoder, names=_MOMENTUM)),
    _AS_TORCHVISION("DINO", _is_dino),
    Origin(
        "SwAV",
        _all(_is_bare, _begins("prototypes.")),
        images=CONVENTIONS["swav"],
        stride_in_1x1=False,
    ),
    Origin("BYOL's online network", _begins(*_ONLINE), rename=partial(from_encoder, names=_ONLINE)),
    Origin(
        "RadImageNet",
        _is_radimagenet,
        rename=from_children,
        images=CONVENTIONS["radimagenet"],
        stride_in_1x1=False,
    ),
    Origin("a Sequential of torchvision's modules", lambda f: is_sequence(f.state), from_children),
    Origin("mmdetection, mmpretrain or another OpenMMLab project", _is_mmlab, from_mmlab),
    _AS_TORCHVISION(
        "a detector of torchvision's",
        lambda f: _before(f) == ["backbone.body."] and not _is_lightning(f),
    ),
    _AS_TORCHVISION("a segmenter of torchvision's", _is_segmenter),
    Origin(
        "timm, pre-activation",
        lambda f: "stages.0.blocks.0.norm1.running_var" in f.state,
        rename=from_preactivation,
        hub=True,
    ),
    Origin("timm", _is_timm, hub=True),
    Origin(
        "Caffe's, ResNeXt, under torchvision's names",
        _all(_is_bare, _is_folded, _is_grouped),
        stride_in_1x1=False,
    ),
    Origin("Caffe's, under torchvision's names", _all(_is_bare, _is_folded), stride_in_1x1=True),
    _AS_TORCHVISION("torchvision", _is_published),
    Origin(
        "a ResNet of other classes or channels than torchvision's files",
        lambda f: _is_plain(f) and "fc.weight" in f.state,
        stride_in_1x1=False,
    ),
    # A backbone that was saved alone may have been built with another stride.
    Origin("a ResNet of torchvision's names without a classifier", _is_plain),
    Origin("a model trained with Lightning", _is_lightning),
    Origin("a model of a project that is not known", lambda _: True),
)
"""Every origin, special ones first."""
