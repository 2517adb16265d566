"""What tells in a weight file who wrote it: its names, its shapes, and what lies beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from backbones.weights.unwrap import prefixes

State = Mapping[str, Tensor]

_CLASSES: Final = 1000
_VOC_CLASSES: Final = 21


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


def begins(*names: str) -> Callable[[Clues], bool]:
    """Return what tells whether a name begins so."""
    return lambda c: any(key.startswith(names) for key in c.state)


def stems(c: Clues, name: str = "conv1.weight") -> list[str]:
    """Return what stands before the first convolution, once for every network there may be."""
    return prefixes(c.state, name)


def is_detectron2(c: Clues) -> bool:
    """Whether the names are detectron2's."""
    return bool(stems(c, "stem.conv1.weight")) and any("res2.0." in key for key in c.state)


def is_caffe2(c: Clues) -> bool:
    """Whether the names are the first Detectron's, of batch norms."""
    return "conv1_w" in c.state and not any("gn_s" in key for key in c.state)


def is_folded(c: Clues) -> bool:
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


def is_grouped(c: Clues) -> bool:
    """Whether there are grouped convolutions, as in a ResNeXt."""
    middle = [v for k, v in c.state.items() if k.endswith((".conv2.weight", "branch2b_w"))]
    return any(v.ndim == 4 and v.shape[1] < v.shape[0] for v in middle)


def is_mmlab(c: Clues) -> bool:
    """Whether the names or the notes are mmdetection's, mmpretrain's or their kin's."""
    heads = ("neck.", "head.", "bbox_head.", "rpn_head.", "roi_head.", "decode_head.")
    deep = [f"{prefix}layer1.0.conv1.weight" for prefix in stems(c, "stem.0.weight")]
    meta = c.content.get("meta")
    told = meta if isinstance(meta, Mapping) else {}
    return (
        any(str(key).startswith(("mm", "cfg", "config")) for key in told)
        or any(key in c.state for key in deep)
        or ("backbone.conv1.weight" in c.state and begins(*heads)(c))
    )


def is_radimagenet(c: Clues) -> bool:
    """Whether the names are RadImageNet's."""
    own = all(key.startswith("backbone.") for key in c.state)
    return own and not c.wrapper and "backbone.4.0.conv1.weight" in c.state


def is_timm(c: Clues) -> bool:
    """Whether the names are those of what timm has and torchvision has not."""
    parts = (".se.", ".convs.")
    deep = stems(c, "conv1.0.weight") == [""]
    return deep or (is_plain(c) and any(p in key for key in c.state for p in parts))


def is_lightning(c: Clues) -> bool:
    """Whether Lightning wrote the file."""
    return "pytorch-lightning_version" in c.content


def is_plain(c: Clues) -> bool:
    """Whether the names are bare ones, and nobody says that he trained the network himself."""
    return stems(c) == [""] and not is_lightning(c)


def is_dino(c: Clues) -> bool:
    """Whether a teacher and its student have DINO's head: others have a teacher as well."""
    pair = [c.content[name] for name in ("student", "teacher") if name in c.content]
    names = [str(key) for part in pair if isinstance(part, Mapping) for key in part]
    is_dinos = "dino_loss" in c.content or any("head.mlp." in name for name in names)
    return is_dinos and c.wrapper in ("teacher", "student") and stems(c) in ([""], ["backbone."])


def is_segmenter(c: Clues) -> bool:
    """Whether a head of torchvision's has the 21 classes that torchvision publishes it for."""
    last = c.state.get("classifier.4.weight")
    published = last is not None and last.ndim == 4 and len(last) == _VOC_CLASSES
    return published and stems(c) == ["backbone."] and not is_lightning(c)


def is_published(c: Clues) -> bool:
    """Whether it is a file as torchvision publishes them: colours in, ImageNet's classes out.

    Whoever trains on images of his own has other classes, and may have another mean.
    """
    head = {key: tuple(v.shape) for key, v in c.state.items() if key.startswith("fc.")}
    weight = head.get("fc.weight", ())
    classes = {"fc.weight": (_CLASSES, *weight[1:]), "fc.bias": (_CLASSES,)}
    return is_plain(c) and head == classes and tuple(c.state["conv1.weight"].shape)[1:2] == (3,)
