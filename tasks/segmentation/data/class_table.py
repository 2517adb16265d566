"""The table of classes: as it was given, by numbers or colours, or from the masks themselves."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from backbones.errors import UserError
from tasks.common.files.paths import listed
from tasks.common.report.advice import advice
from tasks.segmentation.data.cases import (
    BACKGROUND,
    IGNORED,
    ClassTable,
    class_table,
    colour_text,
    inferred_table,
)
from tasks.segmentation.data.masks.colours import ColouredMaskError, colour_advice, table_text
from tasks.segmentation.data.masks.hints import hints_of, refusal_of
from tasks.segmentation.data.masks.palettes import compare_palettes
from tasks.segmentation.data.masks.read import ABOVE, MaskValues, mask_values

_MOST_COLOURS: Final = 64  # of masks that are scored without a table
_SEVERAL: Final = 5  # masks, from which on a value in one of them alone is suspicious
_HEX: Final = re.compile(r"#?([0-9a-fA-F]{6})|#([0-9a-fA-F]{3})")


def table_of(
    classes: Mapping[Any, Any] | None, masks: Iterable[Path], *, threshold: float | None = None
) -> tuple[ClassTable, tuple[str, ...]]:
    """Return the table of exclusive classes, and what a user should know of it.

    ``classes`` are names by number or colour (``"#ff0000"``), or colours by name (``[255, 0, 0]``
    or a list of these); None for the values that occur in ``masks``, where one in a single mask of
    several is refused as a stray pixel. Mask values from ``threshold`` on become 255, others 0.
    """
    if isinstance(classes, str):
        classes = table_text(classes)
    if threshold is not None:
        return _two_levels(classes, threshold), ()
    if classes is not None:
        return _given(classes), ()
    return _inferred(masks)


def layered_table(
    names: Sequence[str],
    classes: Mapping[Any, Any] | None,
    *,
    source: str,
    threshold: float | None = None,
) -> ClassTable:
    """Return the table of classes that have masks of their own and may overlap.

    The class is where values are at least ``threshold``, or not 0; ``classes`` is refused.
    """
    if classes is not None:
        one_mask = "Give one mask per image, as the segmenter was trained on."
        raise UserError(
            f"classes is {classes!s}, but {listed(names)} have masks of their own, whose "
            f"values stand for no class. {advice('Remove classes.', otherwise=one_mask)}"
        )
    if special := [name for name in names if name in (BACKGROUND, IGNORED)]:
        raise UserError(
            f"{listed(special)} has masks of its own, as if it were a class; expected classes "
            "only. Remove those masks."
        )
    return ClassTable(
        names=tuple(names),
        values=((1,),) * len(names),
        exclusive=False,
        threshold=None if threshold is None else _number(threshold),
        source=source,
    )


def _two_levels(classes: Mapping[Any, Any] | None, threshold: float) -> ClassTable:
    number = _number(threshold)
    if classes is None:
        return replace(inferred_table([0, ABOVE]), threshold=number)
    table = _given(classes)
    values = {value for values in (*table.values, table.ignored) for value in values}
    if table.colours or values not in ({0, ABOVE}, {0, 1}):
        raise UserError(
            f"data.threshold makes two levels of the masks, but data.classes is {classes!s}; "
            f"expected names for 0 and {ABOVE}, or for 0 and 1."
        )
    return replace(table, threshold=number)


def _number(threshold: Any) -> float:  # noqa: ANN401 (an option)
    number = threshold if isinstance(threshold, int | float) else math.nan
    if isinstance(threshold, bool) or not 0 < number < math.inf:
        raise UserError(
            f"data.threshold is {threshold!r}; expected a number above 0, such as 128, or 0.5 for "
            "probabilities."
        )
    return float(number)


def _given(classes: Any) -> ClassTable:  # noqa: ANN401 (an option)
    if not isinstance(classes, Mapping):
        raise UserError(
            "data.classes takes names by value, such as {0: background, 255: nucleus}, or colours "
            f"by name, such as {{background: [0, 0, 0], cell: [255, 0, 0]}}, got {classes!r}."
        )
    by_name = [
        (value, found) if (found := _colours(key)) else (key, _colours(value))
        for key, value in classes.items()
    ]
    if not any(found for _, found in by_name):
        return class_table({_whole(value): name for value, name in classes.items()})
    if not all(found for _, found in by_name):
        raise UserError(
            f"data.classes has colours and other values: {dict(classes)}; expected a colour for "
            "each class, such as '#ff0000' or [255, 0, 0]."
        )
    colours: dict[int, str] = {}
    for name, colour in ((name, colour) for name, found in by_name for colour in found):
        if colours.setdefault(colour, name) != name:
            raise UserError(
                f"data.classes has the colour {colour_text(colour)} for {colours[colour]!r} "
                f"and for {name!r}; expected each colour once."
            )
    return class_table(colours, colours=True)


def _whole(value: Any) -> Any:  # noqa: ANN401 (an option)
    """Return a number that the command line has as text."""
    return int(value) if str(value).isdecimal() else value


def _colours(value: Any) -> list[int]:  # noqa: ANN401 (an option)
    """Return the colours that an option stands for as 0xRRGGBB; none if it is no colour."""
    if isinstance(value, str):
        if found := _HEX.fullmatch(value.strip()):
            digits = found[1] or "".join(digit * 2 for digit in found[2])
            marked = value.strip().startswith("#")
            return [int(digits, 16)] if marked else []
        parts = re.findall(r"\d+", value)
        plain = re.fullmatch(r"\s*[\[(]?\s*\d+\s*[, ]\s*\d+\s*[, ]\s*\d+\s*[\])]?\s*", value)
        return _colours([int(part) for part in parts]) if plain else []
    if not isinstance(value, Sequence):
        return []
    if len(value) == 3 and all(isinstance(c, int) and 0 <= c <= 255 for c in value):
        return [value[0] << 16 | value[1] << 8 | value[2]]
    several = [_colours(item) for item in value]
    return [colour for colours in several for colour in colours] if all(several) else []


def _by_colour(errors: Sequence[ColouredMaskError], gray: Mapping[Path, MaskValues]) -> ClassTable:
    """Return the table of the colours that occur, to score by; for training they need names."""
    total = sum((Counter(error.colours) for error in errors), Counter[int]())
    for values in gray.values():
        total.update({value * 0x010101: count for value, count in values.counts.items()})
    few = all(error.colours for error in errors) and 2 <= len(total) <= _MOST_COLOURS
    if advice("to train") or not few:
        several = len(errors) > 1 and few
        more = f" All {len(errors)} masks in colour:{colour_advice(total)}" if several else ""
        raise UserError(f"{errors[0]}{more}")
    names = {c: colour_text(c) if c != min(total) else BACKGROUND for c in sorted(total)}
    return replace(class_table(names, colours=True), inferred=True)


def _inferred(masks: Iterable[Path]) -> tuple[ClassTable, tuple[str, ...]]:
    nothing = ClassTable(names=(), values=())
    read: dict[Path, MaskValues] = {}
    coloured: list[ColouredMaskError] = []
    for path in masks:
        try:
            read[path] = mask_values(path, nothing)
        except ColouredMaskError as error:
            coloured.append(error)
    if coloured:
        return _by_colour(coloured, read), ()
    compare_palettes([values.palettes for values in read.values()])
    if wrong := refusal_of(read):
        raise UserError(wrong)
    files = {path: values.counts for path, values in read.items()}
    hints = hints_of(read)
    more = "".join(f" {hint[0].upper()}{hint[1:]}." for hint in hints)
    occurs = Counter(value for counts in files.values() for value in counts)
    try:
        table = inferred_table(sorted(occurs))
    except ValueError as error:
        raise UserError(f"{error}{more}") from None
    for path, counts in files.items():
        lone = [value for value in counts if occurs[value] == 1]
        if lone and len(files) >= _SEVERAL:
            name_it = "If it is a class, name them all with data.classes; if not, repair it."
            raise UserError(
                f"the mask value {lone[0]} is in {path} alone, of {len(files)} masks. "
                f"{advice(name_it, otherwise='Repair it.')}{more}"
            )
    return table, tuple(hints)
