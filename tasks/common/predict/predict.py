"""From files to predictions, for every task: in batches, in order, whatever some files are."""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Self, TypeAlias, cast

import torch

from backbones.errors import UserError
from tasks.common.files.input_files import SkippedError, refuse_same
from tasks.common.images.videos import Video, VideoFile
from tasks.common.predict.batches import in_batches
from tasks.common.predict.predictor import Found, Picture, Predictor, Read, Source
from tasks.common.report.advice import without_training
from tasks.common.report.progress import Step

OVERLAYS: Final = "overlays"
USUAL_BATCH: Final = {"cpu": 1, "cuda": 8}  # one image keeps a CPU busy, but not a GPU


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What every task does alike.

    Attributes:
        output: Folder that everything is written below.
        batch_size: Most pictures that go through the network at once.
        every: Of a video each frame so many further on is taken.
        overlays: Whether pictures of what was found are written.
    """

    output: Path
    batch_size: int = 1
    every: int = 1
    overlays: bool = True

    def __post_init__(self) -> None:
        for name in ("batch_size", "every"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"{name} takes an integer of at least 1, got {getattr(self, name)!r}."
                )

    @classmethod
    def of(cls, options: Namespace) -> Self:
        """Return those of a command line, whose ``device`` is decided."""
        return cls(
            output=options.output,
            batch_size=options.batch_size or USUAL_BATCH[options.device],
            every=options.every,
            overlays=options.overlays != "none",
        )


@dataclass(frozen=True, kw_only=True)
class _Unread:
    source: Source
    error: Exception
    pictures: int = 0  # frames that were taken before


@dataclass(frozen=True, kw_only=True)
class _VideoEnd:
    source: Source
    pictures: int  # frames that were taken
    shortfall: str  # what is missing of the file


_Item: TypeAlias = Picture[Read] | _Unread | _VideoEnd


def predict(
    predictor: Predictor[Read, Found], sources: Sequence[Source], options: PredictOptions
) -> Iterator[Step]:
    """Read, find and write; yield a step for each picture, with a line for each file.

    Results are written in the order of the sources, and do not depend on the batches. A file that
    cannot be read is skipped, of a video that ends early the frames before are taken; a
    `SkippedError` after the last file names both. However the loop ends, what was written is
    complete.
    """
    _check_outputs(sources)
    run = _Run(predictor, sources, options)
    try:
        found = in_batches(
            _items(predictor, sources, every=options.every),
            size=options.batch_size,
            key=lambda item: predictor.kind(item.read) if isinstance(item, Picture) else None,
            compute=lambda items: _found(predictor, items),
        )
        for item, result in found:
            yield run.step(item, result)
    finally:
        run.close_video()
        predictor.finish()
    yield Step(text=run.summary())
    run.raise_skipped()


def _check_outputs(sources: Sequence[Source]) -> None:
    """Raise UserError if two files would be written under one name."""
    videos = {source.output.casefold(): source for source in sources if source.is_video}
    refuse_same({source.name: [_video_name(source)] for source in videos.values()})
    for source in sources:
        before = source.output.rpartition("#")[0].casefold()
        if before in videos:
            raise UserError(
                f"files about {source.name!r} may be called as those about a frame of "
                f"{videos[before].name!r}; rename it, or predict it in a call with an --output of "
                "its own."
            )


def _video_name(source: Source) -> str:
    """Return what the overlay of a video is called: ``clip.mp4``, or ``clip.avi.mp4``."""
    return source.output if source.output.lower().endswith(".mp4") else f"{source.output}.mp4"


def _items(
    predictor: Predictor[Read, Found], sources: Sequence[Source], *, every: int
) -> Iterator[_Item[Read]]:
    number = 1
    for source in sources:
        if source.is_video:
            for item in _of_video(predictor, source, every=every, number=number):
                yield item
                number += isinstance(item, Picture)
            continue
        try:
            with without_training():
                read = predictor.read(source.paths)
        except (OSError, ValueError) as error:
            yield _Unread(source=source, error=error)
        else:
            yield Picture(source=source, read=read, number=number)
        number += 1


def _of_video(
    predictor: Predictor[Read, Found], source: Source, *, every: int, number: int
) -> Iterator[_Item[Read]]:
    taken = 0
    try:
        video = Video(source.paths[0])
        for index, frame in video.frames(every=every):
            with without_training():
                read = predictor.read_frame(frame, f"{source.name}#{index:06d}")
            place = {"number": number + taken, "frame": index}
            yield Picture(source=source, read=read, rate=video.rate / every, **place)
            taken += 1
        if not taken:
            raise UserError(f"{source.paths[0]} has no frame that can be read; restore it.")
    except (OSError, ValueError) as error:
        yield _Unread(source=source, error=error, pictures=taken)
    else:
        yield _VideoEnd(source=source, pictures=taken, shortfall=video.shortfall())


def _found(predictor: Predictor[Read, Found], items: Sequence[_Item[Read]]) -> list[Found | None]:
    """Return what is found in pictures of one kind, or None for what is no picture."""
    reads = [item.read for item in items if isinstance(item, Picture)]
    return [*_fitting(predictor, reads)] if reads else [None]


def _fitting(predictor: Predictor[Read, Found], reads: Sequence[Read]) -> list[Found]:
    """Return what is found in some pictures; half of them at a time if a GPU's memory is full."""
    try:
        return list(predictor.find(reads))
    except torch.OutOfMemoryError:
        if len(reads) == 1:
            raise
    half = len(reads) // 2
    return _fitting(predictor, reads[:half]) + _fitting(predictor, reads[half:])


