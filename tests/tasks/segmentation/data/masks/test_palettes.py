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
from tests.tasks.segmentation.data.conftest import refuses

RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)
TABLE = class_table({0: "background", 1: "cell", 2: "wall"})


def save(path, palette, values):
    """Write a palette file of one row."""
    if path.suffix == ".tif":
        table = np.zeros((3, 256), np.uint16)
        table[:, : len(palette)] = np.array(palette, np.uint16).T * 257
        tifffile.imwrite(path, np.array([values], np.uint8), photometric="palette", colormap=table)
        return path
    image = Image.new("P", (len(values), 1))
    image.putpalette([channel for colour in palette for channel in colour])
    image.putdata(values)
    image.save(path)
    return path


@pytest.fixture
def data_set(tmp_path):
    def make(*masks, classes=TABLE):
        cases = []
        for number, paths in enumerate(masks):
            files = paths if isinstance(paths, tuple) else (paths,)
            with Image.open(files[0]) as mask:
                Image.new("L", mask.size, number).save(tmp_path / f"image{number}.png")
            image = (tmp_path / f"image{number}.png",)
            cases.append(Case(name=str(number), images=image, masks=files, patient=str(number)))
        return CaseSet(source=str(tmp_path), cases=tuple(cases), classes=classes)

    return make


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_the_palette_of_each_kind_of_file_is_read(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", [BLACK, RED, GREEN], [0, 2, 2])

    (used,) = palettes_of(path, read_flat(path, stored=True))

    assert used.palette[:3] == ("#000000", "#ff0000", "#00ff00")
    assert (used.place, used.indices) == (str(path), (0, 2))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("policy", ["error", "skip"])
def test_an_index_of_two_colours_is_refused(tmp_path, data_set, suffix, policy):
    first = save(tmp_path / f"a{suffix}", [BLACK, RED, GREEN], [0, 1, 2])
    other = save(tmp_path / f"b{suffix}", [GREEN, RED, BLACK], [2, 1, 0])

    with refuses("the palettes of two masks differ: index 0 is") as caught:
        check_cases(data_set(first, other), policy=policy)

    assert f"#00ff00 in {other}, but #000000 in {first}" in str(caught.value)


def test_a_colour_of_two_indices_is_refused(tmp_path, data_set):
    """Each file has the indices that it needs, in the order in which they occur."""
    first = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    other = save(tmp_path / "b.png", [BLACK, GREEN, RED], [0, 2, 2])

    with refuses(r"the colour #ff0000 is index 2 in .*b\.png, but index 1"):
        check_cases(data_set(first, other), policy="error")


def test_entries_that_nothing_uses_and_doubles_of_one_table_are_no_difference(tmp_path, data_set):
    short = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    unused = save(tmp_path / "b.png", [BLACK, RED, BLACK, GREEN], [0, 1])
    check_cases(data_set(short, unused), policy="error")

    twice = [save(tmp_path / f"{n}.png", [BLACK, RED, RED], [0, n]) for n in (1, 2)]
    check_cases(data_set(*twice), policy="error")


def test_classes_with_files_of_their_own_may_have_colours_of_their_own(tmp_path, data_set):
    cell = save(tmp_path / "cell.png", [BLACK, RED], [0, 1])
    wall = save(tmp_path / "wall.png", [BLACK, GREEN], [0, 1])
    blue = save(tmp_path / "blue.png", [BLACK, (0, 0, 255)], [0, 1])
    odd = save(tmp_path / "odd.png", [RED, BLACK], [1, 0])
    table = replace(TABLE, names=("cell", "wall"), values=((1,), (1,)), exclusive=False)
    check_cases(
        data_set((cell, wall), (blue, wall), classes=table), policy="error"
    )  # all but 0 is it

    with refuses("the palettes of two masks differ: index 0 is #ff0000 in"):
        check_cases(data_set((cell, wall), (odd, wall), classes=table), policy="error")
    empty = save(tmp_path / "empty.png", [RED, BLACK], [1, 1])
    with refuses(r"colour #000000 is index 1 in .*empty\.png, but index 0"):
        check_cases(data_set((cell, wall), (empty, wall), classes=table), policy="error")


def test_palettes_beside_gray_are_told(tmp_path, data_set):
    used = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    Image.fromarray(np.array([[0, 1]], np.uint8)).save(tmp_path / "b.png")

    (said,) = mask_notes(check_cases(data_set(used, tmp_path / "b.png"), policy="error"))

    assert said.startswith("1 masks have a palette, such as that of 0, and 1 have none, such as")


def test_the_message_says_what_to_do(tmp_path, data_set):
    masks = [
        save(tmp_path / f"{n}.png", [BLACK, colour], [0, 1])
        for n, colour in enumerate((RED, GREEN))
    ]

    with refuses(r"index 1 is #00ff00 .*1\.png, but #ff0000 .*by colour: "):
        check_cases(data_set(*masks), policy="error")
    with without_training(), refuses(r"with one number per class\.$"):
        check_cases(data_set(*masks), policy="error")


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
def test_a_palette_of_few_bits_gives_indices(tmp_path, data_set, bits):
    used = [0, 1] if bits == 1 else [0, 1, 2]
    colours = [BLACK, RED, GREEN][: len(used)]
    first = save(tmp_path / "a.png", colours, used)
    image = Image.open(first)
    image.save(tmp_path / "b.png", bits=bits)
    other = save(tmp_path / "c.png", colours[::-1], used)

    table = class_table({0: "background", 1: "cell", 2: "wall"})
    assert read_mask([tmp_path / "b.png"], table, axis=-1)[0].ravel().tolist() == used
    with refuses("the palettes of two masks differ"):
        check_cases(data_set(tmp_path / "b.png", other), policy="error")


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
def test_colours_of_16_bits_are_those_of_8(tmp_path, data_set, factor):
    first = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    table = np.zeros((3, 256), np.uint16)
    table[0, 1] = 255 * factor
    for name, values in (("b", [0, 1]), ("c", [1, 0])):
        tifffile.imwrite(
            tmp_path / f"{name}.tif",
            np.array([values], np.uint8),
            photometric="palette",
            colormap=table if name == "b" else table[:, [1, 0, *range(2, 256)]],
        )

    check_cases(data_set(first, tmp_path / "b.tif"), policy="error")
    with refuses(r"index 0 is #ff0000 in .*c\.tif"):
        check_cases(data_set(first, tmp_path / "c.tif"), policy="error")


def test_the_pages_of_a_file_are_compared(tmp_path):
    table = np.zeros((3, 256), np.uint16)
    table[0, 1] = 65535
    swapped = table[:, [1, 0, *range(2, 256)]]
    for name, second in (("same", table), ("odd", swapped)):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as file:
            for colours, values in ((table, [0, 1]), (second, [1, 0])):
                page = np.array([values], np.uint8)
                file.write(page, photometric="palette", colormap=colours, metadata=None)

    (used,) = palettes_of(tmp_path / "same.tif", read_flat(tmp_path / "same.tif", stored=True))
    assert used.indices == (0, 1)
    (first, other) = palettes_of(tmp_path / "odd.tif", read_flat(tmp_path / "odd.tif", stored=True))
    assert first.place.endswith("odd.tif")
    assert other.place.endswith("odd.tif, page 2")
    with refuses(r"index 0 is #ff0000 in .*, page 2, but #000000 in .*odd"):
        table_of(None, [tmp_path / "odd.tif"])


def test_what_lies_below_transparency_is_no_colour(tmp_path, data_set):
    """Tools write black or white where nothing is to be seen."""
    paths = []
    for name, clear in (("a", (255, 255, 255)), ("b", BLACK)):
        image = Image.open(save(tmp_path / f"{name}.png", [clear, RED], [0, 1]))
        image.save(tmp_path / f"clear_{name}.png", transparency=0)
        paths.append(tmp_path / f"clear_{name}.png")
    opaque = save(tmp_path / "c.png", [BLACK, RED], [0, 1])

    check_cases(data_set(*paths), policy="error")
    check_cases(data_set(paths[1], opaque), policy="error")
    with refuses(r"index 0 is #000000 in .*c\.png, but #ffffff00 in"):
        check_cases(data_set(paths[0], opaque), policy="error")


def test_indices_beyond_a_short_palette_are_no_difference(tmp_path, data_set):
    """A table of two colours, and 255 beside it; other tools fill the table up with black."""
    short = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    long = save(tmp_path / "b.png", [BLACK, RED, *[BLACK] * 254], [0, 1, 9])
    table = class_table({0: "background", 1: "cell", 9: "wall"})
    check_cases(data_set(short, long, classes=table), policy="error")
    check_cases(data_set(long, short, classes=table), policy="error")


def test_a_threshold_compares_the_indices_of_the_file(tmp_path, data_set):
    table, _ = table_of(None, [], threshold=1)
    first = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    other = save(tmp_path / "b.png", [RED, BLACK], [1, 0])

    with refuses("index 0 is #ff0000 in"):
        check_cases(data_set(first, other, classes=table), policy="error")


def test_a_palette_with_an_alpha_channel_is_one(tmp_path, data_set):
    """Mode PA of Pillow, in TIFF."""
    image = Image.new("PA", (2, 1))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putdata([(0, 255), (1, 255)])
    image.save(tmp_path / "a.tif")
    other = save(tmp_path / "b.png", [RED, BLACK], [1, 0])

    assert read_mask([tmp_path / "a.tif"], TABLE, axis=-1)[0].ravel().tolist() == [0, 1]
    with refuses("index 0 is #ff0000 in"):
        check_cases(data_set(tmp_path / "a.tif", other), policy="error")


def test_colours_of_a_table_by_colour_are_not_compared(tmp_path, data_set):
    table, _ = table_of({"background": "#000000", "cell": "#ff0000"}, [])
    first = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    other = save(tmp_path / "b.png", [RED, BLACK], [1, 0])

    a, b = check_cases(data_set(first, other, classes=table), policy="error")

    assert a.class_pixels == b.class_pixels == (1, 1)
    assert a.mask_digest == b.mask_digest


def test_masks_that_show_their_smallest_number_white_are_told_beside_others(tmp_path, data_set):
    """The stored numbers are read; whether 1 is black or white in all of them, the user knows."""
    for name, kind in (("a", "miniswhite"), ("b", "minisblack"), ("c", "minisblack")):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.array([[0, 1]], np.uint8), photometric=kind)
    a, b, c = (tmp_path / f"{name}.tif" for name in "abc")

    (said,) = mask_notes(check_cases(data_set(a, b, c), policy="error"))

    assert said.startswith("1 masks are MinIsWhite, such as that of 0, and 2 are not, such as")
    assert mask_notes(check_cases(data_set(b, c), policy="error")) == []
    assert mask_notes(check_cases(data_set(a, a), policy="error")) == []


def test_bitmaps_of_one_bit_have_palettes(tmp_path, data_set):
    """White may be 0 or 1 in them; black and white in this order is read as 0 and 255."""
    plain, turned = tmp_path / "plain.bmp", tmp_path / "turned.bmp"
    Image.fromarray(np.array([[False, True]])).save(plain)
    content = bytearray(plain.read_bytes())
    content[54:62] = bytes([255, 255, 255, 0, 0, 0, 0, 0])
    turned.write_bytes(content)
    table = class_table({0: "background", 1: "cell", 255: "cell"})

    check_cases(data_set(plain, plain, classes=table), policy="error")
    with refuses(r"index 0 is #ffffff in .*turned\.bmp, but #000000 in"):
        check_cases(data_set(plain, turned, classes=table), policy="error")
