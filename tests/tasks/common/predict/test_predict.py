"""Files of every kind through a predictor that finds how bright a picture is."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.common.files.input_files import SkippedError
from tasks.common.images.videos import Video
from tasks.common.predict.predict import PredictOptions, predict
from tasks.common.predict.predictor import Predictor, Source
from tasks.common.report.panels import save_picture
from tests.backbones.errors import refuses
from tests.tasks.common.fakes import write_video


class Brightness(Predictor):
    """Keeps what it is asked to write, and the sizes of the batches."""

    def __init__(self, *, most=99):
        self.written, self.batches, self.finished, self.most = [], [], 0, most

    def read(self, paths):
        with Image.open(paths[0]) as image:
            return np.asarray(image.convert("RGB"))

    def read_frame(self, frame, name):
        if "refused" in name:
            raise ValueError(f"{name} is refused")
        return frame

    def kind(self, read):
        return read.shape

    def find(self, reads):
        if len(reads) > self.most:
            raise torch.OutOfMemoryError
        self.batches.append(len(reads))
        return [round(float(read.mean())) for read in reads]

    def write(self, picture, found):
        self.written.append((picture.number, picture.name, picture.output, found))
        return f"level {found}"

    def draw(self, picture, found, path):
        save_picture(np.full_like(picture.read, found), path)

    def draw_frame(self, picture, found):
        return np.full_like(picture.read, found)

    def finish(self):
        self.finished += 1


@pytest.fixture
def source(tmp_path):
    """Make an image of a gray level, or a video of several, and return it as a source."""

    def make(name, level, size=(48, 32)):
        path = tmp_path / name
        if isinstance(level, list):
            write_video(path, level, code="mp4v" if name.endswith("mp4") else "MJPG")
            return Source(name=name, output=name, paths=(path,))
        Image.new("L", size, level).save(path)
        return Source(name=name, output=path.stem, paths=(path,))

    return make


def run(sources, tmp_path, predictor=None, **options):
    predictor = predictor or Brightness()
    options = PredictOptions(output=tmp_path / "out", **options)
    return predictor, list(predict(predictor, sources, options))


def overlays(tmp_path):
    return sorted(path.name for path in (tmp_path / "out" / "overlays").iterdir())


def texts(steps):
    return [step.text for step in steps if step.text]


def test_images_in_batches_are_written_in_order(source, tmp_path):
    sizes = [(48, 32), (20, 20), (48, 32), (48, 32), (20, 20), (48, 32)]
    sources = [source(f"{n}.png", 10 * n, size) for n, size in enumerate(sizes)]
    for size, batches in ((1, [1] * 6), (2, [2, 2, 2]), (4, [4, 2])):
        predictor, steps = run(sources, tmp_path, batch_size=size)
        assert predictor.written == [(n + 1, f"{n}.png", f"{n}", 10 * n) for n in range(6)]
        assert predictor.batches == batches
        assert [(step.done, step.total) for step in steps[:-1]] == [(n + 1, 6) for n in range(6)]
        assert steps[0].text == "0.png: level 0"
        assert steps[-1].text == f"6 of 6 files predicted; results are in {tmp_path / 'out'}"
    assert overlays(tmp_path) == [f"{n}.png" for n in range(6)]


def test_a_damaged_file_within_a_batch_skips_itself_alone(source, tmp_path):
    sources = [source(f"{n}.png", 10 * n) for n in range(5)]
    sources[2].paths[0].write_bytes(b"no image")
    predictor, steps = Brightness(), []
    with pytest.raises(SkippedError, match=r"^1 of 5 files were skipped: '2.png'; everything else"):
        steps.extend(predict(predictor, sources, PredictOptions(output=tmp_path, batch_size=4)))
    assert [entry[:2] for entry in predictor.written] == [
        (1, "0.png"), (2, "1.png"), (4, "3.png"), (5, "4.png")
    ]  # fmt: skip
    assert predictor.batches == [4]
    assert steps[2].text.startswith("2.png: skipped, cannot identify image file")
    assert [step.done for step in steps[:-1]] == [1, 2, 3, 4, 5]
    assert steps[-1].text.startswith("4 of 5 files predicted, 1 skipped; results are in ")
    assert predictor.finished == 1


def test_a_batch_that_fills_the_memory_is_halved(source, tmp_path):
    sources = [source(f"{n}.png", n) for n in range(5)]
    predictor, _ = run(sources, tmp_path, Brightness(most=2), batch_size=5)
    assert predictor.batches == [2, 1, 2]
    assert [entry[-1] for entry in predictor.written] == [0, 1, 2, 3, 4]
    with pytest.raises(torch.OutOfMemoryError):
        run(sources, tmp_path, Brightness(most=0))


def test_a_video_is_predicted_frame_by_frame(source, tmp_path):
    sources = [source("a.png", 7), source("v.avi", [10, 20, 30, 40, 50]), source("z.png", 9)]
    predictor, steps = run(sources, tmp_path, batch_size=2, every=2)
    names = ["a.png", "v.avi#000000", "v.avi#000002", "v.avi#000004", "z.png"]
    assert [entry[1] for entry in predictor.written] == names
    assert [entry[0] for entry in predictor.written] == [1, 2, 3, 4, 5]
    assert predictor.written[2][2] == "v.avi#000002"
    assert [entry[-1] for entry in predictor.written[1:4]] == pytest.approx([10, 30, 50], abs=3)
    assert texts(steps)[1] == "v.avi: 3 frames, one in 2"
    assert (steps[-2].done, steps[-2].total) == (5, 5)
    assert {step.total for step in steps[:-1]} == {5}
    assert overlays(tmp_path) == ["a.png", "v.avi.mp4", "z.png"]
    overlay = Video(tmp_path / "out" / "overlays" / "v.avi.mp4")
    assert overlay.rate == 5
    found = [frame.mean() for _, frame in overlay.frames()]
    assert found == pytest.approx([10, 30, 50], abs=8)


def test_a_video_that_was_cut_off_ends_with_a_note(source, tmp_path):
    path = source("v.avi", [7 * n % 255 for n in range(60)]).paths[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sources = [Source(name="v.avi", output="v.avi", paths=(path,)), source("z.png", 9)]
    predictor, steps = Brightness(), []
    with pytest.raises(SkippedError, match=r"^1 of 2 files are cut short: 'v.avi' ends after \d+ "):
        steps.extend(predict(predictor, sources, PredictOptions(output=tmp_path / "out")))
    read = len(predictor.written) - 1
    assert f"v.avi: {read} frames; it ends after {read} of 60 frames" in texts(steps)
    assert texts(steps)[-1].startswith("2 of 2 files predicted, 1 cut short")
    assert (steps[-2].done, steps[-2].total) == (read + 1, read + 1)
    assert sum(1 for _ in Video(tmp_path / "out/overlays/v.avi.mp4").frames()) == read


@pytest.mark.parametrize("name", ["v.mp4", "refused.mp4"])
def test_a_video_that_cannot_be_read_is_skipped(source, tmp_path, name):
    video = source(name, [10, 20])
    if name == "v.mp4":
        video.paths[0].write_bytes(b"no video")
    predictor = Brightness()
    with pytest.raises(SkippedError, match=rf"^1 of 2 files were skipped: '{name}'"):
        run([video, source("z.png", 9)], tmp_path, predictor)
    assert [entry[:2] for entry in predictor.written] == [(1, "z.png")]
    assert overlays(tmp_path) == ["z.png"]


def test_without_overlays_none_is_drawn(source, tmp_path):
    run([source("a.png", 7), source("v.avi", [10, 20])], tmp_path, overlays=False)
    assert not (tmp_path / "out").exists()


def test_a_loop_that_is_left_keeps_the_video_until_then(source, tmp_path):
    steps = predict(
        predictor := Brightness(),
        [source("v.avi", [10, 20, 30, 40])],
        PredictOptions(output=tmp_path / "out"),
    )
    next(steps), next(steps)
    steps.close()
    assert sum(1 for _ in Video(tmp_path / "out/overlays/v.avi.mp4").frames()) == 2
    assert predictor.finished == 1


def named(*names):
    return [
        Source(name=name, output=name.removesuffix(".png"), paths=(Path(name),)) for name in names
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["v.avi", "V.AVI.mp4"], "of 'v.avi' and 'V.AVI.mp4', would be called 'V.AVI.mp4'"),
        (["v.avi", "V.avi#000003.png"], "files about 'V.avi#000003.png' may be called as those ab"),
    ],
)
def test_names_that_would_meet_in_the_output_are_refused(names, message, tmp_path):
    with refuses(message):
        run(named(*names), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["batch_size", "every"])
def test_numbers_below_one_are_refused(name, tmp_path):
    with refuses(f"{name} takes an integer of at least 1, got 0"):
        PredictOptions(output=tmp_path, **{name: 0})


@pytest.mark.parametrize(
    ("device", "given", "expected"), [("cpu", None, 1), ("cuda", None, 8), ("cuda", 3, 3)]
)
def test_a_gpu_gets_larger_batches_by_itself(device, given, expected, tmp_path):
    line = {"output": tmp_path, "every": 2, "batch_size": given, "device": device}
    options = PredictOptions.of(Namespace(**line, overlays="none"))
    assert options == PredictOptions(output=tmp_path, every=2, batch_size=expected, overlays=False)
    assert PredictOptions.of(Namespace(**line, overlays=None)).overlays
