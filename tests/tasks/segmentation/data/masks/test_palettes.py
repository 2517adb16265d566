from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from tasks.common.images.flat import read_flat
from tasks.common.report.advice import without_training
from tasks.segmentation.data.case_facts import mask_notes
from tasks.segmentation.data.cases import Case, CaseSet, class_table
from tasks.segmentation.data.check import check_cases
from tasks.segmentation.data.class_table import table_of
from tasks.segmentation.data.masks.palettes import palettes_of
from tasks.segmentation.data.masks.read import read_mask
from tasks.segmentation.scores.evaluate import evaluate_masks
from tests.tasks.segmentation.conftest import refuses

RED, GREEN, BLACK, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 0), (255, 255, 255)
TABLE = class_table({0: "background", 1: "cell", 2: "wall", 9: "wall"})


def save(path, palette, values):
    """Write a palette file of one row."""
    if path.suffix == ".tif":
        tifffile.imwrite(path, np.array([values], np.uint8), **tiff_palette(palette))
        return path
    image = Image.new("P", (len(values), 1))
    image.putpalette([channel for colour in palette for channel in colour])
    image.putdata(values)
    image.save(path)
    return path


def tiff_palette(palette, factor=257):
    table = np.zeros((3, 256), np.uint16)
    table[:, : len(palette)] = np.array(palette, np.uint16).T * factor
    return {"photometric": "palette", "colormap": table, "metadata": None}


