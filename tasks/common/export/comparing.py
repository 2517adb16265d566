"""Whether two runs of one network find the same: detections matched, masks pixel by pixel."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.common.export.keel_runtime import Detections

LEAST_IOU: Final = 0.99
MOST_SCORE: Final = 1e-3  # difference of scores, and of probabilities
MOST_ALONE: Final = 0.002  # share of detections without an equal: rounding decides a suppression
MOST_AT_LIMIT: Final = 0.05  # share of detections that may be left out at the lowest score kept
LEAST_PIXELS: Final = 0.999  # share of equal pixels

_Boxes = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Figures of a comparison, for the metadata, and why it fails; no reasons if it does not."""

    figures: dict[str, Any]
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the figures on a line."""
        return ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.figures.items()
        )


def compare_detections(
    pairs: Iterable[tuple[Detections, Detections]], *, threshold: float, most: int
) -> Agreement:
    """Compare the detections of images, each by eager mode and by a file.

    Two match if their label is the same, their IoU at least `LEAST_IOU` and their scores at most
    `MOST_SCORE` apart. Where one side alone has a detection whose score is that near to the lowest
    that is kept (the ``threshold``, or the last of ``most``), rounding decides whether it is there:
    it is counted, and no fault up to `MOST_AT_LIMIT` of all, or one of each side; nor are
    `MOST_ALONE` of all, of both sides. Images in which nothing is found compare nothing.
    """
    names = ("detections", "matched", "at the limit", "unmatched")
    total = dict.fromkeys(names, 0)
    overlaps: list[float] = []
    scores: list[float] = []
    images = 0
    for eager, exported in pairs:
        images += 1
        found = match(eager, exported)
        sides = ((eager, {i for i, _ in found}), (exported, {j for _, j in found}))
        total["detections"] += len(eager.scores)
        total["matched"] += len(found)
        for side, used in sides:
            alone = np.setdiff1d(np.arange(len(side.scores)), sorted(used))
            limit = _limit(side.scores, threshold=threshold, most=most)
            near = int((side.scores[alone] <= limit + MOST_SCORE).sum())
            total["at the limit"] += near
            total["unmatched"] += len(alone) - near
        for i, j in found:
            overlaps.append(float(box_iou(eager.boxes[i : i + 1], exported.boxes[j : j + 1])[0, 0]))
            scores.append(float(abs(eager.scores[i] - exported.scores[j])))
    figures = {
        "images": images,
        **total,
        "lowest IoU": min(overlaps, default=None),
        "largest difference of scores": max(scores, default=None),
    }
    return Agreement(
        figures=figures,
        faults=tuple(
            _faults(
                detections=total["detections"],
                at_the_limit=total["at the limit"],
                unmatched=total["unmatched"],
            )
        ),
    )


def _faults(*, detections: int, at_the_limit: int, unmatched: int) -> Iterator[str]:
    if not detections:
        yield (
            "the network finds nothing in these images, so that nothing was compared; train it "
            "longer, or with a lower model.score_threshold"
        )
    if unmatched > 2 * MOST_ALONE * detections:
        yield f"{unmatched} detections have no equal (IoU {LEAST_IOU}, scores {MOST_SCORE})"
    if at_the_limit > max(2, 2 * MOST_AT_LIMIT * detections):
        yield (
            f"{at_the_limit} of the detections of both sides, more than {MOST_AT_LIMIT:.0%}, have "
            f"no equal and a score at the lowest that is kept"
        )


def match(one: Detections, other: Detections) -> list[tuple[int, int]]:
    """Return the pairs (i, j) of equal detections, each used once, best IoU first."""
    overlaps = box_iou(one.boxes, other.boxes)
    near = abs(one.scores[:, None] - other.scores[None]) <= MOST_SCORE
    overlaps[~near | (one.labels[:, None] != other.labels[None])] = 0
    pairs: list[tuple[int, int]] = []
    for place in np.argsort(-overlaps, axis=None, kind="stable"):
        i, j = divmod(int(place), overlaps.shape[1])
        if overlaps[i, j] < LEAST_IOU:
            break
        if all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return pairs


def box_iou(one: _Boxes, other: _Boxes) -> NDArray[np.float64]:
    """Return the IoU (N, M) of boxes (N, 4) and (M, 4), xyxy; 1 for equal ones without area.

    >>> float(box_iou(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0]]))[0, 0].round(4))
    0.3333
    """
    a, b = one[:, None].astype(np.float64), other[None].astype(np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(0).prod(axis=-1)
    areas = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1)
    union = areas - shared
    same: NDArray[np.float64] = (a == b).all(axis=-1).astype(np.float64)
    np.divide(shared, union, out=same, where=union > 0)
    return same


def _limit(scores: NDArray[np.float32], *, threshold: float, most: int) -> float:
    return max(threshold, float(scores.min())) if len(scores) >= most else threshold


Masks = tuple[NDArray[np.uint8], NDArray[np.float32]]  # labels, and the probabilities behind them


def compare_masks(pairs: Iterable[tuple[Masks, Masks]]) -> Agreement:
    """Compare the masks and probabilities of images, each by eager mode and by a file."""
    images, pixels, equal, largest = 0, 0, 0, 0.0
    for (labels, shares), (other_labels, other_shares) in pairs:
        images += 1
        pixels += labels.size
        equal += int((labels == other_labels).sum())
        largest = float(np.maximum(largest, abs(shares - other_shares).max()))  # NaN stays
    share = equal / max(pixels, 1)
    figures = {
        "images": images,
        "share of equal pixels": share,
        "largest difference of probabilities": largest,
    }
    faults = []
    if not share >= LEAST_PIXELS:
        faults.append(f"{share:.4%} of the pixels are equal, expected {LEAST_PIXELS:.1%}")
    if not largest <= MOST_SCORE:
        faults.append(f"probabilities differ by up to {largest:.2g}, expected {MOST_SCORE}")
    return Agreement(figures=figures, faults=tuple(faults))


def generated(
    sizes: Sequence[tuple[int, int]], *, channels: int, seed: int = 0
) -> list[NDArray[np.uint8]]:
    """Return images (H, W, C) of smooth patches of random brightness."""
    random = np.random.default_rng(seed)
    images = []
    for height, width in sizes:
        coarse = random.integers(0, 256, (-(-height // 12), -(-width // 12), channels))
        large = coarse.repeat(12, axis=0).repeat(12, axis=1)[:height, :width]
        noise = random.integers(-8, 9, large.shape)
        images.append((large + noise).clip(0, 255).astype(np.uint8))
    return images
