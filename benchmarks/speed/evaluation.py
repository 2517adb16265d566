"""COCO's evaluation beside pycocotools: the time from results to the twelve numbers.

Boxes of generated images, sized and spread over classes about as in COCO, and detections near them.
"""

import contextlib
import io
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.harness import Comparison
from tasks.detection.scores.metrics import coco_ap

CLASSES: Final = 80
BOXES: Final = 7.3  # in an image of COCO, on average
CROWDS: Final = 0.012  # of COCO's boxes
CANVAS: Final = (640, 480)
DETECTIONS: Final = 100


def generate(images: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the truth of some images, and the results of a mediocre detector."""
    rng = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        labels, boxes = draw_boxes(rng)
        for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": label}
            entry |= {"area": 0.6 * box[2] * box[3], "iscrowd": int(rng.random() < CROWDS)}
            annotations.append(entry | {"bbox": box})
        near = rng.integers(0, len(boxes), DETECTIONS)
        right = rng.random(DETECTIONS) < 0.5
        guesses = np.where(right, labels[near], draw_labels(rng, DETECTIONS))
        blur = rng.choice([0.03, 0.1, 0.4], (DETECTIONS, 1)) * boxes[near][:, [2, 3, 2, 3]]
        found = (boxes[near] + rng.normal(0, 1, (DETECTIONS, 4)) * blur).round(3)
        found[:, 2:] = found[:, 2:].clip(1)
        scores = np.sort(rng.beta(0.5, 3, DETECTIONS))[::-1].round(5)
        columns = (values.tolist() for values in (guesses, found, scores))
        results += [
            {"image_id": image, "category_id": label, "bbox": box, "score": score}
            for label, box, score in zip(*columns, strict=True)
        ]
    truth = {
        "images": [{"id": image} for image in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": label, "name": str(label)} for label in range(1, CLASSES + 1)],
    }
    return truth, results


def draw_labels(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Return classes in 1..80, of which few are common, (count,)."""
    shares = 1 / np.arange(1, CLASSES + 1) ** 0.8
    return 1 + rng.choice(CLASSES, count, p=shares / shares.sum())


def draw_boxes(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the classes (N,) and the boxes (N, 4), xywh in pixels, of one image."""
    count = 1 + rng.poisson(BOXES - 1)
    logarithms = rng.uniform(np.log(10), np.log(400), (count, 1)) + rng.normal(0, 0.4, (count, 2))
    sides = np.minimum(np.exp(logarithms), CANVAS)
    corners = rng.random((count, 2)) * (CANVAS - sides)
    return draw_labels(rng, count), np.concatenate([corners, sides], axis=1).round(2)


def by_pycocotools(truth: dict[str, Any], results: list[dict[str, Any]]) -> COCOeval:
    """Return pycocotools' evaluation as it is documented; it writes into both arguments."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


class Evaluation:
    """An evaluation of generated results, each time of fresh copies."""

    def __init__(self, evaluate: Callable[..., Any], *, images: int) -> None:
        self.evaluate = evaluate
        self.truth, self.results = generate(images)
        self._fresh: tuple[Any, ...] = ()

    def prepare(self) -> None:
        """Copy what is evaluated, outside the measured time: pycocotools writes into it."""
        annotations = [dict(entry) for entry in self.truth["annotations"]]
        self._fresh = self.truth | {"annotations": annotations}, [dict(r) for r in self.results]

    def __call__(self) -> Any:  # noqa: ANN401 (each system's own)
        """Do it once."""
        return self.evaluate(*self._fresh)


def check_equal(reference: COCOeval, scores: dict[str, float]) -> None:
    """Raise RuntimeError, with both, unless the twelve numbers are equal in every bit."""
    ours = np.nan_to_num(list(scores.values())[:12], nan=-1)
    if not np.array_equal(ours, reference.stats):
        raise RuntimeError(f"pycocotools has {reference.stats.tolist()}, Keel {ours.tolist()}")


def comparison(*, small: bool) -> Comparison:
    """Compare the evaluation of as many images as COCO's validation set has."""
    images = 50 if small else 5000
    systems: dict[str, Callable[..., Any]] = {"pycocotools": by_pycocotools, "Keel": coco_ap}
    return Comparison(
        title=f"COCO evaluation, {images} images x {DETECTIONS} detections",
        systems={name: partial(Evaluation, run, images=images) for name, run in systems.items()},
        check=check_equal,
        memory=False,
    )