@pytest.fixture
def check(tmp_path):
    """Compare the palettes of masks, each with an image of its own."""

    def make(*masks, classes=TABLE, policy="error"):
        cases = []
        for number, paths in enumerate(masks):
            files = paths if isinstance(paths, tuple) else (paths,)
            with Image.open(files[0]) as mask:
                Image.new("L", mask.size, number).save(tmp_path / f"image{number}.png")
            image = (tmp_path / f"image{number}.png",)
            cases.append(Case(name=str(number), images=image, masks=files, patient=str(number)))
        case_set = CaseSet(source=str(tmp_path), cases=tuple(cases), classes=classes)
        return check_cases(case_set, policy=policy)

    return make


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_the_palette_of_each_kind_of_file_is_read(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", [BLACK, RED, GREEN], [0, 2, 2])

    (used,) = palettes_of(path, read_flat(path, stored=True))

    assert used.palette[:3] == ("#000000", "#ff0000", "#00ff00")
    assert (used.place, used.indices) == (str(path), (0, 2))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("policy", ["error", "skip"])
def test_an_index_of_two_colours_is_refused(tmp_path, check, suffix, policy):
    first = save(tmp_path / f"a{suffix}", [BLACK, RED, GREEN], [0, 1, 2])
    other = save(tmp_path / f"b{suffix}", [GREEN, RED, BLACK], [2, 1, 0])

    with refuses("the palettes of two masks differ: index 0 is") as caught:
        check(first, other, policy=policy)

    assert f"#00ff00 in {other}, but #000000 in {first}" in str(caught.value)


def test_a_colour_of_two_indices_is_refused(tmp_path, check):
    """Each file has the indices that it needs, in the order in which they occur."""
    first = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    other = save(tmp_path / "b.png", [BLACK, GREEN, RED], [0, 2, 2])

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
    first, other = (save(tmp_path / f"{n}.png", *pair) for n, pair in pairs)
    check(first, other)
    check(other, first)


def test_classes_with_files_of_their_own_may_have_colours_of_their_own(tmp_path, check):
    cell = save(tmp_path / "cell.png", [BLACK, RED], [0, 1])
    wall = save(tmp_path / "wall.png", [BLACK, GREEN], [0, 1])
    blue = save(tmp_path / "blue.png", [BLACK, (0, 0, 255)], [0, 1])
    odd = save(tmp_path / "odd.png", [RED, BLACK], [1, 0])
    table = replace(TABLE, names=("cell", "wall"), values=((1,), (1,)), exclusive=False)
    check((cell, wall), (blue, wall), classes=table)  # all but 0 is the class

    with refuses("the palettes of two masks differ: index 0 is #ff0000 in"):
        check((cell, wall), (odd, wall), classes=table)
    empty = save(tmp_path / "empty.png", [RED, BLACK], [1, 1])
    with refuses(r"colour #000000 is index 1 in .*empty\.png, but index 0"):
        check((cell, wall), (empty, wall), classes=table)


def test_palettes_beside_gray_are_told(tmp_path, check):
    used = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    Image.fromarray(np.array([[0, 1]], np.uint8)).save(tmp_path / "b.png")

    (said,) = mask_notes(check(used, tmp_path / "b.png"))

    assert said.startswith("1 masks have a palette, such as that of 0, and 1 have none, such as")


def test_the_message_says_what_to_do(tmp_path, check):
    masks = [
        save(tmp_path / f"{n}.png", [BLACK, colour], [0, 1])
        for n, colour in enumerate((RED, GREEN))
    ]

    with refuses(r"index 1 is #00ff00 .*1\.png, but #ff0000 .*by colour: "):
        check(*masks)
    with without_training(), refuses(r"with one number per class\.$"):
        check(*masks)


def test_palettes_are_compared_before_classes_are_inferred(tmp_path):
    """In one of six files 0 is the object: the values alone show nothing."""
    masks = [save(tmp_path / f"{n}.png", [BLACK, RED], [0, 1, 0]) for n in range(5)]
    masks.append(save(tmp_path / "odd.png", [RED, BLACK], [1, 0, 1]))

    with refuses(r"index 0 is #ff0000 in .*odd\.png, but #000000 in"):
        table_of(None, masks)


def test_results_and_truth_are_compared(tmp_path):
    (tmp_path / "truth").mkdir()
    (tmp_path / "found").mkdir()
    save(tmp_path / "truth" / "a.png", [BLACK, RED], [0, 1])
    save(tmp_path / "found" / "a.png", [BLACK, RED], [0, 1])
    folders = tmp_path / "found", tmp_path / "truth"
    scores, *_, notes = evaluate_masks(*folders, tolerance=1)
    assert (scores["a"]["class 1"]["dice"], notes) == (1, [])

    save(tmp_path / "found" / "a.png", [RED, BLACK], [1, 0])
    with refuses(r"index 0 is #ff0000 in .*found/a\.png, but .*truth/a\.p"):
        evaluate_masks(*folders, tolerance=1)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_of_few_bits_gives_indices(tmp_path, check, bits):
    used = [0, 1] if bits == 1 else [0, 1, 2]
    colours = [BLACK, RED, GREEN][: len(used)]
    first = save(tmp_path / "a.png", colours, used)
    image = Image.open(first)
    image.save(tmp_path / "b.png", bits=bits)
    other = save(tmp_path / "c.png", colours[::-1], used)

    assert read_mask([tmp_path / "b.png"], TABLE, axis=-1)[0].ravel().tolist() == used
    with refuses("the palettes of two masks differ"):
        check(tmp_path / "b.png", other)


def test_a_tiff_palette_of_one_bit_gives_indices(tmp_path):
    colours = (320, "H", 6, (0, 65535, 0, 0, 0, 0), True)
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.array([[False, True] * 4]),
        photometric="minisblack",
        extratags=[colours],
        metadata=None,
    )
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags[262].overwrite(3)

    labels, _ = read_mask([tmp_path / "a.tif"], TABLE, axis=-1)

    assert labels.ravel().tolist() == [0, 1] * 4
    assert read_flat(tmp_path / "a.tif").pages[0][0, :2].tolist() == [[0, 0, 0], [255, 0, 0]]


@pytest.mark.parametrize("factor", [1, 256, 257])
def test_colours_of_16_bits_are_those_of_8(tmp_path, check, factor):
    first = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    for name, colours in (("b", [BLACK, RED]), ("c", [RED, BLACK])):
        row = np.array([[0, 1] if name == "b" else [1, 0]], np.uint8)
        tifffile.imwrite(tmp_path / f"{name}.tif", row, **tiff_palette(colours, factor))

    check(first, tmp_path / "b.tif")
    with refuses(r"index 0 is #ff0000 in .*c\.tif"):
        check(first, tmp_path / "c.tif")


