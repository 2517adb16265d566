"""What an export asks of a task: the graph of its network, its images, and how results compare."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor, nn

from tasks.common.export.comparing import Agreement
from tasks.common.export.keel_runtime import Model
from tasks.common.export.run_data import read_run_data
from tasks.common.resume.card import NetworkCard
from tasks.common.share.trained import TrainedNetwork

Image = NDArray[Any]  # (H, W, C), or a volume (D, H, W, C), as stored


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A module that maps images to results, and how a file names what goes in and out."""

    module: nn.Module  # in eval mode
    example: Tensor  # its input
    layout: str  # of the input: NHWC or NCHW
    outputs: tuple[str, ...]
    free: tuple[int, ...]  # the axes of the input that may have any length
    multiple: int  # that sides have inside the network, which pads to it
    # Patterns of names of nodes: the network's own, and among them those nearest to its outputs.
    network: str
    last: str


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for; None leaves it to the format."""

    checkpoint: Path
    format: str
    output: Path
    preprocessing: str | None = None  # a place, `INSIDE` or `OUTSIDE`
    images: int = 20  # most images that results are compared on
    calibration: int = 32  # images
    seed: int = 0  # of the choice of images
    symmetric: bool = False  # 8-bit ranges about 0
    precision: str = "fp16"  # of TensorRT, of `PRECISIONS`


class Subject(ABC):
    """A trained network that is exported; ``network`` is in eval mode, on the CPU, in float32."""

    card: NetworkCard
    tries_empty: bool  # whether an image without anything is tried: a detector must find nothing
    resizes: bool  # whether the graph resizes images that it prepares, to a size that takes float64
    metric: str  # the name of what `score` returns, from 0 to 1

    def __init__(self, model: TrainedNetwork[Any], *, checkpoint: Path) -> None:
        self.card, self.backbone = model.card, model.backbone
        self.network: Any = model.network
        self.checkpoint = checkpoint

    @abstractmethod
    def read_splits(self, cfg: DictConfig) -> Any:  # noqa: ANN401 (the task's)
        """Return the splits of a run by its configuration; UserError if they cannot be read."""

    @cached_property
    def _data(self) -> tuple[Any, str]:
        return read_run_data(self.checkpoint, self.read_splits)

    @property
    def splits(self) -> Any:  # noqa: ANN401 (the task's)
        """What `read_splits` returns for the run that the network is of; None if it cannot."""
        return self._data[0]

    @property
    def noun(self) -> str:
        """What the network is called: the stem of the file's name."""
        return self.card.NAMES.noun

    @property
    def data_note(self) -> str:
        """Why the run's images cannot be reached; empty where they can."""
        return self._data[1]

    @abstractmethod
    def place(self, wanted: str | None) -> str:
        """Return where images are prepared; raise UserError if it cannot be where it is wanted."""

    @abstractmethod
    def graph(self, network: nn.Module, *, place: str) -> Graph:
        """Return the graph of the network, or of one that is equal to it but for its modules."""

    @abstractmethod
    def facts(self, *, place: str) -> dict[str, Any]:
        """Return how images are read and prepared, as `keel_runtime.Model` does it."""

    @abstractmethod
    def results(self) -> dict[str, Any]:
        """Return what the outputs of the whole network mean, and the numbers behind them."""

    @abstractmethod
    def images(self, split: str, count: int, *, seed: int) -> list[Image]:
        """Return images of the run's ``train`` or ``val``, drawn at random; fewer if there are."""

    @abstractmethod
    def compare(self, model: Model, images: Sequence[Image]) -> Agreement:
        """Return how the results of a file and of the network in eager mode agree."""

    @abstractmethod
    def score(self, model: Model) -> float:
        """Return the score of a file on the run's validation split, by the task's own scorer."""

    @abstractmethod
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the smallest, usual and largest input, as ``min``, ``opt`` and ``max``."""
