"""A weight file opened: whose it is, its tensors under our names, the images it wants."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from backbones.choose import choose
from backbones.options import Conventions
from backbones.weights.clues import Clues
from backbones.weights.conventions import CONVENTIONS, ImageFormat
from backbones.weights.locate import HUB_NAMES, Source, locate
from backbones.weights.origins import Origin, recognise
from backbones.weights.read import read_checkpoint, read_notes
from backbones.weights.stated import Statement, stated
from backbones.weights.unwrap import bare_names, unwrap

_PART: Final = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.(\w+)")
"""How the hub names one of several files."""


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """What is known of a weight file before a backbone is held against it.

    Attributes:
        source: Where it is, and what it was asked for by.
        origin: Who wrote it.
        said: What it says of itself.
        state: Its tensors under our names; something may stand before them all.
        as_named: Its tensors under its own names, for backbones that have those: timm's.
        count: How many tensors the file has.
        wrapper: The keys that led to them in the file, joined by dots.
    """

    source: Source
    origin: Origin
    said: Statement
    state: Mapping[str, Tensor]
    as_named: Mapping[str, Tensor]
    count: int
    wrapper: str

    def images(self, told: str | Conventions | None) -> tuple[ImageFormat | None, str]:
        """Return what the weights want of an image, None where nobody says, and who says so.

        Args:
            told: A name in `CONVENTIONS`, or the conventions themselves; before all others.

        Raises:
            ValueError: If the name is unknown.
        """
        if isinstance(told, Conventions):
            given = ImageFormat(mean=told.mean, std=told.std, epsilon=told.epsilon)
            return given, "as told"
        if told is not None:
            return choose(CONVENTIONS, told, what="conventions"), f"{told}, as told"
        if self.said.images is not None:
            return self.said.images, self.said.by
        if self.source.images is not None:
            return self.source.images, self.source.publisher
        return self.origin.images, self.origin.name

    def unknown_images(self) -> ValueError:
        """Return the error for a file of which nobody says what it wants of an image."""
        looked = f" {self.said.by} does not say either." if self.said.by else ""
        return ValueError(
            f"{self.source.path} comes from {self.origin.name}, whose files are made for images of "
            f"different kinds, and this one does not say which.{looked} A wrong mean, std or "
            "channel order costs accuracy and shows nowhere, so say what its training used: "
            f"conventions=<name> (backbone.conventions=<name> for a run), one of "
            f"{', '.join(CONVENTIONS)}. Where that cannot be given, save it with the weights: "
            "torch.save({'state_dict': state, 'keel': {'mean': [...], 'std': [...]}}, path), for "
            "RGB images in [0, 1]. Nothing was loaded."
        )


def open_weights(weights: str | PathLike[str], *, name: str) -> WeightFile:
    """Find, read and recognise a weight file.

    Args:
        weights: See `backbones.weights.load.load_weights`.
        name: The backbone's registered name.

    Raises:
        ValueError: If it is broken, holds no tensors, or is one of several parts.
        FileNotFoundError: If it does not exist.
        ConnectionError: If it has to be downloaded and cannot be.
    """
    source = locate(weights, name=name)
    _refuse_part(source.path)
    checkpoint = read_checkpoint(source.path)
    content: dict[str, Any] = {**checkpoint, **read_notes(source.path)}
    try:
        wrapper, tensors = unwrap(checkpoint)
    except ValueError as error:
        raise ValueError(f"{source.path} does not hold weights of {name!r}: {error}") from error
    state = bare_names(tensors)
    origin = recognise(Clues(state=state, content=content, wrapper=wrapper))
    said = stated(content, state, hub=origin.hub or source.path.name in HUB_NAMES)
    # Names alone do not tell: most of timm's models have their own, or torchvision's.
    if "timm" in (said.project, source.publisher) and not origin.name.startswith("timm"):
        origin = replace(origin, name="timm")
    return WeightFile(
        source=source,
        origin=origin,
        said=said,
        state=origin.rename(state),
        as_named=state,
        count=len(tensors),
        wrapper=wrapper,
    )


def _refuse_part(path: Path) -> None:
    """Raise if a file is named as one part of the weights, which have an index."""
    found = _PART.fullmatch(path.name)
    if found is None or int(found[3]) < 2 or not path.is_file():
        return
    stem, part, count, suffix = found.groups()
    index = path.with_name(f"{stem}.{suffix}.index.json")
    where = "which is there" if index.is_file() else "which is not there: fetch all parts and it"
    raise ValueError(
        f"{path} is part {int(part)} of {int(count)} of the weights; give their index {index}, "
        f"{where}."
    )
