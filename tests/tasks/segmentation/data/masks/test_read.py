from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tasks.common.report.advice import without_training
from tasks.segmentation.data.cases import IGNORE, ClassTable, class_table
from tasks.segmentation.data.class_table import layered_table, table_of
from tasks.segmentation.data.formats.files import read_image, write_mask
from tasks.segmentation.data.layouts.folder import folder_cases
from tasks.segmentation.data.masks.read import NNUNET, labels_of, read_mask, read_mask_files
from tests.tasks.segmentation.conftest import refuses, save

TABLE = class_table({0: "background", 1: "cell", 2: "wall"})
COLOURS, _ = table_of({"background": [0, 0, 0], "cell": "#ff0000", "wall": [0, 64, 128]}, [])
BLACK, RED, BLUE = [0, 0, 0], [255, 0, 0], [0, 64, 128]


def labels_in(*paths, table=TABLE):
    return read_mask(paths, table, axis=-1)[0].tolist()


def test_an_unknown_value_is_refused_and_an_ignored_one_left_out(tmp_path):
    path = save(tmp_path / "a.png", [[0, 1, 7], [7, 2, 0]])
    with refuses(r"a\.png has mask values .* 7 \(2 pixels\)"):
        labels_in(path)
    table = class_table({0: "background", 1: "cell", 2: "wall", 7: "ignore"})
    assert labels_in(path, table=table) == [[[0, 1, IGNORE], [IGNORE, 2, 0]]]


def test_classes_with_files_of_their_own_are_all_but_0(tmp_path):
    disc, cup = save(tmp_path / "d.png", [[0, 1, 255]]), save(tmp_path / "c.png", [[0, 0, 9]])
    table = ClassTable(names=("disc", "cup"), values=((1,), (1,)), exclusive=False)
    assert labels_in(disc, cup, table=table) == [[[[0, 1, 1]]], [[[0, 0, 1]]]]
    ignoring = replace(table, ignored=(9,))
    assert labels_in(disc, cup, table=ignoring) == [[[[0, 1, IGNORE]]], [[[0, 0, IGNORE]]]]
    alone = ClassTable(names=("disc",), values=((1,),), exclusive=False)
    assert labels_in(disc, table=alone) == [[[[0, 1, 1]]]]
    with refuses(r"e\.png has the size 1 x 1 x 2, but .*c\.png has 1 x 1 x"):
        labels_in(cup, save(tmp_path / "e.png", [[0, 1]]), table=table)


def test_another_number_of_mask_files_is_refused(tmp_path):
    path = save(tmp_path / "a.png", [[0, 1]])
    with refuses(r"a mask has 2 files, \['a.png', 'a.png'\]; expected 1\."):
        labels_in(path, path)
    with refuses(r"a mask has 2 files.*expected 1 or 3, one per class"):
        labels_in(path, path, table=replace(TABLE, values=((1,),) * 3, exclusive=False))


def test_colours_of_palettes_gray_and_alpha_are_the_same_colours(tmp_path):
    drawn = Image.new("P", (3, 1))
    drawn.putpalette([*BLUE, *RED, *BLACK])
    drawn.putdata([2, 1, 0])
    drawn.save(tmp_path / "p.png")
    assert labels_in(tmp_path / "p.png", table=COLOURS) == [[[0, 1, 2]]]
    opaque = [[*colour, 255] for colour in (BLACK, RED, BLUE)]
    for pixels, labels in (([0, 0, 0], [0, 0, 0]), (opaque, [0, 1, 2])):
        assert labels_in(save(tmp_path / "a.png", [pixels]), table=COLOURS) == [[labels]]


def test_an_unknown_colour_is_named_with_its_file_and_count(tmp_path):
    path = save(tmp_path / "a.png", [[BLACK, [254, 0, 0], [254, 0, 0]]])
    found = r"#fe0000 \(2 pixels, nearest #ff0000\); expected #000000, #004080, #ff0000"
    with refuses(rf"a\.png has colours .*: {found}\. Add them to data\.classes"):
        labels_in(path, table=COLOURS)


