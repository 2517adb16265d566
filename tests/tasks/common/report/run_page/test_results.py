"""The first look, the tables of scores and the curves, from files that a run leaves."""

import pytest

from tasks.common.report.page.blocks import Alerts, Facts, Figures, Mark, Table
from tasks.common.report.run_page.results import (
    curves_section,
    overview,
    read_scores,
    scores_section,
    subtitle,
)


def tables(section):
    return {b.title: (b.headings, b.rows) for b in section.blocks if isinstance(b, Table)}


def test_the_first_section_has_the_main_numbers_and_what_was_trained_on_what(record):
    section = overview(record())
    (figures,) = (b for b in section.blocks if isinstance(b, Figures))
    assert [(f.label, f.value, f.note) for f in figures.figures] == [
        ("AP on test", "0.500", ""),
        ("AP on val", "0.400", ""),
        ("best epoch", "2", ""),
        ("frozen at the start", "stem", "as configured"),
        ("time in all", "2 min 30 s", "2 images a second of training"),
    ]
    facts = {b.title: b.facts for b in section.blocks if isinstance(b, Facts)}
    (alerts,) = (b for b in section.blocks if isinstance(b, Alerts))
    assert alerts.texts == ["two images are alike", "a class is rare"]
    assert list(facts["What was trained on what"]) == ["data", "train", "backbone", "frozen"]
    assert section.intro == ""


def test_the_line_below_the_title(record):
    assert subtitle(record()) == "Faster R-CNN · resnet18 · 2026-11-28 14:16 · finished"


def test_scores_are_by_class_and_the_others_by_split(record):
    assert tables(scores_section(record())) == {
        "By class, test": (["class", "ap"], [["a", 0.75], ["<b>", 0.25], ["all classes", 0.5]]),
        "By class, val": (["class", "ap"], [["a", 0.4], ["<b>", 0.4], ["all classes", 0.4]]),
        "All classes together": (["metric", "test", "val"], [["ap_small", 0.25, None]]),
    }


def test_scores_that_a_segmenter_writes_by_class(record):
    scores = {"cell": {"dice": 0.5, "n": 3}, "mean": {"dice": 0.5, "n": 3}}
    made = record(
        metrics={"scores": scores, "val": {}}, run={"monitor": "val/dice", "score": "Dice"}
    )
    rows = [["cell", 0.5, 3], ["all classes", 0.5, 3]]
    assert tables(scores_section(made)) == {"By class, test": (["class", "dice", "n"], rows)}
    (figures,) = (b for b in overview(made).blocks if isinstance(b, Figures))
    assert figures.figures[0].label == "Dice on test"


def test_names_of_classes_may_have_a_slash():
    assert read_scores({"ap/a/b": 0.5}) == {"a/b": {"ap": 0.5}}


def test_scores_of_the_only_split_are_there_once(record):
    made = record(metrics={"scored split": "val", "scores": {"ap": 0.5}, "val": {"ap": 0.5}})
    assert tables(scores_section(made)) == {
        "All classes together": (["metric", "val"], [["ap", 0.5]])
    }


def test_curves_are_those_that_were_logged_and_the_best_epoch_is_marked(record):
    loss, rate, score = curves_section(record()).blocks
    assert [(line.name, line.x, line.y) for line in loss.lines] == [
        ("train/loss", [1, 2, 3, 4], [2.5, 2.0, 1.5, 1.0])
    ]
    assert [line.name for line in rate.lines] == ["lr"]
    assert [(line.name, line.x, line.y) for line in score.lines] == [
        ("val/ap", [1, 2], [0.25, 0.4])
    ]
    assert score.marks == [Mark(x=2, y=0.4, text="best AP 0.400")]
    assert loss.alt == "loss by step: train/loss from 2.5 to 1."


@pytest.mark.parametrize("best", [None, 7])
def test_a_best_epoch_that_was_not_logged_is_not_marked(record, best):
    charts = curves_section(record(metrics={"best epoch": best})).blocks
    assert [mark for chart in charts for mark in chart.marks] == []


def test_a_long_loss_is_shown_as_logged_and_smoothed(folder):
    from tasks.common.report.run_page.record import RunRecord

    run = folder()
    rows = "".join(f"0,{k},{k % 2},,\n" for k in range(100))
    (run / "metrics.csv").write_text(f"epoch,step,train/loss,lr,val/ap\n{rows}")
    (chart,) = curves_section(RunRecord.read(run)).blocks
    assert [(line.name, line.faint) for line in chart.lines] == [
        ("train/loss", True),
        ("train/loss", False),
    ]
    assert chart.lines[1].y[50] == pytest.approx(0.4)  # of 5 values, two of which are 1
