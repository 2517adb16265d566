from dataclasses import replace

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tasks.segmentation.data.cases import ClassTable
from tasks.segmentation.data.formats.files import stem_of
from tasks.segmentation.data.layouts.folder import folder_cases
from tests.tasks.segmentation.conftest import misses, refuses, save

CLASSES = {0: "background", 255: "nucleus"}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    return tmp_path


def touch(folder, names):
    """Make empty files, separated by spaces: names and classes need no pixels."""
    for path in [folder / name for name in names.split()]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def matches(root, **options):
    """Return the files of each case, relative to the root."""
    cases = folder_cases(root=root, classes=CLASSES, **options).cases
    return {c.name: [str(path.relative_to(root)) for path in (*c.images, *c.masks)] for c in cases}


@pytest.mark.parametrize(
    ("images", "masks", "others"),
    [
        ("a.jpg b.PNG c.tif d.png", "a_mask.png b_seg.bmp c_label.TIF d_labels.png", ""),
        ("e.v2.nii.gz", "e.v2.nii", ""),
        ("a.png a_seg.png", "a_mask.png a_seg.png", ""),  # the whole name comes first
        ("a.png a_mask.png", "a.png a_mask.png", ""),  # an image that ends like a mask
        # Folders are part of the name; one may be called as the one in it.
        ("p10/a.png p2/a.png", "p10/a_mask.png p2/a.png", "masks/notes.txt"),
        ("q/a.png q/q/a.png", "q/a.png q/q/a.png", ""),
        # What archives, Windows and other systems leave.
        ("a.png", "a.png", "images/Thumbs.db images/._b.png images/._a.png images/__MACOSX/a.png"),
        ("p/a.png", "p/a.png", "masks/Thumbs.db masks/.DS_Store images/p/._a.png"),
        ("a.png", "a.png", "masks/.cache/a.png masks/@eaDir/a.png"),
    ],
)
def test_every_image_has_the_mask_of_its_name_or_of_a_usual_ending(root, images, masks, others):
    images = [f"images/{name}" for name in images.split()]
    masks = [f"masks/{name}" for name in masks.split()]
    touch(root, " ".join([*images, *masks, others]))
    found = {stem_of(i)[7:]: [i, m] for i, m in zip(images, masks, strict=True)}
    assert matches(root) == found


def test_the_folders_may_be_called_otherwise_and_lie_elsewhere(root):
    touch(root, "ct/x/a.png labels/a.png")
    found = folder_cases(root=str(root), images="ct/x", masks=str(root / "labels"), classes=CLASSES)
    assert [case.masks for case in found.cases] == [(root / "labels" / "a.png",)]
    assert (found.source, found.axis, found.channel_names) == (str(root), -1, ())


def test_hydra_may_give_values_as_numbers_or_text_and_no_mask_is_read(root):
    touch(root, "images/a.png masks/a.png")  # empty files are no masks
    target = "_target_: tasks.segmentation.data.layouts.folder.folder_cases\n"
    for keys in ("{0: background, 7: x}", "{'0': background, '7': x}"):
        node = OmegaConf.create(f"{target}root: {root}\nclasses: {keys}")
        for convert in ("none", "all"):
            table = instantiate(node, _convert_=convert).classes
            assert table == ClassTable(names=("background", "x"), values=((0,), (7,)))
    with refuses("a class table takes mask values from 0 on"):
        folder_cases(root=root, classes={"-1": "x"})


def test_classes_not_given_are_the_values_of_all_masks(root):
    touch(root, "images/a.png images/b.png images/c.png")
    save(root / "masks/a.png", [[0, 0, 200]])
    save(root / "masks/b.png", [[0, 80, 80]])
    save(root / "masks/c.nii.gz", np.full((2, 2, 2), 3, np.uint8))
    names, values = ("background", "class 3", "class 80", "class 200"), ((0,), (3,), (80,), (200,))
    assert folder_cases(root=root).classes == ClassTable(names=names, values=values, inferred=True)


