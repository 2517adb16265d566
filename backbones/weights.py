"""Weights by tag or file: whether they fit, and what they expect of an image."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from os import PathLike
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn
from torch.hub import get_dir
from torchvision.models import get_model_weights

from backbones.choose import choose
from backbones.convert import backbone_state, unwrap
from backbones.files import fetch, read_checkpoint
from backbones.interface import Backbone, Conventions

_TAGS: Final = {
    "imagenet": "IMAGENET1K_V1",
    "imagenet_v1": "IMAGENET1K_V1",
    "imagenet_v2": "IMAGENET1K_V2",
}
"""Our tags, and torchvision's names for the same weights."""

_RUNNING: Final = ("*.running_mean", "*.running_var", "*.num_batches_tracked")


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What a weight file gave a backbone.

    Attributes:
        origin: The file, and the tag it was asked for by.
        stages: Per stage, stem first: how many of its tensors were loaded, and how many it has.
        dropped: How many tensors of the file have no place in this backbone, by reason.
        adapted: What was changed on the way, such as the channels of the first convolution.
        conventions: What the weights expect of an image.
    """

    origin: str
    stages: tuple[tuple[int, int], ...]
    dropped: Mapping[str, int]
    adapted: str
    conventions: Conventions

    def __str__(self) -> str:
        """Return the table, a stage per line."""
        names = ["stem", *(f"c{k}" for k in range(2, len(self.stages) + 1))]
        lines = [f"weights from {self.origin}"]
        rows = zip(names, self.stages, strict=True)
        lines += [f"  {name:<5}{got:>4} of {all_:>4} tensors" for name, (got, all_) in rows]
        lines += [f"  dropped: {count} of {reason}" for reason, count in self.dropped.items()]
        return "\n".join([*lines, *([f"  adapted: {self.adapted}"] if self.adapted else [])])


def load_weights(
    backbone: Backbone,
    weights: str | PathLike[str],
    *,
    name: str,
    missing: Iterable[str] = (),
) -> LoadReport:
    """Load weights into a backbone, or refuse them.

    Every tensor of the backbone must be in the file, with its shape, unless its name matches a
    pattern in ``missing``. What the backbone cannot hold is dropped and counted: a classifier, the
    running statistics when its norm has none, stages that were not built. Anything else in the
    file is refused. The first convolution is adapted to the backbone's input channels (see
    `adapt_first_conv`), and the conventions with it.

    Args:
        backbone: Changed in place; its ``conventions`` become those of the weights.
        weights: ``"imagenet"`` or ``"imagenet_v1"``, ``"imagenet_v2"``, torchvision's
            own names for these, or a ``.pth``/``.pt``/``.ckpt``/``.safetensors`` file with
            torchvision's or Keel's names.
        name: The backbone's registered name, by which tags are looked up.
        missing: Patterns, such as ``"layer4.*"``, of tensors that the file may lack.

    Raises:
        ValueError: If the tag is unknown, the file is broken, or it does not fit.
        FileNotFoundError: If the file does not exist.
        ConnectionError: If the weights have to be downloaded and cannot be.
    """
    path, origin = _resolve(weights, name=name)
    checkpoint = read_checkpoint(path)
    conventions = _conventions(checkpoint)
    try:
        state = unwrap(checkpoint)
        given = backbone_state(state, first_conv=backbone.first_conv)
    except ValueError as error:
        raise ValueError(f"{path} does not hold weights of {name!r}: {error}") from error
    expected = backbone.state_dict()
    given, adapted, conventions = _fit_channels(given, expected, backbone.first_conv, conventions)
    rest = {"other parts of the model, such as a classifier": len(state) - len(given)}
    dropped = {
        reason: n for reason, n in (rest | _drop(given, expected, backbone.unbuilt)).items() if n
    }
    report = LoadReport(
        origin=origin,
        stages=_coverage(backbone, given),
        dropped=dropped,
        adapted=adapted,
        conventions=conventions,
    )
    _check(backbone, given, missing=tuple(missing), report=report, name=name)
    backbone.load_state_dict({**expected, **given})
    backbone.adopt(conventions)
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


def _resolve(weights: str | PathLike[str], *, name: str) -> tuple[Path, str]:
    """Return the file, and its description for the report."""
    text = os.fspath(weights)
    is_path = isinstance(weights, PathLike) or bool(Path(text).suffix) or os.sep in text
    if is_path or Path(text).is_file():
        path = Path(text).expanduser()
        return path, f"{text} (torchvision's preprocessing, unless the file says otherwise)"
    try:
        published = {entry.name: entry for entry in get_model_weights(name)}
    except ValueError:
        raise ValueError(
            f"no weights are published for {name!r}, got {text!r}; give a file, such as "
            "/path/to/file.pth."
        ) from None
    known = {tag: full for tag, full in _TAGS.items() if full in published}
    known |= {full: full for full in published}
    entry = published[choose(known, text, what=f"weights of {name}")]
    file_name = entry.url.rpartition("/")[2]
    sha256 = file_name.rpartition("-")[2].removesuffix(".pth")
    path = fetch(entry.url, sha256=sha256, path=Path(get_dir()) / "checkpoints" / file_name)
    return path, f"{entry.url} ({text})"


def _conventions(checkpoint: Mapping[str, Any]) -> Conventions:
    """Return the conventions in a Keel checkpoint, torchvision's for any other file."""
    card = checkpoint.get("keel")
    if not isinstance(card, Mapping):
        return Conventions()
    epsilon = card.get("epsilon", Conventions.epsilon)
    return Conventions(mean=tuple(card["mean"]), std=tuple(card["std"]), epsilon=epsilon)


