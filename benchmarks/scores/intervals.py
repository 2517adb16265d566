"""How often intervals hold the true score, and how often equal systems are called different.

``python scripts/benchmark.py scores-intervals [--trials 2000] [--seed 0]`` prints the tables of
docs/comparing.md. Scores are simulated, so that the true ones are known.
"""

import argparse
import math
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from benchmarks.tables import markdown_table
from tasks.common.statistics.interval import LEVEL, intervals
from tasks.common.statistics.paired import Comparison, permutation_test
from tasks.common.statistics.resampling import draw
from tasks.common.statistics.score import Difference, Floats, MeanScore, Score
from tasks.detection.scores.ap_score import ApScore, Ranked
from tasks.detection.scores.coco_match import IOUS

SIZES: Final = (10, 20, 50, 100, 200)
RESAMPLES: Final = 1000
_MANY: Final = 40_000  # images that stand for all there are
_CLASSES: Final = ("a", "b")
Make = Callable[[np.random.Generator, int], Score]


@dataclass(frozen=True, kw_only=True)
class Population:
    """A kind of test set: how one of so many units comes about."""

    title: str
    make: Make
    true: float  # the main score of all there are


def dice_of(generator: np.random.Generator, count: int, *, failures: float) -> Floats:
    """Return Dice of cases: most are good, the skew is to the left, some fail altogether."""
    good = generator.beta(12, 1.6, count)
    bad = np.where(generator.random(count) < 0.5, 0.0, generator.beta(1.5, 3, count))
    return np.where(generator.random(count) < failures, bad, good)


def dice(failures: float) -> Population:
    """Return test sets whose score is a mean of Dice, with that share of failures."""

    def make(generator: np.random.Generator, units: int) -> Score:
        values = dice_of(generator, units, failures=failures)
        return MeanScore(values[:, None], name="dice", classes=["all"])

    mean = (1 - failures) * 12 / 13.6 + failures * 0.5 * 1.5 / 4.5
    return Population(title=f"Dice, {failures:.0%} failures", make=make, true=mean)


def patients() -> Population:
    """Return test sets of patients with 1 to 6 cases each, which are alike, and two classes."""

    def make(generator: np.random.Generator, units: int) -> Score:
        cases = generator.integers(1, 7, units)
        whose = np.repeat(np.arange(units), cases)
        easy = generator.beta(12, 1.6, units)[whose]
        own = generator.beta(12, 1.6, (len(whose), 2))
        values = easy[:, None] * own
        values[generator.random(values.shape) < 0.2] = math.nan  # classes that are not there
        return MeanScore(values, name="dice", classes=_CLASSES, clusters=whose.tolist())

    return Population(title="Dice by patient, 2 classes", make=make, true=(12 / 13.6) ** 2)


def detections(generator: np.random.Generator, images: int, *, systems: int = 1) -> list[ApScore]:
    """Return the answers of equal detectors to the same images, of two classes.

    Images differ in how many boxes they have and how hard they are; what is found, how well and
    with which score depends on that.
    """
    easy = generator.normal(size=images)
    parts: list[list[Ranked]] = [[] for _ in range(systems)]
    for mean in (6, 1.5):  # boxes of an image
        boxes = generator.poisson(mean, images)
        for part in parts:
            part.append(_answers(generator, boxes, easy))
    return [ApScore(part, classes=_CLASSES) for part in parts]


def _answers(generator: np.random.Generator, boxes: np.ndarray, easy: Floats) -> Ranked:
    images = np.arange(len(boxes))
    whose = np.repeat(images, boxes)
    found = whose[generator.random(len(whose)) < 1 / (1 + np.exp(-1.2 - 0.7 * easy[whose]))]
    spread = generator.beta(5, 2.5, len(found)) + 0.05 * easy[found]
    overlap = np.clip(0.4 + 0.6 * spread, 0, 1)
    sure = 1.2 + 0.5 * easy[found] + 3 * (overlap - 0.75) + generator.normal(size=len(found))
    extra = np.repeat(images, generator.poisson(3 * np.exp(-0.3 * easy)))
    scores = np.concatenate([sure, generator.normal(-0.5, 1, len(extra))])
    order = np.argsort(-scores)
    at = np.concatenate([found, extra])[order]
    ious = np.concatenate([overlap, np.zeros(len(extra))])[order]
    right = ious >= IOUS[:, None]
    return Ranked(
        scores=scores[order],
        images=at,
        units=at,
        right=right,
        counted=np.ones_like(right),
        positives=boxes.astype(float),
    )


