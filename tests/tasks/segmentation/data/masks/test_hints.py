"""Habits of people who draw masks, one for each hint, and sets that deserve none."""

import numpy as np
import pytest
from PIL import Image

from tasks.common.report.advice import without_training
from tasks.segmentation.data.cases import class_table
from tasks.segmentation.data.check import check_cases
from tasks.segmentation.data.class_table import table_of
from tasks.segmentation.data.layouts.folder import folder_cases
from tasks.segmentation.data.masks.read import read_mask
from tests.tasks.segmentation.conftest import refuses, save, set_of

TABLE = class_table({0: "background", 255: "cell"})


def hints(paths):
    return " / ".join(table_of(None, paths)[1])


@pytest.mark.parametrize(
    "rows",
    [
        [[0, 1, 2], [0, 1, 2]],
        [[0, 255], [0, 0], [255, 255]],
        [[0, 1], [0, 0], [0, 1]],
        [[0, 128, 255], [0, 128], [0, 255]],
        [[0, 85, 170, 255]] * 2,
        [[0] * 40 + [51, 102, 153, 204] + [255] * 40] * 2,  # levels of equal distance are classes
        [[0] * 4 + [40, 128, 200] * 2 + [255] * 4] * 2,  # more than edges have
        [[0, 1], [0, 2], [0, 3]],
        [[0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]],
        [[0, 1], [0, 17], [0, 1, 17]],
        [range(20)] * 2,
    ],
)
def test_usual_masks_deserve_no_hint(masks, rows):
    assert hints(masks(*rows)) == ""


def test_types_that_share_a_value_deserve_no_hint(masks):
    assert hints(masks([0, 1], [0, 1, 2], [0, 0], dtypes=(np.uint8, np.uint16, np.float32))) == ""


@pytest.mark.parametrize("top", [255, 65535])
def test_one_class_of_two_numbers_is_refused(masks, top):
    dtypes = (np.uint8, np.uint16) * 2 + (np.uint8,)
    paths = masks([0, 1], [0, top], [1, 1], [top, top], [0, 0], dtypes=dtypes)
    with refuses(f"2 masks have 0 and 1, .* 2 have 0 and {top}, such") as caught:
        table_of(None, paths)
    said = str(caught.value)
    assert f"data.classes='{{0: background, 1: object, {top}: object}}'" in said
    assert f"'{{0: background, 1: object, {top}: ignore}}' if {top} is to be left" in said
    with without_training(), refuses("save them with the same number if"):
        table_of(None, paths)
    given = {0: "background", 1: "object", top: "object"}
    assert table_of(given, paths)[0].values == ((0,), (1, top))


NEGATIVE = r"the value -1; .*1 masks have negative values, such as .*0\.tif: save what is to be"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 255], [0, 65535]], "1 masks have 0 and 255, .* 0 and 65535, "),
        ([[0, 1], [0, 255], [0, 65535]], r"'\{0: background, 1: object, 255: object, 65535"),
        ([range(n) for n in (4, 7, 8, 2, 3)], r"7 is in .* alone, of 5 .*\. Does each object have"),
        ([[0, 0], [0, 0]], "1 different values.*Every pixel of every mask is 0: are"),
        ([[-1, 0, 1]], rf"{NEGATIVE} ignored as 255, and call it ignore"),
    ],
)
def test_values_that_leave_the_classes_open_are_refused(masks, rows, message):
    with refuses(message):
        table_of(None, masks(*rows))


def test_1_bit_beside_numbers_of_8_is_refused(tmp_path, masks):
    paths = masks([0, 1], [0, 1])
    paths.append(save(tmp_path / "bits.png", np.array([[False, True]])))
    with refuses(r"2 masks have 0 and 1, .*1 have 0 and 255, .*bits\.png"):
        table_of(None, paths)


@pytest.mark.parametrize(
    ("small", "factor", "dtype"),
    [
        ([0, 128, 255], 257, np.uint16),
        ([0, 1, 2], 256, np.uint16),
        ([0, 1, 2, 3], 85, np.uint8),
        ([0, 1, 15], 17, np.uint8),
    ],
)
def test_numbers_that_were_spread_over_more_bits_are_refused(masks, small, factor, dtype):
    large = [value * factor for value in small]
    paths = masks(small, large, small, dtypes=(np.uint8, dtype, np.uint8))
    example = rf"\({small[-1] * factor} and {small[-1]}\), as if spread over more bits"
    with refuses(rf"1 masks, such as .*1\..*, have {factor} times the .*{example}"):
        table_of(None, paths)


EDGES = [
    [0] * 30 + between + [255] * 3
    for between in ([40, 128, 200], [1, 2, 5, 250, 254], [1, 1, 1, 1, 2, 127, 240])
]


