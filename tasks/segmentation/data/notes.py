"""What a user should know of how a data set was read."""

from collections.abc import Sequence

from tasks.segmentation.data.check import CaseFacts


def image_notes(looked: Sequence[CaseFacts]) -> list[str]:
    """Return what a user should know of how images were read, a sentence each.

    Args:
        looked: From `look`.
    """
    said = []
    gray = [facts.name for facts in looked if facts.stored_channels == 1]
    if gray:
        said.append(f"{len(gray)} of {len(looked)} images are gray, such as {gray[0]}: read as RGB")
        if colour := [facts.name for facts in looked if facts.coloured]:
            said[0] += f", as {len(colour)} are in colour, such as {colour[0]}"
    if plain := [facts.name for facts in looked if facts.stored_channels == 3]:
        said.append(
            f"{len(plain)} of {len(looked)} images are RGB with equal channels, such as "
            f"{plain[0]}: read as gray, as the others are"
        )
    return said
