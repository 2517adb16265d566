"""Truth and detections in a few words, and what the report finds in them."""

from tasks.detection.report.errors import name_errors
from tasks.detection.scores.coco_eval import match

CLASSES = ("cat", "dog")


def truth_of(*rows, images=1, classes=CLASSES, size=(100, 100)):
    """COCO truth of rows (image, label, x, y, width, height, "crowd" or nothing); labels from 0."""
    annotations = [
        {"id": n, "image_id": image, "category_id": 10 * (label + 1), "bbox": list(box)}
        | {"area": box[2] * box[3], "iscrowd": int(bool(crowd))}
        for n, (image, label, *box, crowd) in enumerate(map(_whole, rows), start=1)
    ]
    return {
        "images": [
            {"id": n, "file_name": f"{n}.png", "width": size[0], "height": size[1]}
            for n in range(images)
        ],
        "annotations": annotations,
        "categories": [{"id": 10 * (n + 1), "name": name} for n, name in enumerate(classes)],
    }


def _whole(row):
    return row if len(row) == 7 else (*row, "")


def sized(truth, side=640):
    """The truth with images of this side."""
    images = [{**image, "width": side, "height": side} for image in truth["images"]]
    return {**truth, "images": images}


def found_of(*rows):
    """Detections of rows (image, label, x, y, width, height, score)."""
    return [
        {"image_id": image, "category_id": 10 * (label + 1), "bbox": list(box), "score": score}
        for image, label, *box, score in rows
    ]


def named_of(truth, found, *, threshold=0.0):
    names = [category["name"] for category in truth["categories"]]
    return name_errors(match(truth, found), threshold=threshold, classes=names)