@pytest.mark.parametrize(
    ("rows", "dtypes", "said"),
    [
        ([[0, 1, 2, 255]] * 2, (), "255 beside '0', '1', '2' may mark pixels to ignore"),
        ([[0, 1, 2, 255]] * 2, (), "{0: ..., 1: ..., 2: ..., 255: ignore}"),
        ([[0, 1, 255], [0, 1]], (), "255 beside '0', '1' may"),
        ([[0, 1, 65535], [0, 1]], [np.uint16] * 2, "65535 beside '0', '1' may"),
        ([[*range(21), 255]], (), "255 beside"),  # Pascal VOC
        ([[0, 1], [0, 2]], (np.uint8, np.uint16), "different bit depths (1 of uint8, such as"),
        *(([row] * 2, (), "data.threshold=128 makes two levels") for row in EDGES),
        *(([row] * 2, (), "values beside 0 and 255") for row in EDGES),
        ([range(n) for n in (4, 7, 8, 8)], (), "does each object have a number of its own? Then"),
        # Trimaps of pets: 1 is the animal, 2 the background, 3 the border.
        ([[1, 2, 3]] * 2, (), "no mask has the value 0, so the smallest, 1, is taken for backg"),
    ],
)
def test_unusual_masks_have_a_hint(masks, rows, dtypes, said):
    assert said in hints(masks(*rows, dtypes=dtypes))


def test_a_hint_about_results_names_no_option_of_training(masks):
    with without_training():
        assert "data.classes" not in hints(masks([0, 1, 2, 255]))


def save_with_alpha(path, values, alpha):
    """Write LA or RGBA of 8 bits, or 16 in a TIFF."""
    pixels = np.array([np.column_stack([values, alpha])], np.uint8)
    if path.suffix != ".tif":
        return save(path, pixels)
    kind = "rgb" if pixels.shape[-1] == 4 else "minisblack"
    return save(path, pixels.astype(np.uint16), photometric=kind, extrasamples=[2])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_mask_in_the_alpha_channel_is_refused(tmp_path, suffix, channels):
    path = tmp_path / f"a{suffix}"
    stored = path.with_suffix(".png") if suffix == ".webp" else path
    image = save_with_alpha(stored, [[7] * channels] * 4, [0, 255, 255, 0])
    if suffix == ".webp":
        Image.open(image).convert("RGBA").save(path, lossless=True, exact=True)
    for table in (TABLE, class_table({0: "background", 7: "cell"})):
        with refuses("one colour everywhere, and an alpha channel that d"):
            read_mask([path], table, axis=-1)


def test_an_image_with_its_mask_in_the_alpha_channel_is_refused(tmp_path):
    """A gray picture of few levels: without a look at the alpha channel these are the classes."""
    mask = save_with_alpha(tmp_path / "mask.png", [0, 1, 1, 2], [0, 0, 255, 255])
    image = save(tmp_path / "image.png", [[0, 1, 1, 2]])

    def check(classes):
        check_cases(set_of({"a": ((image,), (mask,))}, classes), policy="error")

    with refuses(r"mask\.png is the image itself, with an alpha channel: is"):
        check(class_table({0: "background", 1: "cell", 2: "wall"}))
    with refuses(r"mask\.png is the image itself"):
        check(table_of(None, [], threshold=1)[0])
    assert "1 masks have an alpha channel that differs from the values, such as" in hints([mask])


def test_alpha_that_follows_the_values_is_no_matter(tmp_path):
    """What is drawn on a transparent ground."""
    path = save_with_alpha(tmp_path / "a.png", [0, 1, 2, 0], [0, 255, 255, 0])
    assert hints([path]) == ""


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("a.jpg", "JPEG", r"is a JPEG, which changes .*; for two levels, data\.threshold=128"),
        ("a.png", "JPEG", "is a JPEG, which changes"),
        ("a.webp", "WEBP", "is a lossy WebP, which changes"),
        ("a.tif", "TIFF", "is a JPEG within TIFF, which changes"),
    ],
)
def test_masks_that_were_compressed_with_losses_are_refused(tmp_path, name, kind, said):
    values = np.zeros((16, 16), np.uint8)
    values[4:9] = 1
    options = {"compression": "jpeg"} if kind == "TIFF" else {"format": kind}
    path = save(tmp_path / name, values, **options)
    with refuses(said):
        table_of(None, [path])
    with refuses(said):
        read_mask([path], class_table({0: "background", 1: "cell"}), axis=-1)


def test_a_png_called_jpg_and_files_without_losses_are_masks(tmp_path):
    row = [0] * 64 + [255] * 64
    reversible = {"compression": "jpeg2000", "compressionargs": {"reversible": True}}
    kinds = {"a.tif": reversible, "a.jpg": {"format": "PNG"}, "a.webp": {"lossless": True}}
    for name, options in kinds.items():
        labels, _ = read_mask([save(tmp_path / name, [row] * 64, **options)], TABLE, axis=-1)
        assert labels[0, 0].tolist() == [0] * 64 + [1] * 64


def test_hints_are_notes_of_the_data_set(tmp_path):
    for folder in ("images", "masks"):
        save(tmp_path / folder / "a.png", [[0, 1, 255]])
    (note,) = folder_cases(root=tmp_path).notes
    assert note.startswith("255 beside '0', '1' may mark pixels to ignore")