class _Run(Generic[Read, Found]):
    """A prediction under way."""

    def __init__(
        self,
        predictor: Predictor[Read, Found],
        sources: Sequence[Source],
        options: PredictOptions,
    ) -> None:
        self._predictor, self._options, self._sources = predictor, options, sources
        self._expected = {
            source.name: _count(source, every=options.every) if source.is_video else 1
            for source in sources
        }
        self._total, self._done = sum(self._expected.values()), 0
        self._faults: dict[str, Exception] = {}
        self._cut: dict[str, str] = {}  # what is missing of videos, by their names
        self._video: VideoFile | None = None  # the overlay that is being written

    def step(self, item: _Item[Read], found: Found | None) -> Step:
        """Write what was found in a picture, or note the end of a file."""
        if isinstance(item, Picture):
            text = self._picture(item, cast("Found", found))
            self._done += 1
            return self._step("" if item.frame is not None else f"{item.name}: {text}")
        self.close_video()
        name = item.source.name
        self._total += max(item.pictures, 1) - self._expected[name]
        self._done += item.pictures == 0
        if isinstance(item, _Unread):
            self._faults[name] = item.error
            return self._step(f"{name}: skipped, {item.error}")
        every = f", one in {self._options.every}" if self._options.every > 1 else ""
        text = f"{name}: {item.pictures} frames{every}"
        if item.shortfall:
            self._cut[name] = item.shortfall
            text += f"; it {item.shortfall}"
        return self._step(text)

    def close_video(self) -> None:
        """Finish the overlay of a video, if one is being written."""
        if self._video is not None:
            self._video.close()
            self._video = None

    def summary(self) -> str:
        """Return how many files there are results of, and where."""
        total = len(self._sources)
        skipped = f", {len(self._faults)} skipped" if self._faults else ""
        short = f", {len(self._cut)} cut short" if self._cut else ""
        where = f"; results are in {self._options.output}" if len(self._faults) < total else ""
        return f"{total - len(self._faults)} of {total} files predicted{skipped}{short}{where}"

    def raise_skipped(self) -> None:
        """Raise SkippedError if a file was skipped, or a video ends early."""
        if self._faults or self._cut:
            total, output = len(self._sources), self._options.output
            raise SkippedError(self._faults, self._cut, total=total, output=output)

    def _step(self, text: str) -> Step:
        return Step(text=text, done=self._done, total=self._total)

    def _picture(self, picture: Picture[Read], found: Found) -> str:
        text = self._predictor.write(picture, found)
        folder = self._options.output / OVERLAYS
        if not self._options.overlays:
            return text
        if picture.frame is None:
            self._predictor.draw(picture, found, folder / f"{picture.output}.png")
            return text
        if self._video is None:
            self._video = VideoFile(folder / _video_name(picture.source), rate=picture.rate)
        self._video.add(self._predictor.draw_frame(picture, found))
        return text


def _count(source: Source, *, every: int) -> int:
    """Return how many frames a video seems to have; 1 if it is not known."""
    try:
        stated = Video(source.paths[0]).stated
    except (OSError, ValueError):
        return 1
    return max(1, -(-stated // every))