def ap() -> Population:
    """Return test sets whose score is AP."""
    (every,) = detections(np.random.default_rng(1), _MANY)
    return Population(
        title="AP of detections",
        make=lambda generator, units: detections(generator, units)[0],
        true=float(every.of_all()[0]),
    )


def coverage(
    population: Population, *, units: int, trials: int, seed: int, resamples: int = RESAMPLES
) -> dict[str, float]:
    """Return how often percentile intervals and ours hold the true score."""
    generator = np.random.default_rng([seed, units])
    held: dict[str, int] = dict.fromkeys(("percentile", "ours"), 0)
    for _ in range(trials):
        score = population.make(generator, units)
        weights = draw(units, resamples=resamples, seed=int(generator.integers(2**31)))
        tails = (1 - LEVEL) / 2, (1 + LEVEL) / 2
        found = intervals(score, weights)[score.names[0]]
        low, high = np.nanquantile(score.values(weights)[:, 0], tails)
        held["percentile"] += bool(low <= population.true <= high)
        held["ours"] += found.low <= population.true <= found.high
    return {name: count / trials for name, count in held.items()}


def equal_dice(generator: np.random.Generator, units: int) -> tuple[Score, Score]:
    """Return what two equal segmenters score: the cases are as hard for both."""
    hard = dice_of(generator, units, failures=0.03)
    pair = [
        np.clip(hard + 0.03 * generator.standard_t(4, units) * (1.02 - hard), 0, 1)
        for _ in range(2)
    ]
    first, second = (MeanScore(v[:, None], name="dice", classes=["all"]) for v in pair)
    return first, second


def equal_ap(generator: np.random.Generator, units: int) -> tuple[Score, Score]:
    """Return what two equal detectors score."""
    first, second = detections(generator, units, systems=2)
    return first, second


def no_difference(
    make: Callable[[np.random.Generator, int], tuple[Score, Score]],
    *,
    units: int,
    trials: int,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, float]:
    """Return how often equal systems are told apart by none: interval, test, and our verdict."""
    generator = np.random.default_rng([seed, units, 1])
    said: dict[str, int] = dict.fromkeys(("interval", "permutation", "verdict"), 0)
    for _ in range(trials):
        first, second = make(generator, units)
        own = int(generator.integers(2**31))
        both = Difference(first, second)
        found = intervals(both, draw(units, resamples=resamples, seed=own))[first.names[0]]
        p = float(permutation_test(first, second, permutations=resamples, seed=own)[0])
        compared = Comparison(difference=found, p=p)
        said["interval"] += not found.excludes_zero
        said["permutation"] += p >= 1 - LEVEL
        said["verdict"] += not compared.differs()
    return {name: count / trials for name, count in said.items()}


def main(arguments: Sequence[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="benchmark.py scores-intervals", description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    started = time.monotonic()
    print(f"- command: {shlex.join(['python', *sys.argv])}")
    print(f"- date: {datetime.now().astimezone().date().isoformat()}")
    print(f"- {options.trials} simulated test sets a row, {RESAMPLES} resamples each\n")
    how = {"trials": options.trials, "seed": options.seed}
    rows = []
    for population in (dice(0.0), dice(0.03), patients(), ap()):
        for units in SIZES:
            found = coverage(population, units=units, **how)
            rows.append([population.title, str(units), *(f"{one:.3f}" for one in found.values())])
            print(" ".join(rows[-1]), flush=True)
    print(markdown_table(["score", "units", "percentile", "ours"], rows))
    rows = []
    for title, make in (("Dice, 3% failures", equal_dice), ("AP of detections", equal_ap)):
        for units in SIZES:
            found = no_difference(make, units=units, **how)
            rows.append([title, str(units), *(f"{one:.3f}" for one in found.values())])
            print(" ".join(rows[-1]), flush=True)
    print(markdown_table(["score", "units", "interval", "permutation", "verdict"], rows))
    print(f"\n{time.monotonic() - started:.0f} s")
