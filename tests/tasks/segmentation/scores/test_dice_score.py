"""Dice of a test set, beside the summary of the same cases, and read from a run's table."""

import math

import pytest

from tasks.segmentation.data.cases import ClassTable
from tasks.segmentation.scores.dice_score import read_scored, scored
from tasks.segmentation.scores.metrics import METRICS, summarise, write_case_scores
from tests.backbones.errors import refuses

TABLE = ClassTable(names=("background", "a", "b"), values=((0,), (1,), (2,)))


def row(dice, pixels):
    return {m.name: dice for m in METRICS} | {"truth_pixels": pixels, "predicted_pixels": 5}


CASES = {
    "02": {"a": row(0.8, 10), "b": row(math.nan, 0)},
    "01": {"a": row(0.5, 20), "b": row(0.9, 7)},
    "03": {"a": row(0.0, 30), "b": row(math.nan, 0)},
}


def test_the_score_is_that_of_the_summary():
    found, summary = scored(CASES), summarise(CASES, TABLE)
    assert found.score.names == ("dice", "dice/a", "dice/b")
    expected = [summary[name]["dice"] for name in ("mean", "a", "b")]
    assert found.score.of_all() == pytest.approx(expected)
    assert found.of_what == "3 cases"


@pytest.mark.parametrize("patients", [None, {"01": "x", "02": "y", "03": "x"}])
def test_a_runs_table_has_the_same_cases(tmp_path, patients):
    path = tmp_path / "cases.csv"
    write_case_scores(path, CASES)
    if patients:
        lines = path.read_text().splitlines()
        lines = [f"{line},{patients.get(line.partition(',')[0], 'patient')}" for line in lines]
        path.write_text("\n".join(lines))
    found, expected = read_scored(tmp_path), scored(CASES, patients=patients)
    assert found.score.of_all() == pytest.approx(expected.score.of_all())
    assert found.truth == expected.truth
    assert found.of_what == ("2 patients" if patients else "3 cases")
    assert list(found.truth) == ["01", "02", "03"]


def test_another_table_is_refused(tmp_path):
    (tmp_path / "cases.csv").write_text("case,dice\na,1\n")
    with refuses("cases.csv lacks the columns class, truth_pixels; it is no table of scores by"):
        read_scored(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"table of scores by case .* does not exist"):
        read_scored(tmp_path / "none")
