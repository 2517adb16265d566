"""Runs by test set, with intervals, tests and verdicts."""

import numpy as np
import pytest

from tasks.common.compare.comparison import group_runs, verdict
from tasks.common.compare.page import comparison_page
from tasks.common.compare.runs import find_runs
from tasks.common.compare.table import group_notes, group_rows, group_title, print_groups
from tasks.common.report.page.blocks import Bars, LineChart, Scatter, Table
from tasks.common.run.commands import commands
from tasks.detection.scores.metrics import coco_ap
from tests.backbones.errors import refuses
from tests.tasks.common.compare.small import detected, segmented, write_run
from tests.tasks.detection.scores.test_coco_eval import smooth

DICE = np.random.default_rng(0).beta(8, 2, 40)


def grouped(folder, **options):
    runs = find_runs([folder])
    task = commands()[runs[0].task]
    options = {"kept": task.kept, "main_scores": task.main_scores, "resamples": 300} | options
    if "against" in options:
        options["against"] = next(run for run in runs if run.name == options["against"])
    return group_runs(runs, **options)


def test_segmenters_on_the_same_cases_are_compared_with_the_first(tmp_path):
    better = np.clip(DICE + 0.05, 0, 1)
    for name, dice in (("a", DICE), ("b", better), ("c", DICE[::-1].copy())):
        segmented(tmp_path / name, dice)
    (group,) = grouped(tmp_path)
    assert (group.of_what, group.noun) == ("40 cases", "case")
    assert [entry.main for entry in group.entries] == pytest.approx(
        [DICE.mean(), better.mean(), DICE.mean()]
    )
    a, b, c = (verdict(entry, group) for entry in group.entries)
    assert a == "the others are compared with it"
    assert b.startswith("better by 0.04")
    assert c.startswith("no detectable difference (-0.")
    rows = group_rows(group)
    assert rows["a"][2:] == ["-", "-", "-"]
    assert rows["b"][2] == f"{better.mean() - DICE.mean():+.3f}"
    assert group_title(group) == "Dice on test, 40 cases; 95% intervals; differences from a"
    assert group_notes(group) == []
    turned = grouped(tmp_path, against="b")[0]
    assert [entry.run.name for entry in turned.entries] == ["b", "a", "c"]
    assert verdict(turned.entries[1], turned).startswith("worse by 0.04")


def test_several_tests_count_each_other(tmp_path):
    """p of each alone is just below 5 %."""
    for number in range(4):
        generator = np.random.default_rng(number)
        noise = generator.normal(size=40)
        noise = 0.05 * (noise - noise.mean()) / noise.std()
        segmented(tmp_path / str(number), DICE / 2 + (noise + 0.018 if number else 0))
    (group,) = grouped(tmp_path)
    alone = [entry.difference for entry in group.entries[1:]]
    assert all(one.differs() for one in alone)
    assert [entry.p for entry in group.entries[1:]] == pytest.approx(
        [min(3 * min(one.p for one in alone), 1)] * 3, abs=0.05
    )
    assert "no detectable" in verdict(group.entries[1], group)
    assert [row[-1] for row in group_rows(group).values()][1:] == [
        f"{entry.p:.3f}" for entry in group.entries[1:]
    ]


def test_detectors_keep_their_scores(tmp_path):
    detected(tmp_path / "a")
    detected(tmp_path / "b", keep=2)
    (group,) = grouped(tmp_path)
    truth, results = smooth(0)
    for entry, keep in zip(group.entries, (1, 2), strict=True):
        expected = coco_ap(truth, results[::keep])
        assert entry.main == pytest.approx(expected["ap"])
        assert entry.scores["ap50"] == pytest.approx(expected["ap50"])
    assert group.noun == "image"
    assert "fewer than 20" in group_notes(group)[0]


def test_other_test_sets_and_runs_without_results_are_shown_apart(tmp_path, capsys):
    detected(tmp_path / "a")
    detected(tmp_path / "b", seed=1)
    write_run(tmp_path / "old", scores={"ap": 0.25, "ap50": 0.5, "ap75": 0.1, "ap/cat": 0.25})
    first, second, old = grouped(tmp_path)
    assert second.apart.startswith("the truth of 5 of 6 images is not the same in a and b: '0.png'")
    assert verdict(second.entries[0], second) == "alone"
    assert group_notes(second)[0].startswith("another test set: the truth of")
    assert old.entries[0].scores == {"ap": 0.25, "ap50": 0.5, "ap/cat": 0.25}
    assert verdict(old.entries[0], old) == "no interval: its results by image are not kept"
    assert "these runs keep no results by image" in group_notes(old)[0]
    assert "scored' does not exist" in group_notes(old)[1]
    print_groups([first, second, old])
    printed = capsys.readouterr().out
    assert "old: no interval: its results by image are not kept" in printed
    with refuses("nothing can be compared with old: folder of results by image"):
        grouped(tmp_path, against="old")


def test_runs_of_two_tasks_are_refused(tmp_path):
    detected(tmp_path / "a")
    segmented(tmp_path / "b", DICE)
    with refuses("a is a run of detection, and 'b' of segmentation; their scores cannot be"):
        grouped(tmp_path)


def test_scores_of_the_validation_are_said_to_be_too_high(tmp_path):
    folder = segmented(tmp_path / "a", DICE)
    (folder / "metrics.json").write_text('{"scored split": "val"}')
    segmented(tmp_path / "b", DICE)
    (group,) = grouped(tmp_path)
    assert group_notes(group)[0].startswith("scored on the validation split")


def test_the_page_has_all_of_it(tmp_path):
    segmented(tmp_path / "a", DICE)
    segmented(tmp_path / "longer", np.clip(DICE + 0.05, 0, 1), recipe={"lr": 0.2})
    page = comparison_page(grouped(tmp_path))
    sections = {section.title: section.blocks for section in page.sections}
    assert page.title == "2 runs of segmentation"
    table, bars, by_class, changes = sections["Scores on 40 cases"]
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["a", "longer"]
    assert table.rows[1][-1].startswith("better by 0.04")
    assert isinstance(bars, Bars)
    assert bars.low["a"] < bars.values["a"] < bars.high["a"]
    assert by_class.rows[0][0] == changes.rows[0][0] == "dice/cell"
    assert sections["What differs"][0].rows == [["recipe.lr", "0.1", "0.2"]]
    (minutes,) = sections["Score against size and time"]
    assert isinstance(minutes, Scatter)
    assert [(point.x, point.y) for point in minutes.points] == [
        (1, pytest.approx(DICE.mean())),
        (6, pytest.approx(bars.values["longer"])),
    ]
    score, loss = sections["Curves"]
    assert isinstance(score, LineChart)
    assert [line.y for line in score.lines] == [[0.5, 0.75]] * 2
    assert loss.lines[0].y == [2, 1]
    assert "permutation" in " ".join(sections["How this was computed"][0].paragraphs)
