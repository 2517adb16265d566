from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from tasks.segmentation.cases import Case, CaseSet, class_table
from tasks.segmentation.check import look, mask_notes
from tasks.segmentation.palettes import palette_of

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
    path = save(tmp_path / f"a{suffix}", [BLACK, RED, GREEN], [0, 1, 2])
    assert palette_of(path)[:3] == ("#000000", "#ff0000", "#00ff00")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("policy", ["error", "skip"])
def test_an_index_of_two_colours_is_refused(tmp_path, data_set, suffix, policy):
    first = save(tmp_path / f"a{suffix}", [BLACK, RED, GREEN], [0, 1, 2])
    other = save(tmp_path / f"b{suffix}", [GREEN, RED, BLACK], [2, 1, 0])

    with pytest.raises(ValueError, match="the palettes of two masks differ: index 0 is") as caught:
        look(data_set(first, other), policy=policy)

    assert f"#00ff00 in {other}, but #000000 in {first}" in str(caught.value)


def test_a_colour_of_two_indices_is_refused(tmp_path, data_set):
    """Each file has the indices that it needs, in the order in which they occur."""
    first = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    other = save(tmp_path / "b.png", [BLACK, GREEN, RED], [0, 2, 2])

    with pytest.raises(ValueError, match=r"the colour #ff0000 is index 2 in .*b\.png, but index 1"):
        look(data_set(first, other), policy="error")


def test_entries_that_nothing_uses_and_doubles_of_one_table_are_no_difference(tmp_path, data_set):
    short = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    unused = save(tmp_path / "b.png", [BLACK, RED, BLACK, GREEN], [0, 1])
    look(data_set(short, unused), policy="error")

    twice = [save(tmp_path / f"{n}.png", [BLACK, RED, RED], [0, n]) for n in (1, 2)]
    look(data_set(*twice), policy="error")


def test_classes_with_files_of_their_own_may_have_colours_of_their_own(tmp_path, data_set):
    cell = save(tmp_path / "cell.png", [BLACK, RED], [0, 1])
    wall = save(tmp_path / "wall.png", [BLACK, GREEN], [0, 1])
    odd = save(tmp_path / "odd.png", [RED, BLACK], [1, 0])
    table = replace(TABLE, names=("cell", "wall"), values=((1,), (1,)), exclusive=False)
    look(data_set((cell, wall), (cell, wall), classes=table), policy="error")

    with pytest.raises(ValueError, match="the palettes of two masks differ: index 0 is #ff0000 in"):
        look(data_set((cell, wall), (odd, wall), classes=table), policy="error")


def test_palettes_beside_gray_are_told(tmp_path, data_set):
    drawn = save(tmp_path / "a.png", [BLACK, RED], [0, 1])
    Image.fromarray(np.array([[0, 1]], np.uint8)).save(tmp_path / "b.png")

    (said,) = mask_notes(look(data_set(drawn, tmp_path / "b.png"), policy="error"))

    assert said.startswith("1 masks have a palette, such as that of 0, and 1 have none, such as")
