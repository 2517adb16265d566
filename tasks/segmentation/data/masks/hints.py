"""What the values of masks suggest where nobody named the classes, a hint for each habit."""

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Final

from tasks.common.files.paths import listed
from tasks.common.report.advice import advice
from tasks.segmentation.data.masks.read import MaskValues

_MANY: Final = 64  # values: more are numbers of objects
_EDGES: Final = 0.2  # of the pixels: no more lie on smoothed edges
_FAR: Final = 100  # apart are the two levels whose edges were smoothed
_SHADES: Final = 3  # between them at least
_FEW: Final = 20  # classes beside an ignored 255, at least that many unused numbers below it
_OBJECTS: Final = 6  # in an image: from then on 1, 2, 3, ... in every image are no classes
_FULL: Final = (1, 255, 65535)  # what a single class is written as, in 1, 8 and 16 bits
Masks = Mapping[Path, MaskValues]


def refusal_of(masks: Masks) -> str:
    """Return why classes cannot be inferred from the masks without error; empty if they can."""
    return _one_class_of_two_numbers(masks) or _two_scales(masks)


def hints_of(masks: Masks) -> list[str]:
    """Return what a user should check, a sentence each."""
    total = sum((Counter(mask.counts) for mask in masks.values()), Counter[int]())
    values = sorted(total)
    found = [
        _single(values),
        _smoothed(total) or _numbered(values, masks),
        _ignored(values),
        _no_zero(values),
        _negative(masks),
        _depths(masks),
        _alpha(masks),
    ]
    return [hint for hint in found if hint]


def _one_class_of_two_numbers(masks: Masks) -> str:
    """Masks of 0 and 1 beside masks of 0 and 255, or of 0 and 65535."""
    groups = _groups(masks, lambda values: values[0] if len(values) == 1 else 0)
    if len(groups) < 2 or not set(groups) <= set(_FULL):
        return ""
    numbers = sorted(groups)
    shown = ", and ".join(
        f"{len(groups[number])} {'have' if place else 'masks have'} 0 and {number}, such as "
        f"{groups[number][0]}"
        for place, number in enumerate(numbers)
    )
    last = numbers[-1]
    one, *others = (f"{number}: object" for number in numbers)
    left_out = ", ".join(["0: background", one, *others[:-1], f"{last}: ignore"])
    told = advice(
        f"give data.classes='{{0: background, {', '.join([one, *others])}}}' if they are the same "
        f"class, or '{{{left_out}}}' if {last} is to be left out.",
        otherwise="save them with the same number if they are the same class.",
    )
    return f"{shown}, but no mask has both: {told}"


