"""From what ``weights`` says to a file on this machine: a tag, a path, an address, a hub."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Final
from urllib.parse import unquote, urlsplit

from torch.hub import get_dir
from torchvision.models import get_model_weights

from backbones.choose import choose
from backbones.plugins import timms_name
from backbones.weights.conventions import CONVENTIONS, ImageFormat
from backbones.weights.download import fetch

_TAGS: Final = {
    "imagenet": "IMAGENET1K_V1",
    "imagenet_v1": "IMAGENET1K_V1",
    "imagenet_v2": "IMAGENET1K_V2",
}
"""Our tags, and torchvision's names for the same weights."""


HUB_NAMES: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What the hub calls every weight file, those in several parts too: the notes beside it are about
it."""

_RUN: Final = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")
"""Where a run folder of ours has its weights."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A weight file, and what its publisher says of it.

    Attributes:
        path: The file.
        label: What it was asked for by, for the report.
        publisher: Who says what the images are, when that is known beforehand.
        images: What the publisher says.
    """

    path: Path
    label: str
    publisher: str = ""
    images: ImageFormat | None = None


def locate(weights: str | PathLike[str], *, name: str) -> Source:
    """Return the file that ``weights`` stands for, fetched if it has to be.

    Args:
        weights: See `backbones.weights.load.load_weights`.
        name: The backbone's registered name, by which tags are looked up.

    Raises:
        ValueError: If nothing is known by that name, a hash does not fit, or a package is missing.
        ConnectionError: If the file has to be downloaded and cannot be.
        OSError: If the disk is full.
    """
    text = os.fspath(weights)
    if not isinstance(weights, PathLike):
        scheme = next((s for s in _SCHEMES if text.startswith(s)), "")
        if scheme:
            return _SCHEMES[scheme](text, name)
        if "://" in text:
            return _address(text)
        if not (Path(text).suffix or os.sep in text or Path(text).is_file()):
            return _tag(text, name)
    path = Path(text).expanduser()
    return Source(path=_in_folder(path) if path.is_dir() else path, label=text)


def published_images(weights: str, *, name: str) -> ImageFormat | None:
    """Return what the publisher of weights says of their images, without fetching anything.

    Args:
        weights: See `backbones.weights.load.load_weights`; None is returned where only
            the file says it.
        name: The backbone's registered name, by which tags are looked up.

    Raises:
        ValueError: If nothing is published by that name, or a package is missing.
    """
    if weights.startswith("timm:"):
        return _timms_images(weights.removeprefix("timm:"), weights, name)
    if ":" in weights or Path(weights).suffix or os.sep in weights or Path(weights).exists():
        return None
    if name.startswith("timm/"):
        whole = name.removeprefix("timm/")
        model = whole if weights == "imagenet" else f"{timms_name(name)}.{weights}"
        return _timms_images(model, weights, name)
    _entry(weights, name)
    return CONVENTIONS["imagenet"]


def _timms_images(model: str, text: str, name: str) -> ImageFormat:
    config = _hub(text).timm_config(model, name=name)
    return ImageFormat(mean=tuple(config.mean), std=tuple(config.std))


def in_timm(name: str) -> bool:
    """Return whether ``timm/<name>`` can be built, by the timm that is installed, if one is."""
    try:
        from backbones.weights import hub
    except ModuleNotFoundError:
        return False
    return name.startswith("timm/") and bool(hub.is_known(timms_name(name)))


def _in_folder(folder: Path) -> Path:
    """Return the weight file of a folder: as the hub lays it out, or of a run of ours."""
    for name in (*HUB_NAMES, *_RUN):
        if (path := folder / name).is_file():
            return path
    there = sorted(path.name for path in folder.iterdir())
    if {"data.pkl", "data"} <= set(there):
        raise ValueError(
            f"{folder} is a torch file that was unpacked, as macOS does by itself; give the file "
            f"as it was downloaded, or pack it again: zip -0 -r {folder.name}.pth {folder.name}."
        )
    raise ValueError(
        f"{folder} is a folder without {', '.join((*HUB_NAMES, *_RUN))}; give the weight file. It "
        f"holds {', '.join(map(repr, there[:8])) or 'nothing'}."
    )


def _entry(tag: str, name: str):  # type: ignore[no-untyped-def] # noqa: ANN202 (torchvision's)
    """Return torchvision's entry of a tag."""
    try:
        published = {entry.name: entry for entry in get_model_weights(name)}
    except ValueError:
        raise ValueError(
            f"no weights are published for {name!r}, got {tag!r}; give a file, such as "
            f"/path/to/file.pth, or timm:{timms_name(name)} where timm has it."
        ) from None
    known = {ours: full for ours, full in _TAGS.items() if full in published}
    known |= {full: full for full in published}
    return published[choose(known, tag, what=f"weights of {name}")]


def _tag(tag: str, name: str) -> Source:
    entry = _entry(tag, name)
    file_name = entry.url.rpartition("/")[2]
    sha256 = file_name.rpartition("-")[2].removesuffix(".pth")
    path = fetch(entry.url, sha256=sha256, path=_folder() / file_name)
    images = CONVENTIONS["imagenet"]
    return Source(path=path, label=f"{entry.url} ({tag})", publisher="torchvision", images=images)


def _address(text: str) -> Source:
    url, _, fragment = text.partition("#")
    found = re.fullmatch(r"sha256=([0-9a-f]{8,64})", fragment.lower())
    if found is None:
        raise ValueError(
            f"got the address {text!r}; expected its hash behind it, #sha256=<8 to 64 hexadecimal "
            "digits>, as the publisher states it or sha256sum prints it: without one, nobody "
            "would notice a damaged or exchanged file."
        )
    sha256 = found[1]
    name = Path(Path(unquote(urlsplit(url).path)).name or "weights")
    # Two addresses may end in the same name; the hash keeps their files apart.
    path = _folder() / f"{name.stem}-{sha256[:8]}{name.suffix}"
    return Source(path=fetch(url, sha256=sha256, path=path), label=text)


def _timm(text: str, name: str) -> Source:
    hub = _hub(text)
    path, mean, std = hub.timm_file(text.removeprefix("timm:"), name=name)
    images = ImageFormat(mean=mean, std=std)
    return Source(path=path, label=text, publisher="timm", images=images)


def _repository(text: str, _: str) -> Source:
    repository, _, revision = text.removeprefix("hf:").partition("@")
    return Source(path=_hub(text).hub_file(repository, revision=revision or None), label=text)


_SCHEMES: Final[dict[str, Callable[[str, str], Source]]] = {"timm:": _timm, "hf:": _repository}


def _hub(text: str) -> ModuleType:
    try:
        from backbones.weights import hub
    except ModuleNotFoundError as error:
        raise ValueError(
            f"weights={text!r} need the package {error.name!r}, which is not installed: pip "
            f"install {error.name}; or give a file of your own, weights=/path/to/file.pth."
        ) from error
    return hub


def _folder() -> Path:
    return Path(get_dir()) / "checkpoints"
