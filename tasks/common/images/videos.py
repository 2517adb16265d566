"""Video files: frames in, and pictures out as a video."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from backbones.errors import UserError
from tasks.common.files.atomic import replacing
from tasks.common.files.paths import VIDEO_SUFFIXES, existing_file

Frame = NDArray[np.uint8]
"""(H, W, 3), RGB."""

_SLACK: Final = 0.02  # of a video's frames and duration, which files state roughly
_RATE: Final = 25.0  # frames a second where a file does not say


def is_video(path: Path) -> bool:
    """Return whether a file is a video, by its name."""
    return path.name.lower().endswith(VIDEO_SUFFIXES)


class Video:
    """An open video file; a file that cannot be opened as one is a UserError.

    OpenCV turns the frames as the file's rotation flag says.

    Attributes:
        rate: Frames a second.
        stated: How many frames the file says it has, or its duration amounts to; 0 if unknown.
        passed: How many frames have been passed so far.
    """

    def __init__(self, path: Path) -> None:
        existing_file(path, what="video")
        with _silent():
            # An absolute path is no address, and this backend takes no pattern for many images.
            self._capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise UserError(
                f"{path} cannot be opened as a video (it is cut off, damaged or of a kind that "
                "OpenCV does not decode); restore it, or convert it to MP4."
            )
        rate, stated = (
            self._capture.get(key) for key in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)
        )
        self.rate = float(rate) if 0 < rate < 1000 else _RATE
        self.stated = max(0, int(stated))
        self.passed = 0
        self._seconds = 0.0  # when the last frame is shown

    def frames(self, *, every: int = 1) -> Iterator[tuple[int, Frame]]:
        """Yield the index and the pixels of each ``every``-th frame, the first of which is 0."""
        while self._capture.grab():
            index = self.passed
            self._seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if index % every == 0:
                whole, pixels = self._capture.retrieve()
                if not whole:
                    break
                yield index, np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
            self.passed += 1
        self._capture.release()

    def shortfall(self) -> str:
        """Return how much of the file is missing, once its frames are through; empty for nothing.

        Some files state a duration, from which OpenCV counts frames; so both have to be short.
        """
        least = (1 - _SLACK) * self.stated - 1
        if self.passed >= least or self._seconds >= least / self.rate:
            return ""
        return f"ends after {self.passed} of {self.stated} frames"


@contextmanager
def _silent() -> Iterator[None]:
    """Open a file within; what OpenCV and FFmpeg say of a damaged one is left out for our error."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


class VideoFile:
    """A video (MPEG-4, mp4v) that is written picture by picture, all of one size.

    It takes its name when it is closed, and then holds what was added until then. It has ``rate``
    pictures a second, or one: FFmpeg's encoder ends the process at rates near 0.
    """

    def __init__(self, path: Path, *, rate: float) -> None:
        self._path, self._rate = path, max(rate, 1.0)
        self._stack: ExitStack | None = None
        self._writer: cv2.VideoWriter

    def add(self, picture: Frame) -> None:
        """Append a picture; UserError if OpenCV cannot write such videos."""
        if self._stack is None:
            with ExitStack() as stack:
                partial = stack.enter_context(replacing(self._path))
                self._writer = _writer(partial, picture, rate=self._rate)
                stack.callback(self._writer.release)
                self._stack = stack.pop_all()
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file, if a picture was added."""
        if self._stack is not None:
            self._stack.close()
            self._stack = None


def _writer(path: Path, picture: Frame, *, rate: float) -> cv2.VideoWriter:
    height, width = picture.shape[:2]
    code = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path.absolute()), cv2.CAP_FFMPEG, code, rate, (width, height))
    if not writer.isOpened():
        raise UserError(
            f"OpenCV cannot write {path.parent} as video (mp4v, {width}x{height}); give --overlays "
            "none."
        )
    return writer
