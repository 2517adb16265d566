"""What a segmentation data set is: cases of one patient each, and classes for mask values."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backbones.errors import UserError
from tasks.common.images.orientation import UPRIGHT
from tasks.common.report.advice import advice

IGNORE: Final = 255  # the label of a pixel that is neither learnt from nor scored

_LARGEST: Final = 65535  # of mask values: masks are written with 16 bits at most
_WHITE: Final = 0xFFFFFF
MOST_CLASSES: Final = 254  # their labels have 8 bits, one of which is taken
BACKGROUND: Final = "background"
IGNORED: Final = "ignore"
Image = NDArray[np.uint8 | np.uint16 | np.int16 | np.int32 | np.float32]
"""(C, D, H, W): channels, slices (one for a flat image), rows, columns; as stored, not scaled."""

Labels = NDArray[np.uint8]
"""(D, H, W) of class indices where classes exclude each other, else (K, D, H, W) of 0 and 1.

`IGNORE` marks what is not labelled.
"""


@dataclass(frozen=True, kw_only=True)
class ClassTable:
    """The classes of a data set, and the mask values that stand for them.

    A value belongs to one class where classes exclude each other. Otherwise a class is all pixels
    with one of its values or, in a mask file of its own, all that are not 0.
    """

    names: tuple[str, ...]  # of the K classes, in the order of the network's outputs
    values: tuple[tuple[int, ...], ...]  # of each class
    exclusive: bool = True  # whether a pixel has one class (softmax), or any number (sigmoid)
    ignored: tuple[int, ...] = ()  # values of pixels that are neither trained on nor scored
    inferred: bool = False  # whether the table was made from the masks because none was given
    colours: bool = False  # whether values are colours, 0xRRGGBB, in place of numbers
    threshold: float | None = None  # values from it on are read as 255, others as 0, if given
    source: str = field(default="data.classes", compare=False)  # what names them, for messages

    @property
    def own_files(self) -> bool:
        """Whether each class has mask files of its own, where all but 0 is the class."""
        return not self.exclusive and set(self.values) == {(1,)}

    def text(self, value: int) -> str:
        """Return a mask value as a user writes it: a number, or a colour such as #ff0000."""
        return colour_text(value) if self.colours else str(value)

    @property
    def scored(self) -> tuple[int, ...]:
        """Indices of the classes that are scored: all but the one called ``background``."""
        return tuple(i for i, name in enumerate(self.names) if name != BACKGROUND)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How the (first) image file lies on disk, so that a mask of it can be written like that."""

    source: Path
    spacing: tuple[float, float, float]  # between slices, rows and columns (D, H, W), in ``unit``
    unit: str  # ``mm`` or ``px``
    axis: int | None  # of the RAS orientation, along which slices lie; None for a flat image
    orientation: int = UPRIGHT  # EXIF's, of a flat image, 1 to 8
    turned: bool = False  # whether the pixels were turned upright by it


@dataclass(frozen=True, kw_only=True)
class Case:
    """One image or volume with its masks, and a unique name: what is split, predicted and scored.

    There is one image, or one per group of channels; one mask, one per class, or none. All cases of
    a ``patient`` go to the same split: ``split``, where the data set says so itself.
    """

    name: str
    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    patient: str
    split: str | None = None


@dataclass(frozen=True, kw_only=True)
class CaseSet:
    """Cases with their classes.

    The slices of a volume lie along its ``axis``: 0, 1 or 2 of the RAS orientation, or -1 for the
    one with the largest spacing (the last among equals).
    """

    source: str  # where they come from, for messages
    cases: tuple[Case, ...]
    classes: ClassTable
    axis: int = -1
    channel_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what a user should know of how it was read, a sentence each
    exif: str = "refuse"  # what to do with rotated images, see `oriented`
    # what gray and RGB images are converted to (`fitted`); None for other kinds, or not read yet
    channels: int | None = None

    def __post_init__(self) -> None:
        if self.axis not in (-1, 0, 1, 2):
            raise UserError(
                f"axis is {self.axis!r}; expected 0 (sagittal slices), 1 (coronal), 2 (axial), or "
                "-1 for the one with the largest spacing."
            )

    @property
    def patients(self) -> dict[str, str] | None:
        """The patient of each case by its name; None where cases name no other patient."""
        found = {case.name: case.patient for case in self.cases}
        return None if all(name == patient for name, patient in found.items()) else found


def colour_text(colour: int) -> str:
    """Return a colour 0xRRGGBB as text.

    >>> colour_text(0xFF0000)
    '#ff0000'
    """
    return f"#{colour:06x}"


def class_table(
    given: Mapping[int, str], *, colours: bool = False, source: str = "data.classes"
) -> ClassTable:
    """Return the table of exclusive classes for ``{value: name}``, ``background`` first.

    Values with the same name are one class; those called ``ignore`` are left out. Values that are
    no whole numbers from 0 to 65535, or no colours, are refused.

    >>> class_table({128: "cytoplasm", 0: "background"}).names
    ('background', 'cytoplasm')
    """
    largest = _WHITE if colours else _LARGEST
    right = all(isinstance(value, int) and 0 <= value <= largest for value in given)
    if not right or not all(isinstance(name, str) and name for name in given.values()):
        raise UserError(
            f"a class table takes mask values from 0 on (16 bits) and names, such as {{0: "
            f"background, 255: nucleus}}, got {dict(given)}."
        )
    names = list(dict.fromkeys(name for name in given.values() if name != IGNORED))
    names.sort(key=lambda name: name != BACKGROUND)
    if len(names) > MOST_CLASSES or "mean" in names:
        raise UserError(
            f"a class table takes at most {MOST_CLASSES} classes, none of them called 'mean', "
            f"which is a row of the scores; got {len(names)}: {', '.join(names[:5])}."
        )
    if not names or (names == [BACKGROUND]):
        raise UserError(f"a class table needs a class besides background, got {dict(given)}.")
    return ClassTable(
        names=tuple(names),
        values=tuple(tuple(v for v, n in given.items() if n == name) for name in names),
        ignored=tuple(value for value, name in given.items() if name == IGNORED),
        colours=colours,
        source=source,
    )


def inferred_table(values: Sequence[int]) -> ClassTable:
    """Return the table for mask values without names: the smallest is the background."""
    ordered = sorted(set(values))
    if wrong := [value for value in ordered if not 0 <= value <= _LARGEST]:
        raise UserError(
            f"the masks have the value {wrong[0]}; expected 0 to {_LARGEST}. Give classes other "
            "values there."
        )
    if not 2 <= len(ordered) <= 64:
        raise UserError(
            f"the masks have {len(ordered)} different values; expected 2 to 64. {_table()}"
        )
    names = (BACKGROUND, *(f"class {value}" for value in ordered[1:]))
    return ClassTable(names=names, values=tuple((v,) for v in ordered), inferred=True)


def _nearest(value: int, known: Collection[int], classes: ClassTable) -> str:
    """Return the nearest known colour, for a message; nothing for numbers."""
    if not classes.colours:
        return ""

    def far(other: int) -> int:
        return sum(((value >> shift & 255) - (other >> shift & 255)) ** 2 for shift in (16, 8, 0))

    return f", nearest {colour_text(min(known, key=far))}"


def _unknown_values(classes: ClassTable) -> str:
    training = (
        f"Add them to {classes.source} (the name 'ignore' leaves pixels out), or repair the mask."
    )
    return advice(training, otherwise="Repair the mask, or give masks of these classes.")


def _table() -> str:
    training = "Give the table, such as data.classes='{0: background, 255: nucleus}'."
    return advice(training, otherwise="Are these masks of classes?")


def encode(mask: NDArray[np.integer], classes: ClassTable, *, source: Path) -> Labels:
    """Return the labels of a mask (D, H, W) whose values stand for classes; refuse other values.

    The 0 of a mask of classes that overlap needs no class.
    """
    known = {v for values in (*classes.values, classes.ignored) for v in values}
    known |= set() if classes.exclusive else {0}
    unknown = ~np.isin(mask, list(known))
    if unknown.any():
        found, counts = np.unique(mask[unknown], return_counts=True)
        pairs = zip(found[:5], counts[:5], strict=True)
        shown = ", ".join(
            f"{classes.text(int(v))} ({n} pixels{_nearest(int(v), known, classes)})"
            for v, n in pairs
        )
        kind = "colours" if classes.colours else "mask values"
        raise UserError(
            f"{source} has {kind} that are in no class: {shown}"
            f"{f' and {len(found) - 5} more' if len(found) > 5 else ''}; expected "
            f"{', '.join(map(classes.text, sorted(known)))}. {_unknown_values(classes)}"
        )
    if classes.exclusive:
        labels = np.full(mask.shape, IGNORE, dtype=np.uint8)
        for index, values in enumerate(classes.values):
            labels[np.isin(mask, values)] = index
        return labels
    layers = np.stack([np.isin(mask, values) for values in classes.values]).astype(np.uint8)
    layers[:, np.isin(mask, classes.ignored)] = IGNORE
    return layers


def decode(labels: Labels, classes: ClassTable) -> NDArray[np.int32]:
    """Return a mask (D, H, W) with the first value of each (exclusive) class."""
    table = np.zeros(256, dtype=np.int32)
    table[: len(classes.values)] = [values[0] for values in classes.values]
    return table[labels]
