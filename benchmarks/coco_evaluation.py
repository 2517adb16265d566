"""COCO's evaluation beside pycocotools: the time from results to the twelve numbers.

    OMP_NUM_THREADS=1 python benchmarks/coco_evaluation.py --images 5000 --detections 100

Boxes of generated images, sized and spread over classes about as in COCO, and detections near them.
Both evaluate the same lists in turn; a number that differs in one bit ends the run.
"""

import argparse
import contextlib
import io
import statistics
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tasks.common.machine import describe
from tasks.detection.coco_eval import evaluate
from tasks.detection.metrics import coco_ap

CLASSES = 80
BOXES = 7.3  # in an image of COCO, on average
CROWDS = 0.012  # of COCO's boxes
CANVAS = (640, 480)


def generate(images: int, detections: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
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
        near = rng.integers(0, len(boxes), detections)
        guesses = np.where(rng.random(detections) < 0.5, labels[near], draw_labels(rng, detections))
        blur = rng.choice([0.03, 0.1, 0.4], (detections, 1)) * boxes[near][:, [2, 3, 2, 3]]
        found = (boxes[near] + rng.normal(0, 1, (detections, 4)) * blur).round(3)
        found[:, 2:] = found[:, 2:].clip(1)
        scores = np.sort(rng.beta(0.5, 3, detections))[::-1].round(5)
        results += [
            {"image_id": image, "category_id": label, "bbox": box, "score": score}
            for label, box, score in zip(
                guesses.tolist(), found.tolist(), scores.tolist(), strict=True
            )
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


def measure(*, images: int, detections: int, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each run by system, measured in turn.

    Args:
        images: How many images; COCO's validation split has 5,000.
        detections: Of each image.
        repeats: Runs of each system.

    Raises:
        RuntimeError: If a number, or one of the arrays it is the mean of, differs in one bit.
    """
    truth, results = generate(images, detections)
    seconds: dict[str, list[float]] = {"pycocotools": [], "Keel": []}
    for _ in range(repeats):
        copied = truth | {"annotations": [dict(entry) for entry in truth["annotations"]]}
        copies = [dict(result) for result in results]
        started = time.perf_counter()
        reference = by_pycocotools(copied, copies)
        seconds["pycocotools"].append(time.perf_counter() - started)
        started = time.perf_counter()
        scores = coco_ap(truth, results)
        seconds["Keel"].append(time.perf_counter() - started)
    ours = evaluate(truth, results)
    same = [
        np.array_equal(np.nan_to_num(list(scores.values())[:12], nan=-1), reference.stats),
        np.array_equal(ours.precision, reference.eval["precision"][..., -1]),
        np.array_equal(ours.recall, reference.eval["recall"]),
    ]
    if not all(same):
        raise RuntimeError(f"equal to pycocotools (numbers, precision, recall): {same}")
    return seconds


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100, help="of each image")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    seconds = measure(**vars(options))
    print(f"{options.images} images x {options.detections} detections; {describe()['processor']}")
    print("\n| system | median s | fastest | slowest | speed-up |\n|---|---|---|---|---|")
    for name, values in seconds.items():
        median = statistics.median(values)
        ratio = statistics.median(seconds["pycocotools"]) / median
        print(f"| {name} | {median:.2f} | {min(values):.2f} | {max(values):.2f} | {ratio:.1f} |")
    print("\nThe 12 numbers, the precisions and the recalls are equal in every bit.")


if __name__ == "__main__":
    main()