def test_a_folder_per_class_makes_classes_that_may_overlap(root):
    touch(root, "images/a.png images/q/b.png masks/vessel/a.tif masks/vessel/q/b_seg.png")
    touch(root, "masks/Gland/a_mask.png masks/Gland/q/b.png masks/.trash/a.png")
    found = folder_cases(root=root)
    names = ("Gland", "vessel")
    assert found.classes == ClassTable(names=names, values=((1,), (1,)), exclusive=False)
    assert [[str(mask.relative_to(root)) for mask in case.masks] for case in found.cases] == [
        ["masks/Gland/a_mask.png", "masks/vessel/a.tif"],
        ["masks/Gland/q/b.png", "masks/vessel/q/b_seg.png"],
    ]


def test_every_case_is_its_own_patient_unless_an_expression_finds_one(root):
    touch(root, "images/p1_a.png images/p1_b.png masks/p1_a.png masks/p1_b.png")
    for pattern, expected in ((None, ["p1_a", "p1_b"]), (r"(\w+)_", ["p1", "p1"])):
        cases = folder_cases(root=root, classes=CLASSES, patient=pattern).cases
        assert [case.patient for case in cases] == expected
    with refuses("which finds no patient in the case name 'p1_a'"):
        folder_cases(root=root, classes=CLASSES, patient=r"(\d+)_b")


OBSERVERS = "1_1stHO.png 2_1stHO.png 1_2ndHO.png 2_2ndHO.png"


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        ("a.png b.png c.png d.png e.png f.png g.png", "a.png", r"6 of 7 .*'f' and 1 more\); exp"),
        ("a.png", "a.png c_mask.png", r"1 of 2 masks without an image \('c_mask'\);"),
        ("a.png", "b.png", r"1 of 1 images .* mask \('a'\) and 1 of 1 masks .* image \('b'\); exp"),
        ("a.png a.jpg", "a.png", "images: 'a.jpg' and 'a.png' are both the image of 'a'; expected"),
        ("a.png", "a.nii.gz a.png", "masks: 'a.nii.gz' and 'a.png' are both the mask of 'a'"),
        ("a.png", "a.png a_seg.png", "masks: 'a.png' and 'a_seg.png' are both the mask of 'a'"),
        ("a.gif", "a.png", r"images: no image files; expected .*\.nii\.gz.*'a.gif'"),
        ("a.png", "", "masks: no mask files; expected .*is empty"),
        ("a.png b.png", "x/a.png x/b.png y/a.png", r"masks/y: 1 of 2 images without .* \('b'\)"),
        ("a.png", "x/a.png y/b.txt", "masks/y: no mask files"),
        ("a.png", "x/b.png", r"1 masks without an image \('x/b'\); expected one mask per image"),
        ("a.png", "x/a.png b.png", r"masks without an image \('b', 'x/a'\)"),
        ("a.png", "background/a.png", "'background' has masks of its own, as if it"),
        ("1.png 2.png", OBSERVERS, "images without a mask .* 4 of 4 masks without an image"),
        ("a.png", "a_drawn.png", "images without a mask"),
    ],
)
def test_files_that_do_not_match_are_named_and_counted(root, images, masks, message):
    touch(root / "images", images)
    touch(root / "masks", masks)
    with refuses(message):
        folder_cases(root=root)


def test_values_stand_for_nothing_in_a_folder_per_class(root):
    touch(root, "images/a.png masks/x/a.png")
    with refuses(r"classes is .*255: 'nucleus'.* but 'x' have masks of their"):
        folder_cases(root=root, classes=CLASSES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": "mask"}, r"mask folder .*does not exist.* \(nearest: 'masks'\)"),
        ({"images": "x"}, "image folder .*does not exist"),
        ({"root": "x"}, "root .*does not exist"),
    ],
)
def test_missing_folders_are_refused(root, options, message):
    touch(root, "images/a.png")
    with misses(message):
        folder_cases(**{"root": root} | options)


def test_a_value_that_nobody_named_in_one_mask_of_several_is_refused(root):
    touch(root / "images", "0.png 1.png 2.png 3.png 4.png 5.png")
    for number in range(6):
        save(root / f"masks/{number}.png", [[255, 255, 0, 77 if number == 3 else 0]])
    with refuses(r"mask value 77 is in .*3\.png alone, of 6 masks\. If it"):
        folder_cases(root=root)
    table = {0: "background", 255: "cell", 77: "ignore"}
    assert folder_cases(root=root, classes=table).classes.ignored == (77,)


