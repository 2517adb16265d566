"""pycocotools as the oracle of all scores of detection."""

import contextlib
import copy
import io

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def evaluated(truth, results, *, limit=100, category=None):
    """Return pycocotools's evaluation, of one category if told; `stats` only with its limit."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), "bbox")
        evaluation.params.maxDets = [1, 10, limit]
        if category is not None:
            evaluation.params.catIds = [category]
        evaluation.evaluate()
        evaluation.accumulate()
        if limit == 100:  # with others it would take AP from a limit of 100
            evaluation.summarize()
    return evaluation


@pytest.fixture(scope="session")
def by_pycocotools():
    """Give the function that evaluates results in COCO's format."""
    return evaluated
