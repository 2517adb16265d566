"""What is known of each case from its files, and what a user should know of how they were read."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.segmentation.data.masks.palettes import UsedPalette
from tasks.segmentation.data.masks.read import MaskFile


@dataclass(frozen=True, kw_only=True)
class MaskFacts:
    """What was seen of the masks of a case, with the palettes of each file.

    ``axis`` is None for a flat image; ``rounded`` counts pixels that were nearly whole numbers;
    ``min_is_white`` says whether the smallest number of a file means white.
    """

    name: str
    axis: int | None
    rounded: int = 0
    palettes: tuple[tuple[UsedPalette, ...], ...] = ()
    min_is_white: bool = False


@dataclass(frozen=True, kw_only=True)
class CaseFacts(MaskFacts):
    """What was seen of a case of the shape (D, H, W) and, as `MaskFacts` says, of its masks."""

    shape: tuple[int, int, int]
    channels: int
    dtype: str
    spacing: tuple[float, float, float]
    unit: str
    flat: bool
    class_pixels: tuple[int, ...]
    blank: bool  # whether the image is of one value, as empty slices are
    digest: str  # equal for equal images
    mask_digest: str
    turned: int = 0  # how many of image and mask have an EXIF orientation other than upright
    coloured: bool | None = None  # of a gray or RGB image; None if it is of another kind
    stored_channels: int | None = None  # of the file, if others than ``channels``, which are used


def mask_facts(name: str, files: Sequence[MaskFile]) -> MaskFacts:
    """Return what was seen of the masks of the case ``name``."""
    return MaskFacts(
        name=name,
        axis=files[0].geometry.axis,
        rounded=sum(file.rounded for file in files),
        palettes=tuple(file.palettes for file in files),
        min_is_white=any(file.min_is_white for file in files),
    )


def image_notes(cases: Sequence[CaseFacts]) -> list[str]:
    """Return what a user should know of how images were read, a sentence each."""
    notes = []
    if gray := [facts.name for facts in cases if facts.stored_channels == 1]:
        notes.append(f"{len(gray)} of {len(cases)} images are gray, such as {gray[0]}: read as RGB")
        if colour := [facts.name for facts in cases if facts.coloured]:
            notes[0] += f", as {len(colour)} are in colour, such as {colour[0]}"
    if plain := [facts.name for facts in cases if facts.stored_channels == 3]:
        notes.append(
            f"{len(plain)} of {len(cases)} images are RGB with equal channels, such as "
            f"{plain[0]}: read as gray, as the others are"
        )
    return notes


def mask_notes(cases: Sequence[MaskFacts]) -> list[str]:
    """Return what a user should know of how masks were read, a sentence each."""
    notes = []
    if rounded := [facts for facts in cases if facts.rounded]:
        pixels = sum(facts.rounded for facts in rounded)
        notes.append(
            f"{pixels} mask pixels of {len(rounded)} cases, such as {rounded[0].name}, were within "
            "0.01 of whole numbers, and rounded"
        )
    flat = [facts for facts in cases if facts.axis is None]
    drawn = [facts for facts in flat if any(facts.palettes)]
    plain = [facts for facts in flat if not all(facts.palettes)]
    if drawn and plain:
        notes.append(
            f"{len(drawn)} masks have a palette, such as that of {drawn[0].name}, and "
            f"{len(plain)} have none, such as that of {plain[0].name}: the numbers are read in "
            "both, not the colours"
        )
    white = [facts for facts in flat if facts.min_is_white]
    black = [facts for facts in flat if not facts.min_is_white]
    if white and black:
        notes.append(
            f"{len(white)} masks are MinIsWhite, such as that of {white[0].name}, and {len(black)} "
            f"are not, such as that of {black[0].name}: the stored numbers are read in both"
        )
    return notes