def test_the_pages_of_a_file_are_compared(tmp_path):
    for name, second in (("same", [BLACK, RED]), ("odd", [RED, BLACK])):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as file:
            for colours, values in (([BLACK, RED], [0, 1]), (second, [1, 0])):
                file.write(np.array([values], np.uint8), **tiff_palette(colours))

    (used,) = palettes_of(tmp_path / "same.tif", read_flat(tmp_path / "same.tif", stored=True))
    assert used.indices == (0, 1)
    (first, other) = palettes_of(tmp_path / "odd.tif", read_flat(tmp_path / "odd.tif", stored=True))
    assert first.place.endswith("odd.tif")
    assert other.place.endswith("odd.tif, page 2")
    with refuses(r"index 0 is #ff0000 in .*, page 2, but #000000 in .*odd"):
        table_of(None, [tmp_path / "odd.tif"])


def test_what_lies_below_transparency_is_no_colour(tmp_path, check):
    """Tools write black or white where nothing is to be seen."""
    paths = []
    for name, clear in (("a", WHITE), ("b", BLACK)):
        image = Image.open(save(tmp_path / f"{name}.png", [clear, RED], [0, 1]))
        image.save(tmp_path / f"clear_{name}.png", transparency=0)
        paths.append(tmp_path / f"clear_{name}.png")
    opaque = save(tmp_path / "c.png", [BLACK, RED], [0, 1])

    check(*paths)
    check(paths[1], opaque)
    with refuses(r"index 0 is #000000 in .*c\.png, but #ffffff00 in"):
        check(paths[0], opaque)


def test_a_threshold_compares_the_indices_of_the_file(tmp_path, check):
    table, _ = table_of(None, [], threshold=1)
    first = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    other = save(tmp_path / "b.png", [RED, BLACK], [1, 0])

    with refuses("index 0 is #ff0000 in"):
        check(first, other, classes=table)


def test_a_palette_with_an_alpha_channel_is_one(tmp_path, check):
    """Mode PA of Pillow, in TIFF."""
    image = Image.new("PA", (2, 1))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putdata([(0, 255), (1, 255)])
    image.save(tmp_path / "a.tif")
    other = save(tmp_path / "b.png", [RED, BLACK], [1, 0])

    assert read_mask([tmp_path / "a.tif"], TABLE, axis=-1)[0].ravel().tolist() == [0, 1]
    with refuses("index 0 is #ff0000 in"):
        check(tmp_path / "a.tif", other)


def test_colours_of_a_table_by_colour_are_not_compared(tmp_path, check):
    table, _ = table_of({"background": "#000000", "cell": "#ff0000"}, [])
    first = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    other = save(tmp_path / "b.png", [RED, BLACK], [1, 0])

    a, b = check(first, other, classes=table)

    assert a.class_pixels == b.class_pixels == (1, 1)
    assert a.mask_digest == b.mask_digest


def test_masks_that_show_their_smallest_number_white_are_told_beside_others(tmp_path, check):
    """The stored numbers are read; whether 1 is black or white in all of them, the user knows."""
    for name, kind in (("a", "miniswhite"), ("b", "minisblack"), ("c", "minisblack")):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.array([[0, 1]], np.uint8), photometric=kind)
    a, b, c = (tmp_path / f"{name}.tif" for name in "abc")

    (said,) = mask_notes(check(a, b, c))

    assert said.startswith("1 masks are MinIsWhite, such as that of 0, and 2 are not, such as")
    assert mask_notes(check(b, c)) == []
    assert mask_notes(check(a, a)) == []


def test_bitmaps_of_one_bit_have_palettes(tmp_path, check):
    """White may be 0 or 1 in them; black and white in this order is read as 0 and 255."""
    plain, turned = tmp_path / "plain.bmp", tmp_path / "turned.bmp"
    Image.fromarray(np.array([[False, True]])).save(plain)
    content = bytearray(plain.read_bytes())
    content[54:62] = bytes([255, 255, 255, 0, 0, 0, 0, 0])
    turned.write_bytes(content)
    table = class_table({0: "background", 1: "cell", 255: "cell"})

    check(plain, plain, classes=table)
    with refuses(r"index 0 is #ffffff in .*turned\.bmp, but #000000 in"):
        check(plain, turned, classes=table)
