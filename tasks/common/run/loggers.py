"""Where a run logs losses, scores and pictures beside ``metrics.csv``, by Lightning's loggers."""

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from backbones.errors import UserError
from tasks.common.report.metrics_csv import TableLogger


def _tensorboard(folder: Path) -> Logger:
    return TensorBoardLogger(folder, name="", version="tensorboard")


def _mlflow(folder: Path) -> Logger:
    return MLFlowLogger(
        experiment_name=_project(folder),
        run_name=folder.name,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or _MLFLOW_FILE,
    )


def _wandb(folder: Path) -> Logger:
    folder.mkdir(parents=True, exist_ok=True)  # it writes elsewhere if it is not there
    return WandbLogger(project=_project(folder), name=folder.name, save_dir=folder)


_MLFLOW_FILE: Final = "sqlite:///mlflow.db"  # MLflow 3 warns of folders of files
_MAKERS: Final[Mapping[str, Callable[[Path], Logger]]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}


def check_logger(name: str) -> None:
    """Raise UserError if the package of a logger is not installed."""
    if name in ("mlflow", "wandb") and find_spec(name) is None:
        raise UserError(
            f"logger={name} needs the package {name}: pip install 'keel-backbones[{name}]', or "
            "leave logger out for TensorBoard."
        )


def loggers(name: str, folder: Path) -> list[Logger]:
    """Return the loggers of a run by the option ``logger``; that of ``metrics.csv`` is first."""
    own = TableLogger(folder, name="", version="")
    return [own, _MAKERS[name](folder)] if name in _MAKERS else [own]


def begin(made: Sequence[Logger], *, config: Mapping[str, Any]) -> None:
    """Give MLflow or W&B the configuration; one that cannot be reached is a UserError."""
    for logger in made:
        if isinstance(logger, MLFlowLogger | WandbLogger):
            try:
                logger.log_hyperparams(dict(config))
            except Exception as error:  # each has errors of its own
                raise UserError(
                    f"{type(logger).__name__} cannot log: {error}. Look at its server and its "
                    "settings (MLFLOW_TRACKING_URI, WANDB_MODE), or leave logger out."
                ) from error


def log_pictures(made: Sequence[Logger], pictures: Sequence[Path], *, epoch: int) -> None:
    """Log those of the pictures of a run that are there, under their names."""
    for path in filter(Path.is_file, pictures):
        for logger in made:
            if isinstance(logger, TensorBoardLogger):
                with Image.open(path) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
                logger.experiment.add_image(path.stem, pixels, epoch, dataformats="HWC")
                logger.experiment.flush()
            elif isinstance(logger, MLFlowLogger):
                logger.experiment.log_artifact(logger.run_id, str(path))
            elif isinstance(logger, WandbLogger):
                logger.log_image(path.stem, [str(path)])


def _project(folder: Path) -> str:
    return f"keel-{folder.absolute().parent.name}"