def _fit_channels(
    given: dict[str, Tensor],
    expected: Mapping[str, Tensor],
    first_conv: str,
    conventions: Conventions,
) -> tuple[dict[str, Tensor], str, Conventions]:
    """Adapt the first convolution, and mean and std, to the channels of the backbone."""
    if given[first_conv].ndim != expected[first_conv].ndim:
        return given, "", conventions  # refused with every other shape that does not fit
    have, want = given[first_conv].shape[1], expected[first_conv].shape[1]
    if have == want:
        return given, "", conventions
    given = {**given, first_conv: adapt_first_conv(given[first_conv], want)}
    adapted = f"{first_conv} from {have} to {want} input channels"
    return given, adapted, conventions.for_channels(want)


def _drop(
    given: dict[str, Tensor], expected: Mapping[str, Tensor], unbuilt: frozenset[str]
) -> dict[str, int]:
    """Remove what this backbone cannot hold, and return the counts by reason."""
    stages = {key.partition(".")[0] for key in expected}
    has_statistics = any(fnmatch(key, "*.running_mean") for key in expected)
    dropped: Counter[str] = Counter()
    for key in [key for key in given if key not in expected]:
        if key.startswith("layer") and key.partition(".")[0] not in stages:
            reason = "stages that are not built"
        elif key in unbuilt:
            reason = "parts of the model that are not built"
        elif key.endswith("num_batches_tracked"):
            reason = "batch counters"
        elif not has_statistics and any(fnmatch(key, pattern) for pattern in _RUNNING):
            reason = "running statistics, which this norm does not have"
        else:
            continue
        dropped[reason] += 1
        del given[key]
    return dict(dropped)


def _coverage(backbone: Backbone, given: Mapping[str, Tensor]) -> tuple[tuple[int, int], ...]:
    """Return per stage how many of its tensors are given with their shape, and how many it has."""
    names = {id(tensor): key for key, tensor in backbone.state_dict(keep_vars=True).items()}
    counts = []
    for stage in backbone.stages():
        tensors = [t for m in stage for t in m.state_dict(keep_vars=True).values()]
        fits = [getattr(given.get(names[id(t)]), "shape", None) == t.shape for t in tensors]
        counts.append((sum(fits), len(fits)))
    return tuple(counts)


def _check(
    backbone: Backbone,
    given: Mapping[str, Tensor],
    *,
    missing: tuple[str, ...],
    report: LoadReport,
    name: str,
) -> None:
    """Raise unless the file covers the backbone."""
    expected = backbone.state_dict()
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
    raise ValueError(
        f"the weights do not fit {name!r}: {detail}. Nothing was loaded; "
        f"{_advice(backbone, extra)}\n{report}"
    )


def _advice(backbone: Backbone, extra: list[str]) -> str:
    """Return what to do about weights that do not fit."""
    placeholders = {name for name, m in backbone.named_modules() if isinstance(m, nn.Identity)}
    if any(key.rpartition(".")[0] in placeholders for key in extra):
        return (
            "norm='none' has no place for the scale and shift that the file's norms learned: "
            "build the backbone with norm='batch' or 'frozen_batch', or with weights='random'."
        )
    return "use weights of this architecture and norm."
