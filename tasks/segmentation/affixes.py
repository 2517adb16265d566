"""What the names of masks have more than those of their images."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Final

from tasks.common.paths import listed

_KINDS: Final = (
    "masks?|seg|segmentations?|labels?|lbls?|gt|ground[-_ ]?truth|annotations?|annos?|"
    "gtfine_labelids|gtfine_labeltrainids|manual"
)
_PICTURES: Final = "images?|imgs?|pics?|photos?|leftimg8bit|training"


class Matcher:
    """Finds the image that a mask belongs to, by its name.

    A mask is called as its image, or has a word such as ``mask``, ``segmentation``, ``label`` or
    ``gt`` before or behind the name, in capital or small letters; the image may have one such as
    ``image`` there. Whole names come first.

    Args:
        pictures: Names of the images, without suffixes, with ``/`` for folders.
        ending: What each mask has behind the image's name, in place of those words; None for them.

    Attributes:
        found: How many masks had what beside the image's name; only of those that had something.
    """

    def __init__(self, pictures: Collection[str], ending: str | None = None) -> None:
        self.pictures = set(pictures)
        self.ending = ending
        self.found: Counter[str] = Counter()
        self._cores: dict[str, list[str]] = defaultdict(list)
        for name in pictures:
            for _, core in _stripped(name, _PICTURES):
                self._cores[core].append(name)

    def image_of(self, name: str, *, count: bool = False) -> str:
        """Return the name of the image that a mask belongs to, or the mask's own if there is none.

        Args:
            name: Of the mask, as the images'.
            count: Whether it is counted in ``found``.

        Raises:
            ValueError: If it may belong to several images.
        """
        if self.ending is None and name in self.pictures:
            return name
        for affix, core in self._candidates(name):
            image = self._image(name, core)
            if image is not None:
                self.found[affix] += count
                return image
        return name

    def _candidates(self, name: str) -> list[tuple[str, str]]:
        """Return what a mask may have beside a name, and that name."""
        if self.ending is None:
            return [*_stripped(name, _KINDS), ("another word", name)]
        core = name.removesuffix(self.ending)
        return [(f"{self.ending!r} at the end", core)] if core != name else []

    def _image(self, name: str, core: str) -> str | None:
        if core in self.pictures:
            return core
        images = self._cores.get(core, [])
        if len(images) > 1:
            raise ValueError(
                f"the mask {name!r} may belong to the images {listed(sorted(images))}; expected "
                "one. Rename them, so that masks are called as their images."
            )
        return images[0] if images else None

    def note(self) -> tuple[str, ...]:
        """Return a sentence on what masks are called, if they are not called as their images."""
        if not self.found:
            return ()
        shown = ", ".join(f"{count} have {affix}" for affix, count in self.found.most_common())
        return (f"masks are called as their images but for a word: {shown}",)


def _stripped(name: str, words: str) -> list[tuple[str, str]]:
    """Return each word that a name has before or behind the rest, and the name without it."""
    folder, slash, base = name.rpartition("/")
    found = []
    if end := re.fullmatch(rf"(.+?)([-_. ](?:{words})\d?)", base, re.IGNORECASE):
        found.append((f"{end[2]!r} at the end", folder + slash + end[1]))
    if start := re.fullmatch(rf"((?:{words})[-_. ])(.+)", base, re.IGNORECASE):
        found.append((f"{start[1]!r} at the start", folder + slash + start[2]))
    return found