def _two_scales(masks: Masks) -> str:
    """Masks whose numbers are those of others times what spreads them over more bits."""
    for factor, most, enough in ((257, 255, 1), (256, 255, 1), (85, 3, 2), (17, 15, 2)):

        def scale(values: list[int], factor: int = factor, most: int = most) -> int:
            if values[-1] <= most:
                return 1
            return 0 if any(value % factor for value in values) else factor

        groups = _groups(masks, scale)
        if set(groups) != {1, factor}:
            continue
        small, large = (
            {value for path in groups[key] for value in masks[path].counts} for key in (1, factor)
        )
        common = sorted(small & {value // factor for value in large} - {0})
        if len(common) >= enough:
            return (
                f"{len(groups[factor])} masks, such as {groups[factor][0]}, have {factor} times "
                f"the numbers of the others, such as {groups[1][0]} ({common[-1] * factor} and "
                f"{common[-1]}), as if spread over more bits: save all with the same numbers"
                f"{advice(', or name them with data.classes: numbers of one name are one class')}."
            )
    return ""


def _groups(masks: Masks, kind: Callable[[list[int]], int]) -> dict[int, list[Path]]:
    """Return the masks by the kind of their values but 0; empty masks are of no kind."""
    groups: dict[int, list[Path]] = {}
    for path, mask in masks.items():
        if values := sorted(value for value in mask.counts if value):
            groups.setdefault(kind(values), []).append(path)
    return groups


def _single(values: list[int]) -> str:
    """The same value everywhere."""
    if len(values) != 1:
        return ""
    return f"every pixel of every mask is {values[0]}: are these the masks, and was anything drawn?"


def _smoothed(total: Mapping[int, int]) -> str:
    """Two levels whose edges were smoothed or compressed."""
    values = sorted(total)
    most = max(values, key=total.__getitem__)
    if not (far := [value for value in values if abs(value - most) >= _FAR]):
        return ""
    low, high = sorted((most, max(far, key=total.__getitem__)))
    others = [value for value in values if value not in (low, high)]
    share = sum(total[value] for value in others) / max(1, sum(total.values()))
    shades = len(others) >= _SHADES and max(others) > (low + high) / 2 and share <= _EDGES
    gaps = {after - before for before, after in pairwise(values)}
    if not shades or max(gaps) - min(gaps) <= 1:  # levels of equal distance
        return ""
    cut = f"data.threshold={(low + high + 1) // 2} makes two levels of them"
    told = advice(cut, otherwise="save them with two levels")
    return (
        f"{share:.1%} of the mask pixels have {len(others)} values beside {low} and {high}, as on "
        f"smoothed or compressed edges: {told}"
    )


def _numbered(values: list[int], masks: Masks) -> str:
    """A number for each object: many, or in each image 1, 2, 3, ... up to another number."""
    tops = [_top(mask) for mask in masks.values()]
    several = None not in tops and len({top for top in tops if top}) >= _SHADES
    if len(values) <= _MANY and not (several and max(top or 0 for top in tops) >= _OBJECTS):
        return ""
    told = advice("data.threshold=1 makes one class of all objects", otherwise="save one class")
    return f"does each object have a number of its own? Then {told}"


def _top(mask: MaskValues) -> int | None:
    """Return the largest value if all from 1 on occur, else None."""
    values = sorted(value for value in mask.counts if value)
    return len(values) if values == list(range(1, len(values) + 1)) else None


def _ignored(values: list[int]) -> str:
    """255 beside 0, 1, 2, ... is left out in Pascal VOC, Cityscapes and ADE20K."""
    top, rest = values[-1], values[:-1]
    most = min(255 - _FEW, 2 * len(rest) + _FEW - 1)  # 0, 1, 2, ..., no levels such as 0, 85, 170
    if top not in (255, 65535) or len(rest) < 2 or rest[-1] > most:
        return ""
    named = f"{{{', '.join(f'{v}: ...' for v in rest[:3])}, {top}: ignore}}"
    told = advice(f"; give data.classes='{named}' then")
    return (
        f"{top} beside {listed([str(v) for v in rest], limit=4)} may mark pixels to ignore, as in "
        f"Pascal VOC and Cityscapes, and is taken for a class{told}"
    )


def _no_zero(values: list[int]) -> str:
    """Masks without 0, such as those of 1, 2 and 3."""
    if values[0] <= 0 or len(values) == 1:
        return ""
    told = advice(": name the classes with data.classes if it is one")
    return f"no mask has the value 0, so the smallest, {values[0]}, is taken for background{told}"


def _negative(masks: Masks) -> str:
    """-1 is what some tools ignore, and 255 in signed numbers of 8 bits."""
    if not (found := [path for path, mask in masks.items() if min(mask.counts) < 0]):
        return ""
    return (
        f"{len(found)} masks have negative values, such as {found[0]}: save what is to be ignored "
        f"as 255{advice(', and call it ignore in data.classes')}"
    )


def _depths(masks: Masks) -> str:
    """Masks of several types of numbers that have no value in common but 0."""
    types: dict[str, list[Path]] = {}
    for path, mask in masks.items():
        if set(mask.counts) != {0}:
            types.setdefault(mask.dtype, []).append(path)
    values = [{v for path in paths for v in masks[path].counts} - {0} for paths in types.values()]
    if len(types) < 2 or any(one & other for n, one in enumerate(values) for other in values[:n]):
        return ""
    shown = [f"{len(paths)} of {kind}, such as {paths[0]}" for kind, paths in types.items()]
    said = f"the masks have different bit depths ({', '.join(shown)})"
    return f"{said}: do their values mean the same?"


def _alpha(masks: Masks) -> str:
    """The mask may be in the alpha channel."""
    if not (found := [path for path, mask in masks.items() if mask.alpha_tells]):
        return ""
    return (
        f"{len(found)} masks have an alpha channel that differs from the values, such as "
        f"{found[0]}: it is not read; if the mask is there, save it as gray"
    )
