"""The images that a detector gets most wrong: truth beside detections, errors in colour."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from tasks.common.report.page.blocks import Gallery, Picture
from tasks.common.report.panels import PAPER, Image8, beside, class_color
from tasks.detection.report.errors import ERRORS, Kind, Named
from tasks.detection.scores.coco_match import Bools, Floats, Ints
from tasks.detection.scores.pictures import BoxMark, annotated

SIDE: Final = 560  # pixels of the longer side of each of the two pictures
MOST: Final = 12  # images that are shown
_SEEN: Final = 24  # pixels that a box with an error should have; else only a part is shown
_FEW: Final = 12  # boxes of an image up to which those found have captions too

Window = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels of the image."""


COLORS: Final = {
    Kind.FOUND: class_color(2),  # bluish green
    Kind.MISSED: class_color(5),  # vermilion
    Kind.FALSE: class_color(6),  # reddish purple
    Kind.WRONG_CLASS: class_color(4),  # blue
    Kind.BADLY_PLACED: class_color(3),  # yellow
    Kind.DUPLICATE: class_color(1),  # sky blue
    Kind.IGNORED: PAPER,
}


class _Boxes(NamedTuple):
    """Boxes of an image, of the truth or of the detector."""

    boxes: Floats  # (B, 4), xyxy
    kinds: Ints  # (B,)
    captions: Sequence[str]


def worst_images(
    named: Named,
    read: Callable[[int], Image8],
    names: Callable[[int], str],
    *,
    count: int = MOST,
) -> Gallery:
    """Return the images of the largest `Named.wrongness`, the largest first; equals as they come.

    ``read`` returns the pixels, (H, W, 3) or (H, W), of the image with an id, ``names`` its file's
    name. An image that cannot be read any more is left out, and the note says so. Where errors
    would be smaller than 24 pixels, the part of the image with most of them is shown.
    """
    weights = named.wrongness()
    wrong = np.argsort(-weights, kind="stable")[: np.count_nonzero(weights)]
    pictures: list[Picture] = []
    lost: list[str] = []
    for place in wrong[:count].tolist():
        image_id = named.image_ids[place]
        try:
            image = read(image_id)
        except (OSError, ValueError) as error:
            lost.append(f"{names(image_id)} ({error})")
            continue
        pictures.append(_picture(named, place, image, names(image_id)))
    note = (
        f"{len(wrong)} of {len(named.image_ids)} images have errors; here are the {len(pictures)} "
        "with the heaviest. A missed box weighs 1, every other error the score of its detection. "
        f"Truth is on the left, detections with a score of at least {named.threshold:.3f} on the "
        "right; on the left a box has the colour of what became of it."
    )
    if lost:
        note += f" Not shown, because they could not be read: {'; '.join(lost)}."
    legend = {kind.text: COLORS[kind] for kind in (Kind.FOUND, *ERRORS)}
    if (named.true_kinds == Kind.IGNORED).any():
        legend["crowd region, counts neither way"] = COLORS[Kind.IGNORED]
    return Gallery(title="Worst images first", pictures=pictures, note=note, legend=legend)


def _picture(named: Named, place: int, image: Image8, name: str) -> Picture:
    truth, found = _truth(named, place), _found(named, place)
    kinds = [*truth.kinds[truth.kinds == Kind.MISSED], *found.kinds]
    counts = {kind: kinds.count(kind) for kind in (Kind.FOUND, *ERRORS)}
    errors = [f"{count} {kind.text}" for kind, count in counts.items() if count and kind in ERRORS]
    caption = f"{name}: {counts[Kind.FOUND]} found"
    whole = (0, 0, image.shape[1], image.shape[0])
    part = _window(image.shape[:2], truth, found)
    if part != whole:
        x1, y1, x2, y2 = part
        caption += f" (shown is the part from {x1}, {y1} to {x2}, {y2} of {whole[2]} x {whole[3]})"
        image = np.ascontiguousarray(image[y1:y2, x1:x2])
    few = len(truth.kinds) + len(found.kinds) <= 2 * _FEW
    scale = SIDE / max(image.shape[:2])
    panels = [annotated(image, _marks(side, part, few=few), scale) for side in (truth, found)]
    alt = f"Truth on the left and detections on the right of {caption}; {', '.join(errors)}"
    return Picture(image=beside(panels), caption=caption, alt=alt, badges=tuple(errors))


def _truth(named: Named, place: int) -> _Boxes:
    rows = np.flatnonzero(named.true_images == place)
    names = [named.classes[label] for label in named.true_labels[rows]]
    return _Boxes(_corners(named.true_boxes[rows]), named.true_kinds[rows], names)


def _found(named: Named, place: int) -> _Boxes:
    rows = np.flatnonzero((named.images == place) & (named.kinds != Kind.IGNORED))
    labels, scores = named.labels[rows].tolist(), named.scores[rows].tolist()
    names = [f"{named.classes[n]} {score:.2f}" for n, score in zip(labels, scores, strict=True)]
    return _Boxes(_corners(named.boxes[rows]), named.kinds[rows], names)


def _corners(boxes: Floats) -> Floats:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _marks(boxes: _Boxes, part: Window, *, few: bool) -> list[BoxMark]:
    """Return the boxes that the part has something of, errors over those found."""
    x1, y1, x2, y2 = part
    low, high = boxes.boxes[:, :2], boxes.boxes[:, 2:]
    inside: Bools = np.all((high > (x1, y1)) & (low < (x2, y2)), axis=1)
    order = np.argsort(boxes.kinds != Kind.FOUND, kind="stable")
    marks = []
    for row in order[inside[order]].tolist():
        kind = Kind(int(boxes.kinds[row]))
        caption = "crowd" if kind is Kind.IGNORED else boxes.captions[row]
        if kind is Kind.FOUND and not few:
            caption = ""
        box = (boxes.boxes[row] - (x1, y1, x1, y1)).tolist()
        dashed = kind in (Kind.IGNORED, Kind.MISSED)
        marks.append(BoxMark(box, COLORS[kind], caption, dashed=dashed))
    return marks


def _window(size: tuple[int, ...], truth: _Boxes, found: _Boxes) -> Window:
    """Return the whole image, or its part with most errors if they would be too small to see."""
    height, width = size
    wrong: Bools = truth.kinds == Kind.MISSED
    boxes = np.concatenate([truth.boxes[wrong], found.boxes[found.kinds != Kind.FOUND]])
    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    side = int(max(SIDE, SIDE * float(np.median(sides)) / _SEEN))
    if side >= max(height, width):
        return 0, 0, width, height
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    most = np.maximum((width - side, height - side), 0)
    corners = np.clip(centres - side / 2, 0, most).astype(int)  # (E, 2), of a part around each
    ends = np.minimum(corners + side, (width, height))
    within = (centres >= corners[:, None]) & (centres < ends[:, None])  # (parts, E, 2)
    best = int(within.all(2).sum(1).argmax())
    (x1, y1), (x2, y2) = corners[best].tolist(), ends[best].tolist()
    return x1, y1, x2, y2
