"""Cases from a CSV file with a row for each."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

from backbones.errors import UserError
from tasks.common.data.splits import SIDES
from tasks.common.files.paths import (
    existing_file,
    existing_folder,
    hint,
    listed,
    name_here,
    named_file,
)
from tasks.common.files.text import read_text
from tasks.segmentation.data.cases import Case, CaseSet
from tasks.segmentation.data.class_table import layered_table, table_of
from tasks.segmentation.data.formats.files import stem_of

_COLUMNS: Final = ("image", "mask", "name", "patient", "split")


def csv_cases(
    *,
    root: str | Path,
    file: str = "data.csv",
    classes: Mapping[Any, Any] | None = None,
    threshold: float | None = None,
) -> CaseSet:
    r"""Return the cases of a CSV file: cells between commas, semicolons or tabs, UTF-8 or UTF-16.

    ========= =================================================================================
    column    cells
    ========= =================================================================================
    image     path within ``root``; further files are in columns ``image:<channel>``
    mask      path within ``root``; for classes that may overlap ``mask:<class>``, one for each
    name      of the case; the image's path without suffix if there is no such column
    patient   whose case it is; every case is its own patient if there is no such column
    split     ``train``, ``val`` or ``test``
    ========= =================================================================================

    Other columns are refused, since a misspelt ``patient`` would be missed. Of a path with ``\``
    the parts are folders where that is the file. Every error names the line and the column.

    Args:
        root: The folder that paths are relative to.
        file: The CSV file, within ``root``.
        classes: Names of mask values or colours, such as {0: background, 255: cell}; None for all
            values that occur in the masks.
        threshold: Mask values from it on become 255, others 0; None reads them as they are.
    """
    base = existing_folder(Path(root), what="root")
    source = existing_file(base / file, what="CSV file")
    columns, rows = _read(source)
    images, masks = _checked(source, columns)
    cases = [_case(row, base, images=images, masks=masks) for row in rows]
    _refuse_doubles(rows, cases)
    notes: tuple[str, ...] = ()
    if masks == ["mask"]:
        drawn = [case.masks[0] for case in cases]
        table, notes = table_of(classes, drawn, threshold=threshold)
    else:
        names = [column.removeprefix("mask:") for column in masks]
        table = layered_table(names, classes, source="the columns of masks", threshold=threshold)
    channels = [column.removeprefix("image:") for column in images]
    return CaseSet(
        source=str(source),
        cases=tuple(sorted(cases, key=lambda case: case.name)),
        classes=table,
        channel_names=() if channels == ["image"] else tuple(channels),
        notes=notes,
    )


@dataclass(frozen=True, kw_only=True)
class _Row:
    source: Path
    line: int
    cells: Mapping[str, str]

    def place(self, column: str) -> str:
        """Return where a cell is, for a message."""
        return f"{self.source}, line {self.line}, column {column!r}"

    def cell(self, column: str, default: str | None = None) -> str:
        """Return a cell; the default only if there is no such column."""
        if not (text := self.cells.get(column, default)):
            raise UserError(f"{self.place(column)}: the cell is empty; expected a value. Fill it.")
        return text


def _read(source: Path) -> tuple[list[str], list[_Row]]:
    lines = _lines(read_text(source), source)
    _, columns = next((line for line in lines if any(line[1])), (1, []))
    rows = []
    for number, cells in ((number, cells) for number, cells in lines if any(cells)):
        if len(cells) != len(columns):
            raise UserError(
                f"{source}, line {number}: {len(cells)} cells for the {len(columns)} "
                f"columns {listed(columns, limit=10)}. Put a cell with a comma in quotes."
            )
        rows.append(_Row(source=source, line=number, cells=dict(zip(columns, cells, strict=True))))
    if not rows:
        raise UserError(
            f"{source} has no rows; expected a line with the columns, such as image,mask,patient, "
            "and one for each case."
        )
    return columns, rows


def _lines(text: str, source: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each line; Excel writes ``sep=;`` above the columns."""
    head, _, rest = text.partition("\n")
    stated = re.fullmatch(r"sep=(.)", head.strip("\r").strip(' "'))
    skipped, body = (1, rest) if stated else (0, text)
    columns = body.lstrip("\r\n").partition("\n")[0]
    delimiter = stated[1] if stated else max(",;\t", key=columns.count)
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            yield reader.line_num + skipped, [cell.strip() for cell in cells]
    except csv.Error as error:
        line = reader.line_num + skipped
        raise UserError(
            f"{source}, line {line}: {error}. Close every quote, and double those within a cell."
        ) from error


def _checked(source: Path, columns: Sequence[str]) -> tuple[list[str], list[str]]:
    place = f"{source}, line 1"
    if double := [column for column in dict.fromkeys(columns) if columns.count(column) > 1]:
        raise UserError(f"{place}: column {double[0]!r} is there twice. Remove one.")
    images, masks = (
        [c for c in columns if c == what or (c.startswith(f"{what}:") and c != f"{what}:")]
        for what in ("image", "mask")
    )
    there = f"there are {listed(columns, limit=10)}"
    for what, found in (("image", images), ("mask", masks)):
        if not found:
            raise UserError(
                f"{place}: column {what!r} is missing{hint(what, columns)}; {there}. Add it."
            )
    if unknown := [c for c in columns if c not in (*_COLUMNS, *images, *masks)]:
        raise UserError(
            f"{place}: column {unknown[0]!r} is unknown{hint(unknown[0], _COLUMNS)}; expected "
            f"{', '.join(_COLUMNS)}, image:<channel> or mask:<class>. Rename or remove it."
        )
    if "mask" in masks and len(masks) > 1:
        raise UserError(f"{place}: columns 'mask' and {masks[-1]!r}; expected one or the other.")
    return images, masks


def _case(row: _Row, base: Path, *, images: Sequence[str], masks: Sequence[str]) -> Case:
    def files(columns: Sequence[str]) -> tuple[Path, ...]:
        return tuple(
            named_file(base, row.cell(column), what=f"{row.place(column)}: file")
            for column in columns
        )

    pictures, drawn = files(images), files(masks)
    name = row.cell("name", stem_of(PurePath(name_here(base, row.cell(images[0])))))
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise UserError(
            f"{row.place('name' if 'name' in row.cells else images[0])}: {name!r} lies outside "
            "root, so it cannot name a case, after which files are called. Add a column 'name'."
        )
    split = row.cell("split") if "split" in row.cells else None
    if split not in (None, *SIDES):
        raise UserError(
            f"{row.place('split')}: {split!r} is no split{hint(str(split), SIDES)}; expected "
            "train, val or test."
        )
    return Case(
        name=name,
        images=pictures,
        masks=drawn,
        patient=row.cell("patient", name),
        split=split,
    )


def _refuse_doubles(rows: Sequence[_Row], cases: Sequence[Case]) -> None:
    names: dict[str, int] = {}
    patients: dict[str, tuple[str | None, int]] = {}
    for row, case in zip(rows, cases, strict=True):
        line = names.setdefault(case.name, row.line)
        if line != row.line:
            column = "name" if "name" in row.cells else "image"
            raise UserError(
                f"{row.place(column)}: the case {case.name!r} is in line {line} already; expected "
                "each name once. Rename or remove one."
            )
        split, line = patients.setdefault(case.patient, (case.split, row.line))
        if split != case.split:
            raise UserError(
                f"{row.place('split')}: patient {case.patient!r} is in {case.split}, but in line "
                f"{line} in {split}. Put all cases of a patient into one split."
            )
