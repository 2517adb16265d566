"""What tests of both tasks share: data sets of nothing but classes, and checkpoints of networks."""

from pathlib import Path

import torch

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
    table = ClassTable(
        names=names, values=tuple((n,) for n in range(len(names))), exclusive=exclusive
    )
    case = Case(name="a", images=(Path("a.png"),), masks=(Path("b.png"),), patient="a")
    return CaseSet(source="x", cases=(case,), classes=table, axis=2)


def save(network, card, path):
    """Write a checkpoint as Lightning and our modules do."""
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state, "keel": card.to_dict()}, path)
    return path
