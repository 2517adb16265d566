"""The table of what a run logs."""

import csv
from pathlib import Path

import pytest

from tasks.common.report.metrics_csv import TableLogger


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_a_new_column_keeps_the_rows_before_it(tmp_path):
    log = TableLogger(tmp_path, name="", version="")
    log.log_metrics({"train/loss": 0.5}, step=0)
    log.save()
    log.log_metrics({"test/dice": 0.25}, step=1)
    log.save()
    before = {"step": "0", "train/loss": "0.5"}
    assert rows(tmp_path) == [before, {"step": "1", "test/dice": "0.25"}]


def test_a_disk_that_is_full_leaves_the_table_as_it_was(tmp_path, monkeypatch):
    """Lightning's own empties the file first."""
    log = TableLogger(tmp_path, name="", version="")
    log.log_metrics({"train/loss": 0.5}, step=0)
    log.save()
    log.log_metrics({"test/dice": 0.25}, step=1)

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(csv.DictWriter, "writeheader", full)
    with pytest.raises(OSError, match="No space left"):
        log.save()
    assert rows(tmp_path) == [{"step": "0", "train/loss": "0.5"}]
    assert [path.name for path in Path(tmp_path).iterdir()] == ["metrics.csv"]
