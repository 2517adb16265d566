"""The worst images: their order, what is drawn in which colour, and which part is shown."""

import numpy as np
import pytest

from tasks.detection.report.errors import Kind
from tasks.detection.report.gallery import COLORS, SIDE, worst_images
from tests.tasks.detection.report.conftest import found_of, named_of, truth_of

CAT, DOG = 0, 1


def black(_image_id=0, *, height=100, width=100):
    return np.zeros((height, width, 3), np.uint8)


def gallery(truth, found, *, read=black, threshold=0.0, **options):
    named = named_of(truth, found, threshold=threshold)
    return worst_images(named, read, "{}.png".format, **options)


def has(picture, kind):
    return bool((picture == COLORS[kind]).all(-1).any())


def halves(picture):
    """Truth and detections, without the gray between them."""
    return picture[:, :SIDE], picture[:, -SIDE:]


BOXES = truth_of(
    (0, CAT, 10, 10, 20, 20),
    (1, CAT, 10, 10, 20, 20),
    (2, CAT, 10, 10, 20, 20),
    (2, DOG, 60, 60, 20, 20),
    images=4,
)
FOUND = found_of(
    (0, CAT, 10, 10, 20, 20, 0.9),
    (0, CAT, 60, 60, 20, 20, 0.7),  # false
    (1, DOG, 10, 10, 20, 20, 0.8),  # wrong class
    (3, DOG, 10, 10, 20, 20, 0.1),
)


def test_the_worst_image_comes_first_and_an_image_without_errors_does_not_come():
    shown = gallery(BOXES, FOUND, threshold=0.5)
    names = [picture.caption.partition(":")[0] for picture in shown.pictures]
    assert names == ["2.png", "1.png", "0.png"]  # 2, 0.8 and 0.7
    captions = [picture.caption.partition(": ")[2] for picture in shown.pictures]
    assert captions == ["0 found", "0 found", "1 found"]
    assert shown.pictures[1].alt.endswith("of 1.png: 0 found; 1 wrong class")
    assert [picture.badges for picture in shown.pictures] == [
        ("2 missed",),
        ("1 wrong class",),
        ("1 false",),
    ]
    assert "3 of 4 images have errors; here are the 3" in shown.note
    assert len(gallery(BOXES, FOUND, count=1).pictures) == 1


def test_boxes_have_the_colours_of_what_they_are():
    second, first, last = (p.image for p in gallery(BOXES, FOUND, threshold=0.5).pictures)
    (truth, found) = halves(last)
    assert has(truth, Kind.FOUND)
    assert has(found, Kind.FOUND)
    assert has(found, Kind.FALSE)
    assert not has(truth, Kind.FALSE)
    assert has(halves(second)[0], Kind.MISSED)
    assert not halves(second)[1].any()
    assert all(has(half, Kind.WRONG_CLASS) for half in halves(first))


def test_the_colours_of_kinds_are_all_different_and_in_the_legend():
    assert len(set(COLORS.values())) == len(COLORS)
    shown = gallery(BOXES, FOUND)
    assert list(shown.legend) == [
        *("found", "wrong class", "badly placed", "duplicate", "false", "missed")
    ]
    crowded = truth_of((0, CAT, 0, 0, 50, 50, "crowd"), (0, CAT, 60, 60, 9, 9))
    assert any(name.startswith("crowd") for name in gallery(crowded, []).legend)


def test_of_a_large_image_the_part_with_most_errors_is_shown():
    boxes = [(0, CAT, 3000 + 40 * n, 100, 20, 20) for n in range(3)]
    truth = truth_of((0, CAT, 100, 1900, 20, 20), *boxes)

    def read(_image_id):
        image = black(height=2000, width=4000)
        image[90:130, 2990:3110] = 90
        return image

    (picture,) = gallery(truth, [], read=read).pictures
    assert "shown is the part from " in picture.caption
    assert "of 4000 x 2000" in picture.caption
    assert picture.caption.startswith("0.png: 0 found (shown is")
    assert picture.badges == ("4 missed",)
    assert picture.image.shape == (SIDE, 2 * SIDE + 8, 3)
    assert (halves(picture.image)[1] == 90).all(-1).sum() == 40 * 120
    assert has(halves(picture.image)[0], Kind.MISSED)


def test_large_boxes_in_a_large_image_show_the_whole_of_it():
    truth = truth_of((0, CAT, 100, 100, 500, 500))
    (picture,) = gallery(truth, [], read=lambda _: black(height=2000, width=4000)).pictures
    assert "part" not in picture.caption
    assert picture.image.shape == (SIDE // 2, 2 * SIDE + 8, 3)


def test_a_gray_image_is_drawn_in_colour():
    (picture,) = gallery(
        truth_of((0, CAT, 10, 10, 20, 20)), [], read=lambda _: np.zeros((60, 100), np.uint8)
    ).pictures
    assert has(picture.image, Kind.MISSED)


@pytest.mark.parametrize("error", [OSError("disk"), ValueError("damaged")])
def test_an_image_that_cannot_be_read_is_left_out_and_named(error):
    def read(image_id):
        if image_id == 2:
            raise error
        return black()

    shown = gallery(BOXES, FOUND, read=read, threshold=0.5)
    assert len(shown.pictures) == 2
    assert f"could not be read: 2.png ({error})" in shown.note
