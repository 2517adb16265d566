"""What the values of masks suggest where nobody named the classes, a hint for each habit."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tasks.common.advice import advice
from tasks.common.paths import listed

_MANY: Final = 64  # values: more are numbers of objects
_EDGES: Final = 0.2  # of the pixels: no more lie on smoothed edges
_FEW: Final = 20  # classes beside an ignored 255, at least that many unused numbers below it

Values = Mapping[Path, Mapping[int, int]]
"""By file: how many pixels have each value."""


def hints_of(files: Values, dtypes: Mapping[Path, str]) -> list[str]:
    """Return the hints that apply.

    Args:
        files: All masks.
        dtypes: The type of their numbers, as numpy calls it.
    """
    total = sum((Counter(counts) for counts in files.values()), Counter[int]())
    values = sorted(total)
    found = [
        _two_scales(files),
        _smoothed(total) or _objects(values),
        _ignored(values),
        _depths(dtypes),
    ]
    return [hint for hint in found if hint]


def _two_scales(files: Values) -> str:
    """Masks of 0 and 1 beside masks of 0 and 255."""
    small = [str(path) for path, counts in files.items() if set(counts) == {0, 1}]
    large = [str(path) for path, counts in files.items() if set(counts) == {0, 255}]
    if not small or not large:
        return ""
    told = advice(
        ", give data.classes='{0: background, 1: object, 255: object}'",
        otherwise=", save them with the same number",
    )
    return (
        f"{len(small)} masks have 0 and 1, such as {small[0]}, and {len(large)} have 0 and 255, "
        f"such as {large[0]}: if 1 and 255 are the same class{told}"
    )


def _smoothed(total: Mapping[int, int]) -> str:
    """Two levels whose edges were smoothed or compressed."""
    values = sorted(total)
    between = [value for value in values if 0 < value < 255]
    share = sum(total[value] for value in between) / max(1, sum(total.values()))
    shades = len(between) > 2 and values[0] == 0 and max(between) >= 128
    if not (shades and values[-1] in (254, 255) and share <= _EDGES):
        return ""
    told = advice(
        "data.threshold=128 makes two levels of them", otherwise="save them with two levels"
    )
    return (
        f"{share:.1%} of the mask pixels lie between 0 and 255 with {len(between)} different "
        f"values, as on smoothed or compressed edges: {told}"
    )


def _objects(values: list[int]) -> str:
    """A number for each object."""
    if len(values) <= _MANY:
        return ""
    told = advice("data.threshold=1 makes one class of all objects", otherwise="save one class")
    return f"does each object have a number of its own? Then {told}"


def _ignored(values: list[int]) -> str:
    """255 beside 0, 1, 2, ... is left out in Pascal VOC, Cityscapes and ADE20K."""
    rest = [value for value in values if value != 255]
    if len(rest) == len(values) or len(rest) < 2 or rest[-1] > 255 - _FEW:
        return ""
    if rest[-1] >= 2 * len(rest) + _FEW:  # not 0, 1, 2, ... but levels such as 0, 85, 170
        return ""
    named = f"{{{', '.join(f'{v}: ...' for v in rest[:3])}, 255: ignore}}"
    told = advice(f"; give data.classes='{named}' then")
    return (
        f"255 beside {listed([str(v) for v in rest], limit=4)} may mark pixels to ignore, as in "
        f"Pascal VOC and Cityscapes, and is taken for a class{told}"
    )


def _depths(dtypes: Mapping[Path, str]) -> str:
    """Masks of several types of numbers."""
    kinds = Counter(dtypes.values())
    if len(kinds) < 2:
        return ""
    shown = ", ".join(
        f"{count} of {kind}, such as {next(p for p, k in dtypes.items() if k == kind)}"
        for kind, count in kinds.most_common()
    )
    return f"the masks have different bit depths ({shown}): do their values mean the same?"
