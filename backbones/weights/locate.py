"""Find the file that ``weights`` names, by a tag, a path, an address or a hub; download it."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from torchvision.models import get_model_weights

from backbones.choose import choose
from backbones.errors import UserError
from backbones.names import WEIGHT_TAGS
from backbones.plugins import timms_name
from backbones.weights.conventions import CONVENTIONS, ImageFormat
from backbones.weights.download import fetch, fetch_published

HUB_NAMES: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""The hub's names of weight files and of their indexes; JSON files beside them describe them."""

_IN_FOLDER: Final = (*HUB_NAMES, "checkpoints/best.ckpt", "checkpoints/last.ckpt")
"""Where a folder of the hub, or of one of our runs, has its weights."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A weight file."""

    path: Path  # the file
    label: str  # the argument that named it, for the report
    publisher: str = ""  # who published it, if that is known
    images: ImageFormat | None = None  # the image format that the publisher states


def locate(weights: str | PathLike[str], *, name: str) -> Source:
    """Return the file that ``weights`` names for the backbone ``name``, downloaded if need be."""
    text = os.fspath(weights)
    if not isinstance(weights, PathLike):
        scheme = next((s for s in _SCHEMES if text.startswith(s)), "")
        if scheme:
            return _SCHEMES[scheme](text, name)
        if "://" in text:
            return _address(text)
        if _is_tag(text, name):
            return _tag(text, name)
    path = Path(text).expanduser()
    return Source(path=_in_folder(path) if path.is_dir() else path, label=text)


def published_images(weights: str, *, name: str) -> ImageFormat | None:
    """Return the image format that a publisher states; None if only the file states it."""
    if weights.startswith("timm:"):
        return _timms_images(weights.removeprefix("timm:"), weights, name)
    if not _is_tag(weights, name):
        return None
    if name.startswith("timm/"):
        whole = name.removeprefix("timm/")
        model = whole if weights == "imagenet" else f"{timms_name(name)}.{weights}"
        return _timms_images(model, weights, name)
    _entry(weights, name)
    return CONVENTIONS["imagenet"]


def _is_tag(text: str, name: str) -> bool:
    """Return whether a text names published weights; a folder of that name needs a slash."""
    if ":" in text or Path(text).suffix or os.sep in text:
        return False
    return text in _published(name) or not Path(text).exists()


def _timms_images(model: str, text: str, name: str) -> ImageFormat:
    config = _hub(text).timm_config(model, name=name)
    return ImageFormat(mean=tuple(config.mean), std=tuple(config.std))


def in_timm(name: str) -> bool:
    """Return whether the installed timm, if any, can build a backbone ``timm/<name>``."""
    try:
        from backbones.weights import hub
    except ModuleNotFoundError:
        return False
    return name.startswith("timm/") and hub.is_known(timms_name(name))


def _in_folder(folder: Path) -> Path:
    for name in _IN_FOLDER:
        if (path := folder / name).is_file():
            return path
    there = sorted(path.name for path in folder.iterdir())
    if {"data.pkl", "data"} <= set(there):
        raise UserError(
            f"{folder} is a torch file that was unpacked, as macOS does by itself; give the file "
            f"as it was downloaded, or pack it again: zip -0 -r {folder.name}.pth {folder.name}."
        )
    raise UserError(
        f"{folder} is a folder without {', '.join(_IN_FOLDER)}; give the weight file. It "
        f"holds {', '.join(map(repr, there[:8])) or 'nothing'}."
    )


def _published(name: str) -> dict[str, Any]:
    """Return torchvision's weights of a backbone by our tags and by torchvision's names."""
    try:
        entries = {entry.name: entry for entry in get_model_weights(name)}
    except ValueError:  # torchvision does not have the model
        return {}
    ours = {tag: entries[full] for tag, full in WEIGHT_TAGS.items() if full in entries}
    return ours | entries


def _entry(tag: str, name: str) -> Any:  # noqa: ANN401 (torchvision's)
    published = _published(name)
    if not published:
        raise UserError(
            f"no weights are published for {name!r}, got {tag!r}; give a file, such as "
            f"/path/to/file.pth, or timm:{timms_name(name)} where timm has it."
        )
    return choose(published, tag, what=f"weights of {name}")


def _tag(tag: str, name: str) -> Source:
    entry = _entry(tag, name)
    path, label = fetch_published(entry.url), f"{entry.url} ({tag})"
    return Source(path=path, label=label, publisher="torchvision", images=CONVENTIONS["imagenet"])


def _address(text: str) -> Source:
    url, _, fragment = text.partition("#")
    found = re.fullmatch(r"sha256=([0-9a-f]{8,64})", fragment.lower())
    if found is None:
        raise UserError(
            f"got the address {text!r}; expected its hash behind it, #sha256=<8 to 64 hexadecimal "
            "digits>, as the publisher states it or sha256sum prints it: without one, nobody "
            "would notice a damaged or exchanged file."
        )
    sha256 = found[1]
    name = Path(Path(unquote(urlsplit(url).path)).name or "weights")
    # Two addresses may end in the same name; the hash keeps their files apart.
    path = fetch(url, sha256=sha256, name=f"{name.stem}-{sha256[:8]}{name.suffix}")
    return Source(path=path, label=text)


def _timm(text: str, name: str) -> Source:
    hub = _hub(text)
    path, mean, std = hub.timm_file(text.removeprefix("timm:"), name=name)
    return Source(path=path, label=text, publisher="timm", images=ImageFormat(mean=mean, std=std))


def _repository(text: str, _: str) -> Source:
    repository, _, revision = text.removeprefix("hf:").partition("@")
    return Source(path=_hub(text).hub_file(repository, revision=revision or None), label=text)


_SCHEMES: Final[dict[str, Callable[[str, str], Source]]] = {"timm:": _timm, "hf:": _repository}


def _hub(text: str) -> ModuleType:
    try:
        from backbones.weights import hub
    except ModuleNotFoundError as error:
        raise UserError(
            f"weights={text!r} need the package {error.name!r}, which is not installed: pip "
            f"install {error.name}; or give a file of your own, weights=/path/to/file.pth."
        ) from error
    return hub
