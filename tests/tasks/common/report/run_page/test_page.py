"""The page is made again from the folder, whatever is left of it."""

import pytest

from tasks.common.report.page.blocks import Section, Text
from tasks.common.report.run_page.page import run_page, write_run_page
from tasks.common.report.run_page.record import RunRecord
from tests.tasks.common.report.page.parsed import parse
from tests.tasks.common.report.run_page.conftest import FILES

ALL = ["Overview", "Scores", "Curves", "Freezing", "Weights", "Time and memory", "How it was made"]


def titles(run, sections=()):
    return [section.title for section in run_page(run, sections).sections]


def test_a_finished_run_has_every_section(record):
    assert titles(record()) == ALL


def test_what_the_task_shows_comes_behind_the_first_look(record):
    own = Section(title="Confusion", blocks=[Text(paragraphs=["x"])])
    assert titles(record(), [own]) == [ALL[0], "Confusion", *ALL[1:]]


def test_the_same_folder_gives_the_same_file(folder):
    run = folder()
    first = write_run_page(run).read_bytes()
    assert write_run_page(run).read_bytes() == first
    tree = parse(first.decode())
    assert tree.one("h1").text == "run <1>"
    assert "python scripts/train_det.py data=coco" in tree.one("main").text
    assert "README.md" in tree.one("main").text


@pytest.mark.parametrize(
    "without",
    [
        *((name,) for name in (*FILES, "metrics.csv")),
        ("metrics.json", "metrics.csv"),
        (*FILES, "metrics.csv"),
    ],
    ids=" ".join,
)
def test_a_page_is_made_of_what_is_there(folder, without):
    tree = parse(write_run_page(folder(*without)).read_text())
    assert tree.all("section")


def test_a_run_that_was_stopped_says_so(record):
    made = record("metrics.json", run={"ended": "interrupted by SIGTERM"})
    assert titles(made) == [t for t in ALL if t not in ("Scores", "Time and memory")]
    assert run_page(made).sections[0].intro == "This run: interrupted by SIGTERM."


def test_a_run_that_never_ended_says_so(folder):
    made = RunRecord.read(folder("metrics.json", run={"ended": None}))
    assert made.ended == "did not end, or is still running"


def test_what_failed_after_the_training_is_there(record):
    page = run_page(record(metrics={"failed": {"the test": "out of memory"}}))
    alerts = {b.title: b.texts for b in page.sections[0].blocks if hasattr(b, "texts")}
    assert alerts["Failed after the training"] == ["the test: out of memory"]


def test_damaged_files_are_as_missing_ones(folder):
    run = folder()
    for name in FILES:
        (run / name).write_text('{"half": ')
    made = RunRecord.read(run)
    assert (made.run, made.environment, made.metrics, made.audit) == ({}, {}, {}, {})
