"""Videos that OpenCV writes, read frame by frame, and the other way round."""

import cv2
import numpy as np
import pytest

from tasks.common.images.videos import Video, VideoFile, is_video
from tests.backbones.errors import refuses
from tests.tasks.common.fakes import write_video

LEVELS = [10 * index for index in range(12)]


def levels_of(path):
    """The mean of each frame, by OpenCV alone."""
    capture = cv2.VideoCapture(str(path))
    means = []
    while (frame := capture.read()[1]) is not None:
        means.append(float(frame.mean()))
    return means


@pytest.mark.parametrize(
    ("name", "code"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.MKV", "MJPG")]
)
def test_every_frame_has_its_index_and_its_pixels(tmp_path, name, code):
    video = Video(write_video(tmp_path / name, LEVELS, code=code))
    assert (video.rate, video.stated) == (10, 12)
    for index, pixels in video.frames():
        assert (pixels.shape, pixels.dtype) == ((32, 48, 3), np.uint8)
        assert pixels.mean() == pytest.approx(LEVELS[index], abs=8)
    assert video.passed == 12
    assert video.shortfall() == ""


def test_some_of_the_frames_keep_their_indices(tmp_path):
    video = Video(write_video(tmp_path / "a.avi", LEVELS))
    found = {index: pixels.mean() for index, pixels in video.frames(every=5)}
    assert list(found) == [0, 5, 10]
    assert found[10] == pytest.approx(100, abs=3)
    assert video.shortfall() == ""


def test_colours_are_red_green_blue(tmp_path):
    path = write_video(tmp_path / "a.avi", [(200, 100, 20)] * 2)  # OpenCV's blue, green, red
    (_, pixels), _ = Video(path).frames()
    assert pixels.mean(axis=(0, 1)) == pytest.approx([20, 100, 200], abs=6)


def test_a_file_that_was_cut_off_says_what_is_missing(tmp_path):
    path = write_video(tmp_path / "a.avi", np.random.default_rng(0).integers(0, 255, 60))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    video = Video(path)
    read = sum(1 for _ in video.frames())
    assert 10 < read < 50
    assert video.shortfall() == f"ends after {read} of 60 frames"


def atoms_of(content):
    """The parts of an MP4 file by their names, in order."""
    atoms, place = {}, 0
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        atoms[content[place + 4 : place + 8]] = content[place : place + length]
        place += length
    return atoms


def with_numbers(content, place, numbers):
    packed = b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)
    return content[:place] + packed + content[place + len(packed) :]


def test_a_streamed_mp4_file_that_was_cut_off_says_what_is_missing(tmp_path):
    """Its table of frames is at the front, with places that move by its length."""
    levels = np.random.default_rng(0).integers(0, 255, 60)
    path = write_video(tmp_path / "a.mp4", levels, code="mp4v")
    atoms = atoms_of(path.read_bytes())
    table = atoms.pop(b"moov")
    at = table.index(b"stco") + 12
    count = int.from_bytes(table[at - 4 : at], "big")
    old = [int.from_bytes(table[at + 4 * k : at + 4 * k + 4], "big") for k in range(count)]
    table = with_numbers(table, at, [place + len(table) for place in old])
    content = atoms.pop(b"ftyp") + table + b"".join(atoms.values())
    for part, shortfall in ((1, ""), (2, "ends after {} of 60 frames")):
        path.write_bytes(content[: len(content) // part])
        video = Video(path)
        read = sum(1 for _ in video.frames())
        assert video.shortfall() == shortfall.format(read)


def test_frames_are_turned_by_the_flag_of_the_file(tmp_path):
    """The matrix maps (x, y) to (height - y, x): the left half comes to the top."""
    path = write_video(tmp_path / "a.mp4", [np.repeat([[220, 20]], 24, 1).T] * 3, code="mp4v")
    content = path.read_bytes()
    matrix = [0, 1 << 16, 0, -1 << 16, 0, 0, 32 << 16, 0, 1 << 30]
    path.write_bytes(with_numbers(content, content.index(b"tkhd") + 44, matrix))
    (_, pixels), *_ = Video(path).frames()
    assert pixels.shape == (48, 32, 3)
    assert pixels[:20].mean() == pytest.approx(220, abs=8)
    assert pixels[28:].mean() == pytest.approx(20, abs=8)


@pytest.mark.parametrize("content", [b"", b"no video at all", None])
def test_what_cannot_be_opened_is_refused_by_name(tmp_path, content, capfd):
    path = tmp_path / "a.mp4"
    if content is None:  # the table of an MP4 file is at its end
        content = write_video(path, LEVELS, code="mp4v").read_bytes()[:-700]
    path.write_bytes(content)
    with refuses(r"a\.mp4 cannot be opened as a video \(it is cut off, damaged or"):
        Video(path)
    assert "VIDEOIO" not in capfd.readouterr().err


def test_a_video_is_written_as_it_is_shown(tmp_path):
    video = VideoFile(tmp_path / "new" / "a.mp4", rate=12.5)
    for level in LEVELS:
        video.add(np.full((32, 48, 3), level, np.uint8))
    assert not (tmp_path / "new" / "a.mp4").exists()
    video.close()
    assert levels_of(tmp_path / "new" / "a.mp4") == pytest.approx(LEVELS, abs=8)
    assert Video(tmp_path / "new" / "a.mp4").rate == 12.5
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(("rate", "size"), [(0.01, (2, 2)), (29.97, (33, 45))])
def test_odd_sides_and_rates_are_written(tmp_path, rate, size):
    """FFmpeg's encoder needs even sides, so that a row or a column may be lost."""
    video = VideoFile(tmp_path / "a.mp4", rate=rate)
    for _ in range(3):
        video.add(np.full((*size, 3), 100, np.uint8))
    video.close()
    written = Video(tmp_path / "a.mp4")
    assert written.rate == max(rate, 1)
    assert [frame.shape[0] for _, frame in written.frames()] == [size[0] // 2 * 2] * 3


def test_without_a_picture_no_video_is_written(tmp_path):
    VideoFile(tmp_path / "a.mp4", rate=5).close()
    assert list(tmp_path.iterdir()) == []


def test_where_opencv_writes_no_video_the_way_out_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2.VideoWriter, "isOpened", lambda _: False)
    with refuses(r"cannot write .* as video \(mp4v, 48x32\); give --overlays none"):
        VideoFile(tmp_path / "a.mp4", rate=5).add(np.zeros((32, 48, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_video_is_told_by_its_name(tmp_path):
    names = ["a.mp4", "a.AVI", "a.mov", "a.mkv", "a.webm", "a.png", "mp4"]
    assert [is_video(tmp_path / name) for name in names] == [True] * 5 + [False] * 2
