from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from tasks.common.images.flat import read_flat
from tasks.common.report.advice import without_training
from tasks.segmentation.data.case_properties import mask_notes
from tasks.segmentation.data.cases import class_table
from tasks.segmentation.data.check import check_cases
from tasks.segmentation.data.class_table import table_of
from tasks.segmentation.data.masks.palettes import palettes_of
from tasks.segmentation.data.masks.read import read_mask
from tasks.segmentation.scores.evaluate import evaluate_masks
from tests.tasks.segmentation.conftest import refuses, save, set_of

RED, GREEN, BLACK, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 0), (255, 255, 255)
TABLE = class_table({0: "background", 1: "cell", 2: "wall", 9: "wall"})


def drawn(path, palette=(BLACK, RED), values=(0, 1), **options):
    """Write a palette file of one row."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".tif":
        return save(path, [values], **tiff_palette(palette))
    image = Image.new("P", (len(values), 1))
    image.putpalette([channel for colour in palette for channel in colour])
    image.putdata(values)
    image.save(path, **options)
    return path


def turned(path):
    """Write the colours of `drawn` with the other number for each."""
    return drawn(path, (RED, BLACK), (1, 0))


def tiff_palette(palette, factor=257):
    table = np.zeros((3, 256), np.uint16)
    table[:, : len(palette)] = np.array(palette, np.uint16).T * factor
    return {"photometric": "palette", "colormap": table, "metadata": None}


def labels_of(path):
    return read_mask([path], TABLE, axis=-1)[0].ravel().tolist()


@pytest.fixture
def check(tmp_path):
    """Compare the palettes of masks, each with an image of its own."""

    def make(*masks, classes=TABLE, policy="error"):
        files = {}
        for number, paths in enumerate(masks):
            paths = paths if isinstance(paths, tuple) else (paths,)
            with Image.open(paths[0]) as mask:
                pixels = np.full(mask.size[::-1], number, np.uint8)
            files[str(number)] = (save(tmp_path / f"image{number}.png", pixels),), paths
        return check_cases(set_of(files, classes), policy=policy)

    return make


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_the_palette_of_each_kind_of_file_is_read(tmp_path, suffix):
    path = drawn(tmp_path / f"a{suffix}", [BLACK, RED, GREEN], [0, 2, 2])
    (used,) = palettes_of(path, read_flat(path, stored=True))
    assert used.palette[:3] == ("#000000", "#ff0000", "#00ff00")
    assert (used.place, used.indices) == (str(path), (0, 2))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("policy", ["error", "skip"])
def test_an_index_of_two_colours_is_refused(tmp_path, check, suffix, policy):
    first = drawn(tmp_path / f"a{suffix}", [BLACK, RED, GREEN], [0, 1, 2])
    other = drawn(tmp_path / f"b{suffix}", [GREEN, RED, BLACK], [2, 1, 0])
    with refuses("the palettes of two masks differ: index 0 is") as caught:
        check(first, other, policy=policy)
    assert f"#00ff00 in {other}, but #000000 in {first}" in str(caught.value)


def test_a_colour_of_two_indices_is_refused(tmp_path, check):
    """Each file has the indices that it needs, in the order in which they occur."""
    first = drawn(tmp_path / "a.png")
    other = drawn(tmp_path / "b.png", [BLACK, GREEN, RED], [0, 2, 2])
    with refuses(r"the colour #ff0000 is index 2 in .*b\.png, but index 1"):
        check(first, other)


@pytest.mark.parametrize(
    ("palettes", "indices"),
    [
        (([BLACK, RED], [BLACK, RED, BLACK, GREEN]), ([0, 1], [0, 1])),  # entries without a use
        (([BLACK, RED, RED],) * 2, ([0, 1], [0, 2])),  # a colour that is twice in one table
        # A table of two colours, and 9 beside it; other tools fill the table up with black.
        (([BLACK, RED], [BLACK, RED, *[BLACK] * 254]), ([0, 1], [0, 1, 9])),
    ],
)
def test_what_is_no_difference_of_palettes(tmp_path, check, palettes, indices):
    pairs = enumerate(zip(palettes, indices, strict=True))
    first, other = (drawn(tmp_path / f"{n}.png", *pair) for n, pair in pairs)
    check(first, other)
    check(other, first)


def test_classes_with_files_of_their_own_may_have_colours_of_their_own(tmp_path, check):
    cell, odd = drawn(tmp_path / "cell.png"), turned(tmp_path / "odd.png")
    wall = drawn(tmp_path / "wall.png", [BLACK, GREEN])
    blue = drawn(tmp_path / "blue.png", [BLACK, (0, 0, 255)])
    table = replace(TABLE, names=("cell", "wall"), values=((1,), (1,)), exclusive=False)
    check((cell, wall), (blue, wall), classes=table)  # all but 0 is the class
    with refuses("the palettes of two masks differ: index 0 is #ff0000 in"):
        check((cell, wall), (odd, wall), classes=table)
    empty = drawn(tmp_path / "empty.png", [RED, BLACK], [1, 1])
    with refuses(r"colour #000000 is index 1 in .*empty\.png, but index 0"):
        check((cell, wall), (empty, wall), classes=table)


def test_palettes_beside_gray_are_told(tmp_path, check):
    (said,) = mask_notes(check(drawn(tmp_path / "a.png"), save(tmp_path / "b.png", [[0, 1]])))
    assert said.startswith("1 masks have a palette, such as that of 0, and 1 have none, such as")


def test_the_message_says_what_to_do(tmp_path, check):
    masks = [drawn(tmp_path / f"{n}.png", [BLACK, c]) for n, c in enumerate((RED, GREEN))]
    with refuses(r"index 1 is #00ff00 .*1\.png, but #ff0000 .*by colour: "):
        check(*masks)
    with without_training(), refuses(r"with one number per class\.$"):
        check(*masks)


def test_palettes_are_compared_before_classes_are_inferred(tmp_path):
    """In one of six files 0 is the object: the values alone show nothing."""
    masks = [drawn(tmp_path / f"{n}.png", values=[0, 1, 0]) for n in range(5)]
    masks.append(drawn(tmp_path / "odd.png", [RED, BLACK], [1, 0, 1]))
    with refuses(r"index 0 is #ff0000 in .*odd\.png, but #000000 in"):
        table_of(None, masks)


def test_results_and_truth_are_compared(tmp_path):
    folders = tmp_path / "found", tmp_path / "truth"
    for folder in folders:
        drawn(folder / "a.png")
    scores, *_, notes = evaluate_masks(*folders, tolerance=1)
    assert (scores["a"]["class 1"]["dice"], notes) == (1, [])
    turned(tmp_path / "found" / "a.png")
    with refuses(r"index 0 is #ff0000 in .*found/a\.png, but .*truth/a\.p"):
        evaluate_masks(*folders, tolerance=1)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_of_few_bits_gives_indices(tmp_path, check, bits):
    used = [0, 1] if bits == 1 else [0, 1, 2]
    colours = [BLACK, RED, GREEN][: len(used)]
    few = drawn(tmp_path / "b.png", colours, used, bits=bits)
    assert labels_of(few) == used
    with refuses("the palettes of two masks differ"):
        check(few, drawn(tmp_path / "c.png", colours[::-1], used))


def test_a_tiff_palette_of_one_bit_gives_indices(tmp_path):
    colours = (320, "H", 6, (0, 65535, 0, 0, 0, 0), True)
    options = {"photometric": "minisblack", "extratags": [colours], "metadata": None}
    path = save(tmp_path / "a.tif", np.array([[False, True] * 4]), **options)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags[262].overwrite(3)
    assert labels_of(path) == [0, 1] * 4
    assert read_flat(path).pages[0][0, :2].tolist() == [[0, 0, 0], [255, 0, 0]]


@pytest.mark.parametrize("factor", [1, 256, 257])
def test_colours_of_16_bits_are_those_of_8(tmp_path, check, factor):
    first = drawn(tmp_path / "a.png")
    same = save(tmp_path / "b.tif", [[0, 1]], **tiff_palette([BLACK, RED], factor))
    other = save(tmp_path / "c.tif", [[1, 0]], **tiff_palette([RED, BLACK], factor))
    check(first, same)
    with refuses(r"index 0 is #ff0000 in .*c\.tif"):
        check(first, other)


def test_the_pages_of_a_file_are_compared(tmp_path):
    for name, second in (("same", [BLACK, RED]), ("odd", [RED, BLACK])):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as file:
            for colours, values in (([BLACK, RED], [0, 1]), (second, [1, 0])):
                file.write(np.array([values], np.uint8), **tiff_palette(colours))
    same, odd = tmp_path / "same.tif", tmp_path / "odd.tif"
    (used,) = palettes_of(same, read_flat(same, stored=True))
    assert used.indices == (0, 1)
    places = [used.place for used in palettes_of(odd, read_flat(odd, stored=True))]
    assert places == [str(odd), f"{odd}, page 2"]
    with refuses(r"index 0 is #ff0000 in .*, page 2, but #000000 in .*odd"):
        table_of(None, [odd])


def test_what_lies_below_transparency_is_no_colour(tmp_path, check):
    """Tools write black or white where nothing is to be seen."""
    white, black = (
        drawn(tmp_path / f"{name}.png", [clear, RED], transparency=0)
        for name, clear in (("a", WHITE), ("b", BLACK))
    )
    opaque = drawn(tmp_path / "c.png")
    check(white, black)
    check(black, opaque)
    with refuses(r"index 0 is #000000 in .*c\.png, but #ffffff00 in"):
        check(white, opaque)


def test_a_threshold_compares_the_indices_of_the_file(tmp_path, check):
    table, _ = table_of(None, [], threshold=1)
    with refuses("index 0 is #ff0000 in"):
        check(drawn(tmp_path / "a.png"), turned(tmp_path / "b.png"), classes=table)


def test_a_palette_with_an_alpha_channel_is_one(tmp_path, check):
    """Mode PA of Pillow, in TIFF."""
    image = Image.new("PA", (2, 1))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putdata([(0, 255), (1, 255)])
    image.save(tmp_path / "a.tif")
    assert labels_of(tmp_path / "a.tif") == [0, 1]
    with refuses("index 0 is #ff0000 in"):
        check(tmp_path / "a.tif", turned(tmp_path / "b.png"))


def test_colours_of_a_table_by_colour_are_not_compared(tmp_path, check):
    table, _ = table_of({"background": "#000000", "cell": "#ff0000"}, [])
    a, b = check(drawn(tmp_path / "a.png"), turned(tmp_path / "b.png"), classes=table)
    assert a.class_pixels == b.class_pixels == (1, 1)
    assert a.mask_digest == b.mask_digest


def test_masks_that_show_their_smallest_number_white_are_told_beside_others(tmp_path, check):
    """The stored numbers are read; whether 1 is black or white in all of them, the user knows."""
    kinds = {"a": "miniswhite", "b": "minisblack", "c": "minisblack"}
    a, b, c = (save(tmp_path / f"{n}.tif", [[0, 1]], photometric=k) for n, k in kinds.items())
    (said,) = mask_notes(check(a, b, c))
    assert said.startswith("1 masks are MinIsWhite, such as that of 0, and 2 are not, such as")
    assert mask_notes(check(b, c)) == mask_notes(check(a, a)) == []


def test_bitmaps_of_one_bit_have_palettes(tmp_path, check):
    """White may be 0 or 1 in them; black and white in this order is read as 0 and 255."""
    plain, other = save(tmp_path / "plain.bmp", np.array([[False, True]])), tmp_path / "other.bmp"
    content = bytearray(plain.read_bytes())
    content[54:62] = bytes([255, 255, 255, 0, 0, 0, 0, 0])
    other.write_bytes(content)
    table = class_table({0: "background", 1: "cell", 255: "cell"})
    check(plain, plain, classes=table)
    with refuses(r"index 0 is #ffffff in .*other\.bmp, but #000000 in"):
        check(plain, other, classes=table)