def test_words_beside_the_names_are_said(root):
    touch(root, "images/a.png images/img_b.png masks/a_segmentation.png masks/mask_b.png")
    (note,) = folder_cases(root=root, classes=CLASSES).notes
    assert "1 masks '*_segmentation' belong to images '*', 1 masks 'mask_*' belong" in note


def test_an_ending_of_ones_own_can_be_told(root):
    touch(root, "images/a.png masks/a_drawn.png")
    for ending in ("_drawn", "_drawn.png"):
        assert matches(root, mask_suffix=ending) == {"a": ["images/a.png", "masks/a_drawn.png"]}
    with refuses(r"no name of a mask ends in '_x'; there are 'a_drawn\.png'"):
        matches(root, mask_suffix="_x")


def test_two_observers_are_an_error_that_names_both_and_the_option(root):
    touch(root / "images", "1.png 2.png")
    touch(root / "masks", OBSERVERS)
    touch(root / "more", "1_gt.png 1_mask.png 2_gt.png 2_mask.png")
    with refuses(r"'1_gt\.png' and '1_mask\.png' are both .*'1'.* data\.mask_suffix=_gt\."):
        folder_cases(root=root, masks="more", classes=CLASSES)
    assert matches(root, mask_suffix="_2ndHO")["2"] == ["images/2.png", "masks/2_2ndHO.png"]
    found = folder_cases(root=root, masks="more", classes=CLASSES, mask_suffix="_mask")
    assert found.notes[1] == "2 masks do not end in '_mask': skipped"


def test_images_and_masks_in_one_folder_are_told_apart_by_an_ending(root):
    """As in LGG and BUSI."""
    touch(root, "all/p/1.png all/p/1_mask.png all/2.png all/2_mask.png")
    with refuses(r"images and masks are both in .*all; expected a .* data\.mask_suffix=_mask"):
        matches(root, images="all", masks="all")
    assert matches(root, images="all", masks="all", mask_suffix="_mask") == {
        "p/1": ["all/p/1.png", "all/p/1_mask.png"],
        "2": ["all/2.png", "all/2_mask.png"],
    }


def test_text_that_all_masks_have_is_found_in_folders_of_classes(root):
    touch(root / "images", "1.png 2.png")
    touch(root / "masks", "disc/disc-1.png disc/disc-2.png cup/cup-1.png cup/cup-2.png")
    found = folder_cases(root=root)
    assert found.classes.names == ("cup", "disc")
    assert [path.name for path in found.cases[1].masks] == ["cup-2.png", "disc-2.png"]


@pytest.fixture
def volumes(root):
    for number, name in enumerate(("p1_a.nii.gz", "p2_a.nii")):
        voxels = np.full((2, 3, 4), number, np.int16)
        voxels[0, 0, 0] = 9
        save(root / "masks" / name, voxels)
    touch(root, "images/p1_a.nii.gz images/p2_a.NII")
    return root


def test_volumes_are_matched_as_other_images_and_have_an_axis(volumes):
    found = folder_cases(root=volumes, patient=r"(p\d)_", axis=1)
    assert [(case.name, case.patient) for case in found.cases] == [("p1_a", "p1"), ("p2_a", "p2")]
    assert found.axis == 1
    assert found.classes.values == ((0,), (1,), (9,))
    assert replace(found, axis=-1) == folder_cases(root=volumes, patient=r"(p\d)_")
    for axis in (-2, 3):
        with refuses(rf"axis is {axis}; expected 0 \(sagittal slices\), 1"):
            folder_cases(root=volumes, axis=axis)


def test_a_flat_image_among_volumes_is_refused(volumes):
    touch(volumes, "images/b.png masks/b.nii")
    with refuses(r"has 1 files that are no volumes: '.*b.png'; expected .nii"):
        folder_cases(root=volumes, classes=CLASSES, axis=-1)
