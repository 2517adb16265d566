"""Detections as files for others: COCO's results, a table, labels of YOLO's and Pascal VOC's."""

import csv
import json
import xml.etree.ElementTree as ElementTree
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from tasks.common.files.atomic import replacing
from tasks.common.report.run_folder import write_json, write_text
from tasks.detection.model.card import DetectorCard
from tasks.detection.scores.metrics import Result, to_results
from tasks.detection.scores.trained import Detections

_COLUMNS: Final = ("file", "class", "score", "x1", "y1", "x2", "y2")


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundIn:
    """The detections of one picture."""

    number: int  # the picture's id
    name: str  # of the file, or of the frame
    output: str  # what files about it are called, without their suffix
    all: Detections
    shown: Detections  # those of a score from the threshold on


class ResultFile(ABC):
    """One of the formats that results are written in, below a folder; see docs/predict.md."""

    def __init__(self, folder: Path, card: DetectorCard) -> None:
        self.folder, self.card = folder, card

    @abstractmethod
    def add(self, found: FoundIn) -> None:
        """Take the detections of a picture."""

    @abstractmethod
    def finish(self) -> None:
        """Write what holds several pictures' results; called once, if there was a picture."""


class CocoResults(ResultFile):
    """``predictions.json`` in COCO's results format, and the pictures in ``images.json``."""

    def __init__(self, folder: Path, card: DetectorCard) -> None:
        super().__init__(folder, card)
        self._images: list[dict[str, Any]] = []
        self._results: list[Result] = []

    def add(self, found: FoundIn) -> None:
        """Keep all detections, with the category ids of the training data."""
        size = {"height": found.all.height, "width": found.all.width}
        self._images.append({"id": found.number, "file_name": found.name, **size})
        detections, ids = found.all.tensors(), self.card.category_ids
        self._results += to_results(detections, image_id=found.number, category_ids=ids)

    def finish(self) -> None:
        """Write both files."""
        pairs = zip(self.card.category_ids, self.card.classes, strict=True)
        categories = [{"id": number, "name": name} for number, name in pairs]
        write_json(self.folder / "images.json", {"images": self._images, "categories": categories})
        write_json(self.folder / "predictions.json", self._results)


class CsvTable(ResultFile):
    """``predictions.csv``: a row for each detection, its corners in pixels."""

    def __init__(self, folder: Path, card: DetectorCard) -> None:
        super().__init__(folder, card)
        self._rows: list[tuple[str | float, ...]] = []

    def add(self, found: FoundIn) -> None:
        """Keep all detections."""
        rows = zip(found.all.names, found.all.scores, found.all.boxes.tolist(), strict=True)
        for name, score, box in rows:
            corners = (round(side, 3) for side in box)
            self._rows.append((found.name, name, round(float(score), 5), *corners))

    def finish(self) -> None:
        """Write the table."""
        with (
            replacing(self.folder / "predictions.csv") as partial_file,
            partial_file.open("w", newline="", encoding="utf-8") as file,
        ):
            csv.writer(file).writerows([_COLUMNS, *self._rows])


class YoloLabels(ResultFile):
    """``labels/*.txt``: a line ``class cx cy w h score`` for each detection that is shown.

    The class counts from 0; the others are shares of the picture's sides. Without ``scores`` they
    are labels to train on: ``data=yolo`` reads them once the images are in ``images/``.
    """

    def __init__(self, folder: Path, card: DetectorCard, *, scores: bool = True) -> None:
        super().__init__(folder, card)
        self._scores = scores

    def add(self, found: FoundIn) -> None:
        """Write the lines of a picture, none if nothing is shown."""
        shown, lines = found.shown, []
        size = shown.width, shown.height
        corners = zip(shown.labels.tolist(), shown.scores, shown.boxes.tolist(), strict=True)
        for label, score, (x1, y1, x2, y2) in corners:
            numbers = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
            shares = [f"{number / size[i % 2]:.6f}" for i, number in enumerate(numbers)]
            shares += [f"{score:.5f}"] * self._scores
            lines.append(f"{label - 1} {' '.join(shares)}\n")
        write_text(self.folder / "labels" / f"{found.output}.txt", "".join(lines))

    def finish(self) -> None:
        """Write the names of the classes: ``data.yaml``, and ``classes.txt`` for other tools."""
        quoted = [json.dumps(name, ensure_ascii=False) for name in self.card.classes]
        names = "".join(f"  {index}: {name}\n" for index, name in enumerate(quoted))
        head = "# The images belong into images/ beside this file, which may be a link.\n"
        write_text(self.folder / "data.yaml", f"{head}train: images\nnames:\n{names}")
        lines = "".join(f"{' '.join(name.split())}\n" for name in self.card.classes)
        write_text(self.folder / "classes.txt", lines)


class VocLabels(ResultFile):
    """``Annotations/*.xml`` in Pascal VOC's format, of the detections that are shown.

    Coordinates are whole pixels from 1; ``data=voc`` reads them once the images are in
    ``JPEGImages/``. ``score`` is an element of our own, which readers pass over.
    """

    def add(self, found: FoundIn) -> None:
        """Write the file of a picture."""
        shown = found.shown
        size = {"width": shown.width, "height": shown.height, "depth": self.card.in_channels}
        objects = [
            {
                "name": name,
                "pose": "Unspecified",
                "truncated": 0,
                "difficult": 0,
                "score": f"{score:.5f}",
                "bndbox": _voc_box(box, shown.width, shown.height),
            }
            for name, score, box in zip(
                shown.names, shown.scores, shown.boxes.tolist(), strict=True
            )
        ]
        root = ElementTree.Element("annotation")
        _fill(root, {"filename": found.name.rpartition("/")[2], "size": size, "segmented": 0})
        for values in objects:
            _fill(ElementTree.SubElement(root, "object"), values)
        ElementTree.indent(root)
        text = ElementTree.tostring(root, encoding="unicode") + "\n"
        write_text(self.folder / "Annotations" / f"{found.output}.xml", text)

    def finish(self) -> None:
        """Write nothing else."""


def _voc_box(box: list[float], width: int, height: int) -> dict[str, int]:
    """Return the first and the last pixel of a box, from 1, in whole pixels.

    A box has two pixels or more in each direction: one of a single pixel counts as a stray click.
    """
    (left, right), (top, bottom) = (
        _voc_side(box[axis], box[axis + 2], length) for axis, length in ((0, width), (1, height))
    )
    return {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}


def _voc_side(low: float, high: float, length: int) -> tuple[int, int]:
    first = min(max(round(low) + 1, 1), max(length - 1, 1))
    return first, max(min(round(high), length), first + 1)


def _fill(element: ElementTree.Element, values: Mapping[str, Any]) -> None:
    """Append an element for each value; those of a nested one are inside it."""
    for name, value in values.items():
        inner = ElementTree.SubElement(element, name)
        if isinstance(value, Mapping):
            _fill(inner, value)
        else:
            inner.text = str(value)


RESULT_FILES: Final[Mapping[str, Callable[[Path, DetectorCard], ResultFile]]] = {
    "coco": CocoResults,
    "csv": CsvTable,
    "yolo": YoloLabels,
    "yolo-labels": partial(YoloLabels, scores=False),
    "voc": VocLabels,
}
"""The formats by the names that ``predict.py --format`` gives them."""
