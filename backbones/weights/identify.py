"""Open a weight file: its origin, its tensors under our names, the images it expects."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from backbones.choose import choose
from backbones.errors import UserError
from backbones.fusion import FUSED, fused_error
from backbones.options import Conventions
from backbones.weights.card import check_card, read_notes
from backbones.weights.conventions import CONVENTIONS, ImageFormat
from backbones.weights.locate import HUB_NAMES, Source, locate
from backbones.weights.metadata import Statement, stated
from backbones.weights.origins import Contents, Origin, recognise
from backbones.weights.read import read_checkpoint
from backbones.weights.unwrap import bare_names, unwrap

_PART: Final = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.(\w+)")  # the hub's name of one of several


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """What is known of a weight file before it is compared with a backbone."""

    source: Source  # where it is
    origin: Origin  # who wrote it
    statement: Statement  # what it states about itself
    state: Mapping[str, Tensor]  # its tensors under our names, which may have a common prefix
    as_named: Mapping[str, Tensor]  # the same by its own names, which timm's keep
    wrapper: str  # the keys that led to them in the file, joined by dots

    def images(self, given: str | Conventions | None) -> tuple[ImageFormat | None, str]:
        """Return the image format of the weights, None if it is unknown, and who states it.

        The user's (``given``) comes before that of the file, its publisher and its origin.
        """
        if isinstance(given, Conventions):
            return ImageFormat(mean=given.mean, std=given.std, epsilon=given.epsilon), "as given"
        if given is not None:
            return choose(CONVENTIONS, given, what="conventions"), f"{given}, as given"
        if self.statement.images is not None:
            return self.statement.images, self.statement.by
        if self.source.images is not None:
            return self.source.images, self.source.publisher
        return self.origin.images, self.origin.name

    def unknown_images(self) -> UserError:
        """Return the error for a file whose image format is unknown."""
        by = self.statement.by
        also = f" {by} does not say either." if by else ""
        return UserError(
            f"{self.source.path} comes from {self.origin.name}, whose files are made for images of "
            f"different kinds, and this one does not say which.{also} A wrong mean, std or "
            "channel order costs accuracy and shows nowhere, so say what its training used: "
            f"conventions=<name> (backbone.conventions=<name> for a run), one of "
            f"{', '.join(CONVENTIONS)}. Where that cannot be given, save it with the weights: "
            "torch.save({'state_dict': state, 'keel': {'mean': [...], 'std': [...]}}, path), for "
            "RGB images in [0, 1]. Nothing was loaded."
        )


def open_weights(weights: str | PathLike[str], *, name: str) -> WeightFile:
    """Find, read and recognise the weight file for the backbone of that name."""
    source = locate(weights, name=name)
    _refuse_part(source.path)
    checkpoint = read_checkpoint(source.path)
    if checkpoint.get(FUSED):
        raise fused_error(str(source.path))
    others: dict[str, Any] = {**checkpoint, **read_notes(source.path)}
    if isinstance(card := others.get("keel"), Mapping):
        check_card(card, of=str(source.path))
    try:
        wrapper, tensors = unwrap(checkpoint)
    except ValueError as error:
        raise UserError(f"{source.path} does not hold weights of {name!r}: {error}") from error
    state = bare_names(tensors)
    origin = recognise(Contents(state=state, others=others, wrapper=wrapper))
    statement = stated(others, state, hub=origin.hub or source.path.name in HUB_NAMES)
    # Most of timm's models cannot be recognised by their names.
    if "timm" in (statement.project, source.publisher) and not origin.name.startswith("timm"):
        origin = replace(origin, name="timm")
    return WeightFile(
        source=source,
        origin=origin,
        statement=statement,
        state=origin.rename(state),
        as_named=state,
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
    raise UserError(
        f"{path} is part {int(part)} of {int(count)} of the weights; give their index {index}, "
        f"{where}."
    )
