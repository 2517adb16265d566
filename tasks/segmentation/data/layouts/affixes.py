"""What the names of masks have more than those of their images."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from os.path import commonprefix
from typing import Final, NamedTuple

from backbones.errors import UserError
from tasks.common.files.paths import listed
from tasks.common.report.advice import advice
from tasks.segmentation.data.formats.files import stem_of

_MASK_WORDS: Final = (
    "masks?|msk|seg|segm|segmentations?|labels?|lbls?|gts?|ground[-_ ]?truth|annotations?|annos?|"
    "annot|truth|target|manual|manual[-_ ]?masks?|gtfine_labelids|gtfine_labeltrainids|pred|"
    "predictions?"
)
_IMAGE_WORDS: Final = "images?|imgs?|im|pics?|photos?|leftimg8bit|training|test|rgb|raw|input"


class Affix(NamedTuple):
    """The text before and after the rest of a name, within its folder."""

    start: str = ""
    end: str = ""

    def core(self, name: str) -> str | None:
        """Return a name without the affix; None if it does not have it."""
        folder, slash, base = name.rpartition("/")
        fits = len(base) >= len(self.start) + len(self.end)
        if not (fits and base.startswith(self.start) and base.endswith(self.end)):
            return None
        return folder + slash + base[len(self.start) : len(base) - len(self.end)]

    def __str__(self) -> str:
        return f"'{self.start}*{self.end}'"


class Matcher:
    """Finds the image that each mask belongs to, by its name.

    A mask has the name of its image, or a word such as ``mask``, ``segmentation``, ``label`` or
    ``gt`` before or after it, in any case; the image may have one such as ``image`` there. Whole
    names come first. If that does not find an image for every mask, the text that all masks share,
    and all images, is removed, if that leaves the same names. Names are without suffixes, with
    ``/`` for folders; ``ending`` is what each mask has after the image's name, in place of all
    that. ``found`` counts masks by form, equal names left out.
    """

    def __init__(self, images: Collection[str], ending: str | None = None) -> None:
        self.images = set(images)
        self.ending = ending
        self.found: Counter[tuple[Affix, Affix]] = Counter()
        self._cores: dict[str, dict[str, Affix]] = defaultdict(dict)
        for name in images:
            for affix in _worded(name, f"{_IMAGE_WORDS}|{_MASK_WORDS}"):
                self._cores[str(affix.core(name))][name] = affix

    def match(self, masks: Sequence[str], *, count: bool = True) -> dict[str, str]:
        """Return the image of each mask that has one; ``count`` adds them to ``found``."""
        pairs = {name: self._by_words(name) for name in masks}
        complete = {pair[0] for pair in pairs.values() if pair} == self.images
        if self.ending is None and not (complete and all(pairs.values())):
            pairs = _by_common_text(masks, self.images) or pairs
        found = {name: pair for name, pair in pairs.items() if pair}
        if count:
            forms = [(mask, image) for _, mask, image in found.values()]
            self.found.update(form for form in forms if any(map(any, form)))
        return {name: pair[0] for name, pair in found.items()}

    def note(self) -> tuple[str, ...]:
        """Return a sentence on what masks are called, if they are not called as their images."""
        found = self.found.most_common()
        pairs = [f"{n} masks {mask} belong to images {image}" for (mask, image), n in found]
        return (f"names differ: {', '.join(pairs)}",) if pairs else ()

    def _by_words(self, name: str) -> tuple[str, Affix, Affix] | None:
        """Return the image of a mask, the mask's affix, and the image's."""
        if self.ending is not None:
            affixes = [Affix(end=self.ending)]
        elif name in self.images:
            return name, Affix(), Affix()
        else:
            affixes = [*_worded(name, _MASK_WORDS), Affix()]
        for affix in affixes:
            core = affix.core(name)
            if core is not None and core in self.images:
                return core, affix, Affix()
            found = self._cores.get(core or "", {})
            if len(found) > 1:
                raise UserError(
                    f"the mask {name!r} may belong to the images {listed(sorted(found))}; "
                    "expected one. Rename them, so that masks are called as their images."
                )
            for image, beside in found.items():
                return image, affix, beside
        return None


def several(first: str, other: str, *, of: str, where: str) -> UserError:
    """Return the error for two files in a folder that are both the mask of an image."""
    base = of.rpartition("/")[2]
    ends = [stem_of(name).partition(base)[2] for name in (first, other)]
    ending = next((end for end in ends if end), "_mask")
    told_by = advice(f"data.mask_suffix={ending}", otherwise=f"--mask-suffix {ending}")
    return UserError(
        f"{where}: {first!r} and {other!r} are both the mask of {of!r}; expected one. Remove the "
        f"other, or say how the names of masks end: {told_by}."
    )


def _worded(name: str, words: str) -> Iterator[Affix]:
    """Yield each word that a name has before or behind the rest."""
    base = name.rpartition("/")[2]
    if end := re.fullmatch(rf".+?([-_. ](?:{words})\d?)", base, re.IGNORECASE):
        yield Affix(end=end[1])
    if start := re.fullmatch(rf"((?:{words})[-_. ]).+", base, re.IGNORECASE):
        yield Affix(start=start[1])


def _by_common_text(
    masks: Sequence[str], images: Collection[str]
) -> dict[str, tuple[str, Affix, Affix] | None] | None:
    """Return the pairs, if what all masks and all images have in common leaves the same names."""
    if len(masks) != len(images) or len(masks) < 2:
        return None
    for mask, image in _affixes(masks, sorted(images)):
        by_core = {image.core(name): name for name in images}
        cores = {mask.core(name): name for name in masks}
        if None not in cores and len(cores) == len(masks) and cores.keys() == by_core.keys():
            return {name: (by_core[core], mask, image) for core, name in cores.items()}
    return None


def _affixes(masks: Sequence[str], images: Sequence[str]) -> Iterator[tuple[Affix, Affix]]:
    """Yield what masks and images may have beside the rest: masks alone, then both."""
    folder, slash, base = masks[0].rpartition("/")
    for name in images:
        inner = name.removeprefix(folder + slash)
        start, there, end = base.partition(inner)
        if there and name.startswith(folder):
            yield Affix(start, end), Affix()
    yield _common(masks), _common(images)


def _common(names: Sequence[str]) -> Affix:
    bases = [name.rpartition("/")[2] for name in names]
    start = commonprefix(bases)
    end = commonprefix([base[len(start) :][::-1] for base in bases])[::-1]
    return Affix(start, end)
