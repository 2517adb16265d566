"""Runs compared from the command line."""

import json

import numpy as np
import pytest

from tests.scripts.conftest import in_process
from tests.tasks.common.compare.small import detected, segmented, write_run


def test_a_folder_of_runs_becomes_a_table_and_a_page(tmp_path, capsys):
    dice = np.random.default_rng(0).beta(8, 2, 30)
    for name, change in (("first", 0.0), ("second", 0.03)):
        segmented(tmp_path / "runs" / name, np.clip(dice + change, 0, 1))
    in_process("report.py", ["runs", "--against", "runs/second", "--output", "x/c.html"], tmp_path)
    printed = capsys.readouterr().out
    assert "first: worse by 0.0" in printed
    assert printed.endswith("the page is x/c.html\n")
    page = (tmp_path / "x" / "c.html").read_text(encoding="utf-8")
    assert "worse by 0.0" in page
    assert "2 runs of segmentation" in page


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            ["a", "seg"],
            "a is a run of detection, and 'seg' of segmentation; their scores cannot be",
        ),
        (["a", "b", "--against", "c"], "folder 'c' does not exist|'c' does not exist"),
        (["a", "b", "--output", "a"], "--output a is a folder; give a file, such as report.html"),
        (["a", "b", "--against", "."], "--against . holds several runs; give one of them"),
        (["odd", "odd2"], "unknown task 'detecton'; did you mean 'detection'?"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, line, message):
    detected(tmp_path / "a")
    detected(tmp_path / "b")
    segmented(tmp_path / "seg", [0.5, 0.6])
    for name in ("odd", "odd2"):
        write_run(tmp_path / name, target="tasks.detecton.data")
    with pytest.raises(SystemExit, match=message):
        in_process("report.py", line, tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_evaluate_compares_the_results_of_two_detectors(tmp_path, capsys):
    one, other = detected(tmp_path / "a"), detected(tmp_path / "b", keep=3)
    results = [folder / "scored" / "predictions.json" for folder in (one, other)]
    truth = json.loads((one / "scored" / "truth.json").read_text())
    sized = [image | {"width": 640, "height": 640} for image in truth["images"]]
    (tmp_path / "truth.json").write_text(json.dumps(truth | {"images": sized}))
    line = ["--results", results[0], "truth.json", "--against", results[1], "--output=s.json"]
    in_process("evaluate.py", [*line, "--device=cpu"], tmp_path)
    printed = capsys.readouterr().out
    assert "(2000 resamples of 6 images)" in printed.replace("\n", "")
    assert "note: with 6 images, fewer than 20" in printed
    scores = json.loads((tmp_path / "s.json").read_text())
    own = scores["intervals"]["scores"]["ap"]
    assert own["low"] < scores["ap"] < own["high"]
    assert own["score"] == pytest.approx(scores["ap"])
    found = scores["comparison"]["scores"]["ap"]
    assert found["low"] <= found["difference"] <= found["high"]
    assert found["difference"] > 0
    assert found["verdict"] in printed
    with pytest.raises(SystemExit, match="2"):
        in_process("evaluate.py", [*line, "--no-intervals"], tmp_path)
    line = ["--results", results[0], "truth.json", "--against", "."]
    with pytest.raises(
        SystemExit, match=r"^error: --against \. is of another kind, and .* are res"
    ):
        in_process("evaluate.py", line, tmp_path)


def test_of_one_run_its_own_page_is_made_again(tmp_path, capsys):
    detected(tmp_path / "alone")
    in_process("report.py", ["alone"], tmp_path)
    assert capsys.readouterr().out == "one run, from its files alone; the page is report.html\n"
    assert "<h1>alone</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")
