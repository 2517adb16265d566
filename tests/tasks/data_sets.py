"""Data sets of both tasks that have classes and no files."""

from pathlib import Path

from tasks.detection.data.annotations import Annotations
from tasks.segmentation.data.cases import Case, CaseSet, ClassTable


def boxes(*classes):
    """A detection data set with these classes and no image."""
    return Annotations(
        source=Path("x.json"),
        classes=list(classes),
        category_ids=list(range(1, len(classes) + 1)),
        images=[],
        truth={"images": [], "annotations": [], "categories": []},
        cleaned={},
    )


def masks(*names, exclusive=True):
    """A segmentation data set with these classes, and a case without files."""
    values = tuple((n,) for n in range(len(names)))
    table = ClassTable(names=names, values=values, exclusive=exclusive)
    case = Case(name="a", images=(Path("a.png"),), masks=(Path("b.png"),), patient="a")
    return CaseSet(source="x", cases=(case,), classes=table, axis=2)
