"""What pictures of both tasks share: colours apart, text that fits, panels in rows, whole files."""

from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from tasks.common.report.panels import (
    Panel,
    class_color,
    enlargement,
    font,
    resized,
    save_picture,
    sheet,
    shortened,
)


def gray(height, width, value=90):
    return np.full((height, width, 3), value, np.uint8)


ROW = [[Panel("", gray(9, 90))]]


def pixels(rows=ROW, **options):
    return np.asarray(sheet(rows, **{"side": 100} | options))


def test_twenty_one_classes_have_colours_apart_and_stable():
    colors = [class_color(index) for index in range(21)]
    distances = [np.linalg.norm(np.subtract(*pair)) for pair in combinations(colors, 2)]
    assert colors[0] == (230, 159, 0)  # Okabe & Ito's orange
    assert min(distances) > 30
    assert class_color(21) == colors[0]


def test_an_image_is_resized_as_a_copy_in_three_channels():
    image = np.random.default_rng(0).integers(0, 256, (6, 8), np.uint8)
    same = resized(image, 1)
    np.testing.assert_array_equal(same, np.stack([image] * 3, axis=2))
    same[:] = 0
    assert image.any()
    assert resized(image, enlargement(6, 8)).shape == (480, 640, 3)
    assert resized(gray(640, 20), 0.01).shape == (6, 1, 3)


def test_a_text_that_is_too_wide_loses_its_beginning():
    face, name = font(16), "folder/of/many/letters.png"
    assert shortened(name, 1000, face) == name
    short = shortened(name, 120, face)
    assert short.startswith("...")
    assert name.endswith(short[3:])
    assert 100 < face.getlength(short) <= 120


def test_panels_lie_in_rows_of_equal_columns_below_their_titles():
    first = [Panel("a", gray(50, 100)), Panel("b", gray(80, 60))]
    picture = pixels([first, [Panel("", gray(9, 9))]])
    assert picture.shape == (16 + (24 + 80 + 16) + (9 + 16), 16 + 2 * (100 + 16), 3)
    assert (picture[40:90, 16:116] == 90).all()
    assert (picture[40:120, 132:192] == 90).all()
    assert (picture[136:145, 16:25] == 90).all()
    assert (picture[16:40, 16:30] < 90).any()  # the title
    assert (picture[120:136] == 255).all()


def test_the_title_is_above_all_panels():
    plain, titled = pixels(), pixels(title="Scores")
    assert len(titled) - len(plain) == 56 - 16
    np.testing.assert_array_equal(titled[56:], plain[16:])
    assert (titled[:56] < 90).any()


def test_the_legend_names_each_colour_and_wraps():
    names = {f"class {index}": class_color(index) for index in range(5)}
    picture, plain = pixels(legend=names), pixels()
    np.testing.assert_array_equal(picture[: len(plain)], plain)
    for color in names.values():
        assert (picture == np.array(color)).all(-1).sum() > 100
    rows = np.flatnonzero((picture == np.array(class_color(4))).all(-1).any(1))
    assert rows.min() > len(plain) + 4 * 24  # each on a line of its own in a narrow picture


def test_without_panels_there_is_no_sheet():
    with pytest.raises(ValueError, match=r"samples is empty; expected at least 1; pass some"):
        pixels([])


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.png"
    save_picture(gray(8, 9), path)

    def full_disk(_picture, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="disk full"):
        save_picture(gray(8, 9, 7), path)
    assert list(path.parent.iterdir()) == [path]
    np.testing.assert_array_equal(np.asarray(Image.open(path)), gray(8, 9))
