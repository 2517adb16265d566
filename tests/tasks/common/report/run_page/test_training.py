"""Freezing, weights and time as tables."""

import pytest

from backbones import Conventions
from backbones.weights.load import LoadReport
from tasks.common.report.page.blocks import Bars, Facts, Table, Text
from tasks.common.report.run_page.training import (
    freezing_section,
    read_weights,
    time_section,
    weights_section,
)


def of(section, kind):
    return [block for block in section.blocks if isinstance(block, kind)]


def test_the_audit_is_a_row_per_stage_and_a_column_per_phase(record):
    (table,) = of(freezing_section(record()), Table)
    assert table.headings == [
        *("stage", "tensors", "epochs 1 to 2", "epoch 3 on", "peak lr", "moved"),
    ]
    assert table.rows == [
        ["stem", 5, "frozen", "frozen", None, "none"],
        ["c2", 20, "frozen", "8 train", "0.001", "8 of 8"],
        ["head", 4, "trains", "trains", "0.01", "3 of 4"],  # head.bias did not
    ]


def test_one_phase_is_all_epochs_and_an_audit_that_was_cut_off_says_so(record):
    from tests.tasks.common.report.run_page.conftest import phase, row

    cut = {"phases": [phase(1, row("head", 4, 4))], "compared": None, "report": None}
    section = freezing_section(record(audit=cut))
    (table,) = of(section, Table)
    assert table.headings[2] == "all epochs"
    assert table.rows == [["head", 4, "trains", "0.01", "not compared"]]
    assert "was not finished" in of(section, Facts)[0].facts["result"]


def test_what_the_audit_found_wrong_is_there(record):
    section = freezing_section(record(audit={"failures": ["2 of 5 frozen tensors moved", "b"]}))
    assert of(section, Facts)[0].facts["failures"] == "2 of 5 frozen tensors moved\nb"


def test_the_report_of_the_weights_is_read_as_it_is_printed():
    report = LoadReport(
        source="a b.pth",
        origin="torchvision",
        images="RGB in [0, 1]",
        converted=("BGR to RGB",),
        stages=((5, 5), (19, 20), (25, 25), (25, 25), (0, 0)),
        dropped={"a classifier": 2, "batch counters": 20},
        conventions=Conventions(),
    )
    rows, facts = read_weights(str(report))
    assert rows == [["stem", 5, 5], ["c2", 19, 20], ["c3", 25, 25], ["c4", 25, 25]]
    assert facts == {
        "source": "a b.pth",
        "origin": "torchvision",
        "images": "RGB in [0, 1]",
        "dropped": "2 of a classifier\n20 of batch counters",
        "converted": "BGR to RGB",
    }


def test_weights_are_a_table_with_their_source(record):
    facts, table = weights_section(record()).blocks
    assert table.rows == [["stem", 5, 5], ["c2", 19, 20]]
    assert facts.facts["source"] == "r18.pth"
    assert facts.facts["lineage"] == "r18.pth -> detection (this run)"


@pytest.mark.parametrize("text", ["random initialisation", "timm's resnet18, from a file"])
def test_weights_without_a_table_are_a_text(record, text):
    section = weights_section(record(run={"facts": {"weights": text}}))
    assert section.blocks == [Text(paragraphs=[text])]


def test_time_by_part_leaves_out_what_took_none(record):
    section = time_section(record())
    assert of(section, Bars)[0].values == {"training steps": 120.0, "test": 30.0}
    assert of(section, Facts)[0].facts == {
        "in all": "2 min 30 s",
        "training steps": "80% of the time",
        "images trained on": "240",
        "images a second of training": "2",
        "most memory, process": "2.5 GB",
    }
