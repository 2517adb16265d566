"""What a task adds to a prediction: how a picture is read, what is found in it, what is written."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from tasks.common.images.videos import Frame, is_video

Read = TypeVar("Read")
Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file, or the files of one image, that a prediction is made of."""

    name: str  # in lines and in results
    output: str  # what files about it are called, without their suffix; unique
    paths: tuple[Path, ...]  # one, or one for each group of channels

    @property
    def is_video(self) -> bool:
        """Whether it is a video, by its name."""
        return is_video(self.paths[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture(Generic[Read]):
    """An image, or a frame of a video, that has been read."""

    source: Source
    read: Read
    number: int  # from 1; files that could not be read count
    frame: int | None = None  # its index in the video, from 0; None for an image
    rate: float = 0.0  # frames a second of the video

    @property
    def name(self) -> str:
        """The name in results: ``clip.mp4#000012`` is the frame 12 of ``clip.mp4``."""
        return f"{self.source.name}{self._place}"

    @property
    def output(self) -> str:
        """What files about it are called, without their suffix."""
        return f"{self.source.output}{self._place}"

    @property
    def _place(self) -> str:
        return "" if self.frame is None else f"#{self.frame:06d}"


class Predictor(ABC, Generic[Read, Found]):
    """A task's part of `tasks.common.predict.predict.predict`.

    ``Read`` is a picture that has been read, ``Found`` what the network finds in it.
    """

    @abstractmethod
    def read(self, paths: Sequence[Path]) -> Read:
        """Return the image in the files of a source; OSError and ValueError skip it."""

    @abstractmethod
    def read_frame(self, frame: Frame, name: str) -> Read:
        """Return a frame of a video, (H, W, 3) in RGB, as an image of that name; as `read`."""

    @abstractmethod
    def kind(self, read: Read) -> Hashable:
        """Return what pictures have in common that may go through the network together.

        In a batch of one kind the results of each are those it has alone. None is for a picture
        that goes alone.
        """

    @abstractmethod
    def find(self, reads: Sequence[Read]) -> Sequence[Found]:
        """Return what is found in each of some pictures of one kind."""

    @abstractmethod
    def write(self, picture: Picture[Read], found: Found) -> str:
        """Write results, and return a line about them."""

    @abstractmethod
    def draw(self, picture: Picture[Read], found: Found, path: Path) -> None:
        """Write an image with what was found in it."""

    @abstractmethod
    def draw_frame(self, picture: Picture[Read], found: Found) -> Frame:
        """Return a frame with what was found in it; those of a video have one size."""

    def finish(self) -> None:
        """Write what holds the results of several pictures, of those that were written so far."""
