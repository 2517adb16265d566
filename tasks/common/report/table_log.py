"""The table of what a run logs, which is whole whatever happens while it is written."""

import csv
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from tasks.common.files.atomic import replacing


class _Writer(ExperimentWriter):
    """Lightning's, which empties the table before it writes it again for a new column."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open("r", newline="") as file:
            rows = list(csv.DictReader(file))
        with replacing(path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=fieldnames)
            writer.writeheader()
            writer.writerows(rows)


class TableLogger(CSVLogger):
    """Writes ``metrics.csv``; a new column does not put the rows before it at risk."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:  # noqa: ANN401 (Lightning's signature)
        """What writes the table."""
        if self._experiment is None:
            Path(self.root_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = _Writer(log_dir=self.log_dir)
        return self._experiment
