"""The table of what a run logs, ``metrics.csv``."""

import csv
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from tasks.common.files.atomic import replacing


class _Writer(ExperimentWriter):
    """Replaces the table in one step; Lightning's empties it before it adds a column."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open("r", newline="") as file:
            rows = list(csv.DictReader(file))
        with replacing(path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=fieldnames)
            writer.writeheader()
            writer.writerows(rows)


class TableLogger(CSVLogger):
    """Writes ``metrics.csv`` so that a crash while a column is added loses no rows."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:  # noqa: ANN401 (Lightning's signature)
        """The writer of the table."""
        if self._experiment is None:
            Path(self.root_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = _Writer(log_dir=self.log_dir)
        return self._experiment
