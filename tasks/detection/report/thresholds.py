"""What a higher or lower score threshold does to precision, recall and F1."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from tasks.detection.scores.coco_eval import Matched
from tasks.detection.scores.coco_match import Bools, Floats

USUAL: Final = 0.5  # where no threshold is better than another


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """The U different scores, falling, and what is found with those from each on, at IoU 0.5."""

    scores: Floats  # (U,)
    precision: Floats  # (U,), right among those that count
    recall: Floats  # (U,), right among the true boxes; NaN where there are none
    f1: Floats  # (U,), 2 right / (found + true boxes)

    @property
    def best(self) -> int | None:
        """The place of the highest F1, the highest score of equals; None if nothing is right."""
        return int(self.f1.argmax()) if self.f1.any() else None

    @property
    def chosen(self) -> float:
        """The threshold of the highest F1, or `USUAL`."""
        return USUAL if self.best is None else float(self.scores[self.best])

    def thinned(self, count: int) -> "Thresholds":
        """Return at most ``count`` of them, spread evenly over the range of scores."""
        if len(self.scores) <= count:
            return self
        grid = np.linspace(self.scores[0], self.scores[-1], count)
        places = np.unique(np.searchsorted(-self.scores, -grid).clip(max=len(self.scores) - 1))
        kept = {name: getattr(self, name)[places] for name in ("scores", "precision", "recall")}
        return Thresholds(f1=self.f1[places], **kept)


def thresholds(matched: Matched, *, label: int | None = None) -> Thresholds:
    """Return precision, recall and F1 at every threshold: of all boxes together, or of a class.

    Detections are right or wrong as COCO has it at IoU 0.5, and those of crowd regions left out.
    Matching goes by falling score, so what a threshold leaves out changes no other match.
    """
    right, wrong = matched.right[0, 0], matched.wrong[0, 0]
    counted, found, targets = right | wrong, matched.found, matched.targets
    regular = ~targets.ignored[:, 0]
    if label is not None:
        counted, regular = counted & (found.labels == label), regular & (targets.labels == label)
    return _thresholds(found.scores[counted], right[counted], positives=int(regular.sum()))


def _thresholds(scores: Floats, right: Bools, *, positives: int) -> Thresholds:
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], right[order]
    last = np.flatnonzero(np.diff(scores, append=-np.inf))  # of those with an equal score
    hits = np.cumsum(right)[last].astype(float)
    return Thresholds(
        scores=scores[last],
        precision=hits / (last + 1),
        recall=hits / positives if positives else np.full(len(last), np.nan),
        f1=2 * hits / (last + 1 + positives),
    )
