"""Scores of cases: equal to MONAI's, by hand where a structure is missing, and their summary."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics import (
    ConfusionMatrixMetric,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
)
from scipy import ndimage

from tasks.segmentation.data.cases import IGNORE, ClassTable, Geometry
from tasks.segmentation.scores.metrics import (
    case_scores,
    check_tolerance,
    summarise,
    write_case_scores,
)
from tests.tasks.segmentation.conftest import refuses

EXCLUSIVE = ClassTable(names=("background", "a", "b"), values=((0,), (1,), (2,)))
LAYERED = ClassTable(names=("a", "b"), values=((1,), (2,)), exclusive=False)
ONE = ClassTable(names=("background", "a"), values=((0,), (1,)))
SPACING = (3.0, 0.6, 1.1)


def random_labels(depth, classes, rng):
    """Blobs, and others much like them."""
    fields = ndimage.gaussian_filter(rng.standard_normal((3, depth, 24, 21)), (0, 1, 2, 2))
    others = fields + 0.5 * ndimage.gaussian_filter(rng.standard_normal(fields.shape), (0, 1, 2, 2))
    if classes.exclusive:
        return [each.argmax(axis=0).astype(np.uint8) for each in (fields, others)]
    return [(each[:2] > 0).astype(np.uint8) for each in (fields, others)]


def scored(prediction, truth, classes=ONE, **options):
    where = {"spacing": SPACING, "unit": "mm"}
    where |= {name: options.pop(name) for name in where if name in options}
    place = Geometry(source=Path("x"), axis=None, **where)
    return case_scores(prediction, truth, classes, place, **{"tolerance": 1.5} | options)


def one_class(rows, **options):
    """Score masks that are drawn as rows of one slice."""
    prediction, truth = (np.array([rows_], dtype=np.uint8) for rows_ in rows)
    return scored(prediction, truth, **options)["a"]


# MONAI warns of an argument that it passes to itself.
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("classes", [EXCLUSIVE, LAYERED])
@pytest.mark.parametrize("depth", [1, 9])
@pytest.mark.parametrize("spacing", [SPACING, (1.0, 1.0, 1.0)])
@pytest.mark.parametrize(("seed", "tolerance"), [(0, 1.5), (1, 1.25), (2, 2.5)])
def test_scores_are_those_of_monai(classes, depth, spacing, seed, tolerance):
    prediction, truth = random_labels(depth, classes, np.random.default_rng(seed))
    ours = scored(prediction, truth, classes, spacing=spacing, tolerance=tolerance)
    spacing = spacing if depth > 1 else spacing[1:]
    values = np.reshape((1, 2), (2, 1, 1, 1)) if classes.exclusive else 1
    layers = (labels == values for labels in (prediction, truth))  # (2, D, H, W)
    pair = [torch.from_numpy(each).float()[None] for each in layers]
    flat = pair if depth > 1 else [each[:, :, 0] for each in pair]
    confusion = ConfusionMatrixMetric(metric_name=["precision", "recall"], reduction="mean_batch")
    confusion(*flat)
    options = {"include_background": True, "spacing": spacing}
    theirs = {
        "dice": compute_dice(*flat)[0],
        "iou": compute_iou(*flat)[0],
        "precision": confusion.aggregate()[0],
        "recall": confusion.aggregate()[1],
        "hd95": compute_hausdorff_distance(*flat, percentile=95, **options)[0],
        "nsd": compute_surface_dice(*flat, [tolerance] * 2, **options)[0],
    }
    assert list(ours) == ["a", "b"]
    for index, name in enumerate(ours):
        expected = {metric: value[index].item() for metric, value in theirs.items()}
        expected["predicted_pixels"], expected["truth_pixels"] = (p[0, index].sum() for p in pair)
        found = {metric: ours[name][metric] for metric in expected}
        assert found == pytest.approx(expected, rel=1e-5)
        assert 0.1 < ours[name]["dice"] < 0.95


NAN = math.nan
DIAGONAL = math.hypot(2 * 0.6, 3 * 1.1)


OVERLAPS = ("dice", "iou", "precision", "recall", "nsd")


@pytest.mark.parametrize(
    ("prediction", "truth", "overlaps", "distance"),
    [
        (0, 0, (NAN, NAN, NAN, NAN, NAN), NAN),
        (0, 1, (0, 0, 0, 0, 0), DIAGONAL),
        (1, 0, (0, 0, 0, NAN, 0), DIAGONAL),
        (1, 1, (1, 1, 1, 1, 1), 0),
    ],
)
def test_what_is_not_there_scores_as_the_table_says(prediction, truth, overlaps, distance):
    some = np.eye(2, 3)
    scores = one_class((some * prediction, some * truth))
    found = [scores[name] for name in (*OVERLAPS, "hd95", "predicted_pixels", "truth_pixels")]
    expected = (*overlaps, distance, 2 * prediction, 2 * truth)
    assert found == pytest.approx(expected, nan_ok=True)


def test_a_missed_structure_has_the_distance_of_the_brats_challenge():
    truth = np.zeros((155, 240, 240), dtype=np.uint8)
    truth[0, 0, 0] = 1
    scores = scored(np.zeros_like(truth), truth, spacing=(1.0, 1.0, 1.0))
    assert scores["a"]["hd95"] == pytest.approx(373.128, abs=1e-3)


def test_masks_that_do_not_meet_have_a_distance_and_no_overlap():
    scores = one_class(([[1, 0, 0, 0, 0]], [[0, 0, 0, 1, 1]]))
    assert [scores[name] for name in OVERLAPS] == [0] * 5
    assert scores["hd95"] == pytest.approx(1.1 * 3.95)  # of 3 and 4 pixels


@pytest.mark.parametrize("layered", [False, True])
def test_ignored_pixels_are_in_neither_mask(layered):
    prediction = np.array([[[1, 1, 1, 0, 1]]], dtype=np.uint8)
    truth = np.array([[[1, 1, 0, 1, IGNORE]]], dtype=np.uint8)
    classes = ONE
    if layered:
        classes = ClassTable(names=("a",), values=((1,),), exclusive=False)
        prediction, truth = prediction[None], truth[None]
    scores = scored(prediction, truth, classes)["a"]
    assert (scores["truth_pixels"], scores["predicted_pixels"]) == (3, 3)
    assert scores["dice"] == pytest.approx(2 / 3)
    assert scores["hd95"] == pytest.approx(1.1 * 0.9)  # 0, 0, 1 pixels either way
    scores = scored(prediction, np.full_like(truth, IGNORE), classes)["a"]
    assert math.isnan(scores["dice"])
    assert scores["predicted_pixels"] == 0


VOLUMES = ("volume_error", "volume_error_abs")


@pytest.mark.parametrize(("unit", "pixel"), [("mm", 3.0 * 0.6 * 1.1 / 1000), ("px", 1)])
@pytest.mark.parametrize(("found", "there"), [(5, 8), (8, 5), (7, 0), (0, 7), (4, 4), (0, 0)])
def test_the_volume_error_is_predicted_minus_true_in_ml_or_pixels(unit, pixel, found, there):
    truth, prediction = np.zeros((2, 2, 5, 7), np.uint8)
    truth.flat[:there] = prediction.flat[-found or truth.size :] = 1
    scores = scored(prediction, truth, unit=unit)["a"]
    signed = (found - there) * pixel if found or there else math.nan
    assert [scores[name] for name in VOLUMES] == pytest.approx([signed, abs(signed)], nan_ok=True)


def test_errors_of_opposite_signs_cancel_in_the_mean_of_the_signed_error_only():
    many, few = np.ones((1, 2, 5), np.uint8), np.eye(2, 5, dtype=np.uint8)[None]
    cases = {"a": scored(many, few, unit="px"), "b": scored(few, many, unit="px")}
    summary = summarise(cases, ONE)
    assert [summary["a"][name] for name in VOLUMES] == [0, 8]
    assert [summary["mean"][name] for name in VOLUMES] == [0, 8]


@pytest.mark.parametrize(
    ("classes", "prediction", "truth", "message"),
    [
        (ONE, (1, 4, 4), (1, 4, 5), r"\(1, 4, 4\) and truth \(1, 4, 5\); .* shape \(D, H, W\)\.$"),
        (ONE, (4, 4), (4, 4), r"\(4, 4\) and truth \(4, 4\); .* shape \(D, H, W\)\.$"),
        (ONE, (2, 1, 4, 4), (2, 1, 4, 4), r"expected two of one shape \(D, H, W\)\.$"),
        (LAYERED, (1, 4, 4), (1, 4, 4), r"expected two of one shape \(2, D, H, W\)\.$"),
        (LAYERED, (3, 1, 4, 4), (3, 1, 4, 4), r"expected two of one shape \(2, D, H, W\)\.$"),
    ],
)
def test_labels_that_do_not_fit_are_refused(classes, prediction, truth, message):
    with refuses(message):
        scored(np.zeros(prediction, np.uint8), np.zeros(truth, np.uint8), classes)


def row(dice, hd, truth, predicted):
    return {"dice": dice, "hd95": hd, "truth_pixels": truth, "predicted_pixels": predicted}


SCORES = {
    "one": {"a": row(0.8, 2.0, 10, 11), "b": row(NAN, NAN, 0, 0)},
    "two": {"a": row(0.0, 50.0, 4, 0), "b": row(0.5, 8.0, 5, 5)},
    "three": {"a": row(0.0, 50.0, 0, 3), "b": row(0.7, 3.0, 2, 2)},
    "four": {"a": row(NAN, NAN, 0, 0), "b": row(0.9, 1.0, 9, 9)},
}
SUMMARY = ("dice", "hd95", "n_cases", "n_valid", "n_truth", "missed", "miss_rate", "false_alarms")


def test_a_summary_leaves_out_what_is_nan_and_counts_what_is_missing():
    summary = summarise(SCORES, EXCLUSIVE)
    assert list(summary) == ["a", "b", "mean"]
    of_a = (0.8 / 3, 102 / 3, 4, 3, 2, 1, 0.5, 1)
    mean = ((0.8 / 3 + 0.7) / 2, (34 + 4) / 2, 8, 6, 5, 1, 0.2, 1)
    for key, values in (("a", of_a), ("mean", mean)):
        assert summary[key] == pytest.approx(dict(zip(SUMMARY, values, strict=True)))


def test_a_class_that_is_nowhere_is_nan_and_not_in_the_mean_of_classes():
    nowhere = {name: {**rows, "b": row(NAN, NAN, 0, 0)} for name, rows in SCORES.items()}
    summary = summarise(nowhere, EXCLUSIVE)
    assert math.isnan(summary["b"]["dice"])
    assert math.isnan(summary["b"]["miss_rate"])
    assert summary["b"]["n_valid"] == 0
    assert summary["mean"]["dice"] == summary["a"]["dice"]
    assert summary["mean"]["miss_rate"] == 0.5


def test_a_summary_has_the_metrics_of_its_cases():
    labels = np.ones((1, 3, 3), dtype=np.uint8)
    full = summarise({"x": scored(labels, labels)}, ONE)["mean"]
    quick = summarise({"x": scored(labels, labels, surfaces=False)}, ONE)["mean"]
    assert set(full) - set(quick) == {"hd95", "nsd"}
    assert (full["dice"], full["recall"], full["nsd"], full["hd95"]) == (1, 1, 1, 0)


def test_the_table_has_a_row_for_each_case_and_class_and_empty_cells_for_nan(tmp_path):
    path = tmp_path / "scores" / "cases.csv"
    write_case_scores(path, {**SCORES, 'a "b", c': {"a": row(1 / 3, 1.0, 1234567, 2)}})
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["case"], r["class"]) for r in rows[:3]] == [("one", "a"), ("one", "b"), ("two", "a")]
    assert (rows[1]["dice"], rows[1]["hd95"], rows[1]["truth_pixels"]) == ("", "", "0")
    assert {r["nsd"] for r in rows} == {""}
    assert rows[-1]["case"] == 'a "b", c'
    assert float(rows[-1]["dice"]) == 1 / 3
    assert rows[-1]["truth_pixels"] == "1234567"
    assert [entry.name for entry in path.parent.iterdir()] == ["cases.csv"]


def test_the_table_names_the_patients_where_cases_have_others_than_themselves(tmp_path):
    patients = dict(zip(SCORES, ("p7", "p7", "p8", "p9"), strict=True))
    write_case_scores(tmp_path / "cases.csv", SCORES, patients=patients)
    with (tmp_path / "cases.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["case"], r["patient"], r["class"]) for r in rows] == [
        (case, patients[case], name) for case in SCORES for name in SCORES[case]
    ]


@pytest.mark.parametrize("tolerance", [0, -1, "a", float("nan"), float("inf")])
def test_a_tolerance_is_a_distance(tolerance):
    with refuses("tolerance takes a distance above 0, got"):
        check_tolerance(tolerance)
