"""The sections of a run's report that are about a detector's results."""

from collections.abc import Mapping, Sequence
from typing import Final

from tasks.common.report.page.blocks import Block, Section, Text
from tasks.common.report.panels import Image8
from tasks.detection.data.annotations import Annotations
from tasks.detection.data.dataset import DetectionDataset
from tasks.detection.report.charts import (
    confusion_matrix,
    error_table,
    precision_recall,
    score_table,
    size_table,
    threshold_chart,
)
from tasks.detection.report.findings import Findings, find
from tasks.detection.report.gallery import worst_images
from tasks.detection.report.per_class import why_worst
from tasks.detection.scores.metrics import Result

_TITLES: Final = ("Classes", "Score threshold", "Confusion", "Sizes", "Worst images")


def detector_sections(
    split: Annotations,
    results: Mapping[int, Sequence[Result]] | None,
    *,
    name: str,
    limit: int,
    in_channels: int = 3,
) -> list[Section]:
    """Return the sections on the detections of a split, which is called ``name``.

    ``results`` are those of each image by its id, None if it was not scored; ``limit`` detections
    of a class count in an image. Images are read again, as many as are shown.
    """
    if results is None:
        text = f"The best checkpoint was not scored on {name}, so there are no results to show."
        return [Section(title="Results", blocks=[Text(paragraphs=[text])])]
    found = [one for image_id in sorted(results) for one in results[image_id]]
    findings = find(split.truth, found, limit=limit)
    blocks = (
        _classes(findings),
        _threshold(findings),
        _confusion(findings),
        _sizes(findings),
        _images(findings, split, in_channels=in_channels),
    )
    intro = f"On {name}: {len(split.images)} images, {_boxes(findings)} true boxes."
    return [
        Section(title=title, blocks=of_it, intro=intro if title == _TITLES[0] else "")
        for title, of_it in zip(_TITLES, blocks, strict=True)
    ]


def _boxes(findings: Findings) -> int:
    return sum(row.boxes for row in findings.classes)


def _classes(findings: Findings) -> list[Block]:
    why = why_worst(findings.classes, findings.named)
    scores = score_table(findings.classes, limit=findings.limit)
    errors = error_table(findings.classes, findings.named)
    classes = findings.named.classes
    curves = [precision_recall(findings.evaluation, classes, iou=iou) for iou in (0.5, 0.75)]
    return [Text(paragraphs=why), scores, errors, *(curve for curve in curves if curve is not None)]


def _threshold(findings: Findings) -> list[Block]:
    curve = findings.thresholds
    if not len(curve.scores):
        return [Text(paragraphs=["Nothing was detected, so there is no threshold to choose."])]
    if not _boxes(findings):
        text = "There is no true box, so nothing can be found and every detection is false."
        return [Text(paragraphs=[text])]
    if curve.best is None:
        text = (
            "No detection overlaps a true box of its class by 0.5 or more, so no threshold is "
            f"better than another; below, {curve.chosen:g} is used."
        )
        return [Text(paragraphs=[text]), threshold_chart(curve)]
    text = (
        f"F1 weighs precision and recall alike. It is highest, {curve.f1[curve.best]:.3f}, with "
        f"scores of at least {curve.chosen:.3f}: then {curve.precision[curve.best]:.0%} of the "
        f"detections are right and {curve.recall[curve.best]:.0%} of the true boxes are found. "
        "Choose a higher threshold if false detections cost more than missed objects, and a lower "
        f"one otherwise. It was chosen on these images. predict.py --threshold "
        f"{curve.chosen:.3f} draws these detections alone."
    )
    return [Text(paragraphs=[text]), threshold_chart(curve)]


def _confusion(findings: Findings) -> list[Block]:
    named = findings.named
    if not len(named.kinds) and not _boxes(findings):
        return [Text(paragraphs=["There is neither a true box nor a detection to confuse."])]
    text = (
        "A detection is matched with the true box of its class that it overlaps most, by 0.5 or "
        "more, the highest score first; what is left over, with a box of another class. "
        "'Not found' are true boxes without a match, 'nothing there' detections without one."
    )
    return [Text(paragraphs=[text]), confusion_matrix(named)]


def _sizes(findings: Findings) -> list[Block]:
    if not _boxes(findings):
        return [Text(paragraphs=["There is no true box, so there is no AP by size."])]
    return [
        size_table(
            findings.sizes,
            title="By the area of the object, in pixels of the image",
            heading="area",
            note="A box on the border of two ranges counts in both, as COCO has it.",
        ),
        size_table(
            findings.shares,
            title="By the side of the object, as a share of the image's side",
            heading="share",
            note="A side is the root of an area. 5 and 15 % are COCO's limits in an image of "
            "640 x 640 pixels.",
        ),
    ]


def _images(findings: Findings, split: Annotations, *, in_channels: int) -> list[Block]:
    places = {record.image_id: place for place, record in enumerate(split.images)}
    dataset = DetectionDataset(split, in_channels=in_channels)

    def read(image_id: int) -> Image8:
        image: Image8 = dataset[places[image_id]][0].permute(1, 2, 0).numpy()
        return image[..., 0] if image.shape[2] == 1 else image

    if not findings.named.wrongness().any():
        at = f"with a score of at least {findings.named.threshold:.3f}"
        return [Text(paragraphs=[f"No image has an error at IoU 0.5 {at}."])]
    return [worst_images(findings.named, read, lambda one: split.images[places[one]].name)]