def test_colours_are_classes_and_are_written_as_colours(tmp_path):
    path = save(tmp_path / "a.png", [[BLACK, RED, BLUE]])
    labels, geometry = read_mask([path], COLOURS, axis=-1)
    assert labels.tolist() == [[[0, 1, 2]]]
    (written,) = write_mask(labels, COLOURS, geometry, folder=tmp_path / "out", name="a")
    assert np.array_equal(np.asarray(Image.open(written)), np.asarray(Image.open(path)))
    assert labels_in(written, table=COLOURS) == labels.tolist()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_threshold_makes_two_levels_of_noise(tmp_path, suffix):
    table, notes = table_of({0: "background", 255: "cell"}, [], threshold=128)
    values = np.repeat([[0, 3, 255, 250, 127, 128]], 8, axis=1).repeat(8, axis=0).astype(np.uint8)
    lossy = {"quality": 100} if suffix == ".jpg" else {}
    labels, _ = read_mask([save(tmp_path / f"a{suffix}", values, **lossy)], table, axis=-1)
    assert notes == ()
    assert labels[0, 0, 4:32:8].tolist() == [0, 0, 1, 1]
    if not lossy:
        assert labels[0, 0, 36::8].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("compression", "level", "what"),
    [("jpeg", None, "JPEG within TIFF"), ("jpeg2000", 30, "lossy JPEG 2000 within TIFF")],
)
def test_what_a_mask_holds_tells_that_it_is_lossy(tmp_path, compression, level, what):
    pixels = np.kron([[0, 255], [255, 0]], np.ones((16, 16))).astype(np.uint8)
    options = {"compression": compression, "compressionargs": {"level": level}}
    path = save(tmp_path / "a.tif", pixels, **options)
    with refuses(rf"a\.tif is a {what}, which changes the numbers"):
        labels_in(path)
    noisy = replace(class_table({0: "background", 255: "cell"}), threshold=128)
    np.testing.assert_array_equal(read_mask([path], noisy, axis=-1)[0][0], pixels // 255)


def test_a_plain_alpha_channel_is_dropped_and_another_may_be_the_mask(tmp_path):
    def labels_of(*colours):
        return labels_in(save(tmp_path / "a.png", [colours]))

    assert labels_of([1, 1, 1, 255], [2, 2, 2, 255]) == [[[1, 2]]]
    assert labels_of([0, 0, 0, 255], [0, 0, 0, 255]) == [[[0, 0]]]
    with refuses("Or is the mask in its alpha channel"):
        labels_of([1, 2, 3, 0], [4, 5, 6, 255])
    with refuses(r"differ.* Name them: data\.classes='\{class1: .#010203., "):
        labels_of([1, 2, 3, 255], [4, 5, 6, 255])


def test_classes_of_colours_are_read_from_folders(tmp_path):
    save(tmp_path / "images" / "a.png", [[1, 2]])
    save(tmp_path / "masks" / "a.tif", [[BLACK, RED]], photometric="rgb")
    found = folder_cases(root=tmp_path, classes={"#000000": "background", "#ff0000": "cell"})
    assert labels_in(*found.cases[0].masks, table=found.classes) == [[[0, 1]]]


def test_the_colours_of_a_mask_are_listed_with_the_option_to_write(tmp_path):
    path = save(tmp_path / "a.png", [[BLACK, BLACK, RED]])
    with refuses("channels that differ") as caught:
        labels_in(path)
    told = str(caught.value)
    assert "Its colours are #000000 (2 pixels), #ff0000 (1 pixels)" in told
    option = told.partition("data.classes='")[2].partition("'")[0]
    assert table_of(option, [])[0].values == ((0,), (0xFF0000,))
    with without_training(), refuses(r"Turn them into class values\.$"):
        labels_in(path)
    with refuses(r"Turn them into class values\.$"):
        labels_in(path, table=class_table({0: "background", 1: "a"}, source=NNUNET))


def test_a_photograph_for_a_mask_is_told(tmp_path):
    photograph = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    with refuses(r"colours, as a photograph has: is it an image\?"):
        labels_in(save(tmp_path / "a.png", photograph))


def test_colours_without_a_table_are_listed_over_all_masks(tmp_path):
    masks = [
        save(tmp_path / f"{number}.png", [[BLACK, colour]])
        for number, colour in enumerate((RED, [0, 0, 255], BLACK))
    ]
    with refuses(r"All 2 masks in colour: .*#0000ff \(1 pixels\)") as caught:
        table_of(None, masks)
    assert "#000000 (4 pixels), #ff0000 (1 pixels), #0000ff (1 pixels)" in str(caught.value)
    with without_training():
        table, _ = table_of(None, masks)
    assert table.names == ("background", "#0000ff", "#ff0000")
    assert table.values == ((0,), (0xFF,), (0xFF0000,))


def test_probabilities_are_cut_and_a_class_of_1_stays_1(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[0, 0.49, 0.5, 1]], np.float32))
    for given, value in (({0: "background", 1: "cell"}, 1), (None, 255)):
        table, _ = table_of(given, [], threshold=0.5)
        (file,) = read_mask_files([path], table, axis=-1)
        assert file.values.tolist() == [[[0, 0, value, value]]]
        assert labels_of([file], table).tolist() == [[[0, 0, 1, 1]]]


def test_gray_that_was_saved_as_rgb_with_losses_is_cut_and_colours_are_not(tmp_path):
    table, _ = table_of(None, [], threshold=128)
    nearly = save(tmp_path / "a.png", [[[2, 0, 1], [254, 255, 250], [120, 130, 128]]])
    assert labels_in(nearly, table=table) == [[[0, 1, 0]]]
    with refuses(r"b\.png has 3 channels that differ by up to 255; expec"):
        labels_in(save(tmp_path / "b.png", [[BLACK, RED]]), table=table)


def test_a_threshold_is_for_files_of_classes_too(tmp_path):
    table = layered_table(["a"], None, source="folders", threshold=128)
    path = save(tmp_path / "a.jpg", [[3] * 8 + [250] * 8] * 8)
    labels, _ = read_mask([path], table, axis=-1)
    assert labels[0, 0, 0, [2, 13]].tolist() == [0, 1]


def test_volumes_get_the_number_of_the_class_where_others_get_its_colour(tmp_path):
    path = save(tmp_path / "v.nii", np.zeros((2, 3, 1), np.uint8))
    _, geometry = read_image([path], axis=-1)
    labels = np.array([[[0, 1, 2], [2, 0, 0]]], np.uint8)
    (written,) = write_mask(labels, COLOURS, geometry, folder=tmp_path / "out", name="v")
    assert np.asarray(nib.load(written).dataobj)[..., 0].tolist() == labels[0].tolist()
