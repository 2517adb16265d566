import json

import numpy as np
import pytest

from tasks.segmentation.data.cases import ClassTable
from tasks.segmentation.data.formats.files import read_image
from tasks.segmentation.data.layouts.nnunet import nnunet_cases
from tasks.segmentation.data.masks.read import read_mask
from tests.tasks.segmentation.conftest import misses, refuses, save, told

BRATS = {"background": 0, "whole tumor": [1, 2, 3], "core": [2, 3], "enhancing": 3}


@pytest.fixture
def dataset(tmp_path):
    """Write a data set of empty files, and read it; None leaves a key of dataset.json out."""

    def write_and_read(
        *,
        cases=("p1_a", "p2_a"),
        channels=("CT",),
        ending=".nii.gz",
        files=None,
        options=(),
        **keys,
    ):
        for folder in ("imagesTr", "labelsTr"):
            (tmp_path / folder).mkdir(exist_ok=True)
        for case in cases:
            for number in range(len(channels)) if files is None else files:
                (tmp_path / "imagesTr" / f"{case}_{number:04d}{ending}").touch()
            (tmp_path / "labelsTr" / f"{case}{ending}").touch()
        description = {
            "channel_names": {str(number): name for number, name in enumerate(channels)},
            "labels": {"background": 0, "tumor": 1},
            "numTraining": len(cases),
            "file_ending": ending,
        } | keys
        kept = {key: value for key, value in description.items() if value is not None}
        (tmp_path / "dataset.json").write_text(json.dumps(kept))
        return nnunet_cases(root=tmp_path, **dict(options))

    return write_and_read


def test_files_become_cases_with_their_channels_in_order(dataset, tmp_path):
    found = dataset(channels=("T2", "ADC"), options={"patient": r"(p\d)_", "axis": 2})
    assert (found.channel_names, found.axis) == (("T2", "ADC"), 2)
    assert told(found) == [("p1_a", "p1", None), ("p2_a", "p2", None)]
    images = tuple(tmp_path / "imagesTr" / f"p2_a_000{n}.nii.gz" for n in (0, 1))
    assert found.cases[1].images == images
    assert found.cases[1].masks == (tmp_path / "labelsTr" / "p2_a.nii.gz",)


@pytest.mark.parametrize(
    ("keys", "classes"),
    [
        (
            {"labels": {"tumor": 2, "background": 0, "liver": [1], "ignore": 3}},
            {"names": ("background", "tumor", "liver"), "values": ((0,), (2,), (1,))},
        ),
        (  # regions overlap
            {"labels": BRATS | {"ignore": 4}, "regions_class_order": [1, 2, 3]},
            {"names": tuple(BRATS)[1:], "values": ((1, 2, 3), (2, 3), (3,)), "exclusive": False},
        ),
    ],
)
def test_labels_and_regions_become_classes_and_ignore_is_left_out(dataset, keys, classes):
    ignored = (keys["labels"]["ignore"],)
    assert dataset(**keys).classes == ClassTable(**classes, ignored=ignored)


def test_version_1_is_read_as_well(dataset):
    labels = {"0": "background", "1": "PZ", "2": "TZ"}
    found = dataset(channel_names=None, file_ending=None, modality={"0": "T2"}, labels=labels)
    assert (found.channel_names, len(found.cases)) == (("T2",), 2)
    assert found.classes == ClassTable(names=tuple(labels.values()), values=((0,), (1,), (2,)))


def test_a_colour_image_is_one_file_of_three_channels(dataset):
    found = dataset(channels=("R", "G", "B"), ending=".png", files=[0])
    assert [len(case.images) for case in found.cases] == [1, 1]
    assert found.channel_names == ("R", "G", "B")


def listing(images, label="labelsTr/p1_a.nii.gz"):
    """Return the keys of a dataset.json that lists the files of one case."""
    return {"dataset": {"p1_a": {"images": images, "label": label}}, "numTraining": 1}


def test_dataset_json_may_list_the_files(dataset, tmp_path):
    for name in ("x.png", "y.png", "seg.png"):
        (tmp_path / name).touch()
    keys = listing(["y.png", str(tmp_path / "x.png")], "seg.png")
    (case,) = dataset(channels="ab", ending=".png", **keys).cases
    assert (case.name, case.images) == ("p1_a", (tmp_path / "y.png", tmp_path / "x.png"))
    assert case.masks == (tmp_path / "seg.png",)
    (case,) = dataset(**listing([r"imagesTr\p1_a_0000.nii.gz"])).cases
    assert case.images == (tmp_path / "imagesTr" / "p1_a_0000.nii.gz",)


def test_a_file_that_dataset_json_lists_is_looked_for(dataset):
    with misses(r"dataset.json: case 'p1_a': file .*no.png'"):
        dataset(**listing(["no.png"]))
    label = "Dataset001/labelsTr/p1_a.nii.gz"
    with misses(rf"'{label}' does not exist .* holds 'labelsTr/p1_a.nii.gz': write"):
        dataset(**listing([r"imagesTr\p1_a_0000.nii.gz"], label))


def test_hidden_files_and_test_images_are_no_cases(dataset, tmp_path):
    (tmp_path / "imagesTs").mkdir()
    (tmp_path / "imagesTs" / "p9_0000.nii.gz").touch()
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder / "__MACOSX.nii.gz").mkdir(parents=True)
        (tmp_path / folder / "._p1_a_0000.nii.gz").touch()
    assert len(dataset().cases) == 2


def test_a_fold_of_nnunet_says_the_sides(dataset, tmp_path):
    folds = [{"train": ["p1_a"], "val": ["p2_a"]}, {"train": ["p2_a"], "val": ["p1_a"]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(folds))

    def sides(**options):
        found = dataset(options={"splits": "splits_final.json", **options})
        return [case.split for case in found.cases]

    assert sides() == ["train", "val"]
    assert sides(splits_fold=1) == ["val", "train"]
    for fold in (-1, 2):
        with refuses(rf"splits_fold is {fold}; expected 0 to 1, as .* 2 folds"):
            sides(splits_fold=fold)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{", "splits.json: not valid JSON at line 1, column 3"),
        ("{}", r"splits.json: expected a list of folds, each \{\"train\": \[names\]"),
        ('[{"train": ["p1_a"]}]', "expected a list of folds"),
        ('[{"train": ["p1_a.nii.gz"], "val": ["p2_a"]}]', "'p1_a.nii.gz'; expected names of"),
        ('[{"train": "p1_a", "val": []}]', "expected a list of folds"),
        ('[{"train": ["p1_a"], "val": []}]', "fold 0 has no val case; expected one at least"),
        ('[{"train": ["p1_a", "p3"], "val": ["p2_a"]}]', "names cases that are not there: 'p3'"),
        ('[{"train": ["p1_a", "p2_a"], "val": ["p2_a"]}]', "fold 0: 'p2_a' is named twice"),
        ('[{"train": ["p1_a", "p1_a"], "val": ["p2_a"]}]', "fold 0: 'p1_a' is named twice"),
    ],
)
def test_a_fold_that_does_not_fit_is_refused(dataset, tmp_path, text, message):
    (tmp_path / "splits.json").write_text(text)
    with refuses(message):
        dataset(options={"splits": "splits.json"})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"file_ending": None}, "'file_ending' is missing; expected an object with channel_names,"),
        ({"labels": None, "label": {}}, r"'labels' is missing \(nearest: 'label'\)"),
        ({"channel_names": None}, "'channel_names' is missing"),
        ({"file_ending": ".dcm"}, "file_ending is '.dcm'; expected one of .*.nii.gz"),
        ({"channel_names": {"1": "CT"}}, r"channel_names is \{'1': 'CT'\}; expected numbers fr"),
        ({"channel_names": ["CT"]}, r"channel_names is \['CT'\]; expected numbers"),
        ({"channel_names": {}}, r"channel_names is \{\}; expected"),
        ({"labels": {"background": 0, "a": 1, "b": 3}}, "demands background 0 and consecutive"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "consecutive numbers"),
        ({"labels": {"background": 1, "a": 0}}, "demands background 0"),
        ({"labels": {"a": 0, "b": 1}}, "demands background 0"),
        ({"labels": {"background": 0, "a": 2, "ignore": 1}}, "the highest for 'ignore'"),
        ({"labels": {"background": 0, "a": 1, "ignore": [2, 3]}}, "the highest for 'ignore'"),
        ({"labels": {"background": 0, "a": [1, 3], "b": 3}}, "consecutive"),
        ({"labels": {"background": 0, "a": 1.5}}, "expected names with a number"),
        ({"labels": {"background": 0, "a": "one"}}, "expected names with a number or, for regions"),
        ({"labels": [0, 1]}, r"labels is \[0, 1\]; expected names with a number"),
        ({"labels": {"background": 0}}, "a class table needs a class besides background"),
        ({"numTraining": 3}, "numTraining is 3, but there are 2 cases"),
        ({"channels": "abc", "files": [0, 1]}, r"case 'p1_a' of channels 0 to 2 lacks 0002 \(c\)"),
        ({"channels": "abc", "files": [1]}, r"lacks 0000 \(a\), 0002 \(c\); expected"),
        ({"channels": "ab", "files": [0]}, r"lacks 0001 \(b\)"),
        ({"channels": "abc", "files": [0, 2], "ending": ".png"}, r"lacks 0001 \(b\)"),
        ({"channels": "ab"} | listing(["labelsTr/p1_a.nii.gz"]), r"'p1_a' .* 0 to 1 lacks 0001"),
        ({"files": [0, 1]}, "case 'p1_a' of channels 0 to 0 has also 0001; expected all that"),
        ({"cases": ()}, "imagesTr: no files .* file_ending '.nii.gz' of dataset.json. .*is empty"),
        ({"dataset": {"one": {"label": "x"}}}, r"dataset has 'one': \{'label': 'x'\}; expected"),
        ({"dataset": ["one"]}, r"dataset has '': \['one'\]; expected"),
        ({"dataset": {}}, "dataset lists no case"),
        ({"options": {"axis": 3}}, "axis is 3; expected 0"),
        ({"options": {"patient": "p"}}, "patient is 'p' with 0 groups"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(dataset, keys, message):
    with refuses(message):
        dataset(**keys)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("labelsTr/p2_a", "labelsTr/p3", r"labelsTr: 1 of 2 .* \('p2_a'\) and 1 of 2 .* \('p3'\)"),
        ("imagesTr/p2_a_0001", "gone", r"case 'p2_a' of channels 0 to 1 lacks 0001 \(G\)"),
        ("imagesTr/p2_a_0001", "imagesTr/p2", "p2.nii.gz has no channel number; .*Medical Decath"),
    ],
)
def test_files_that_do_not_match_are_named(dataset, tmp_path, before, after, message):
    dataset(channels="RG")
    (tmp_path / f"{before}.nii.gz").rename(tmp_path / f"{after}.nii.gz")
    with refuses(message):
        nnunet_cases(root=tmp_path)


def test_a_missing_or_broken_description_is_refused(tmp_path):
    with misses(r"nnU-Net's description .*dataset.json' does not"):
        nnunet_cases(root=tmp_path)
    with misses(r"root .*does not exist"):
        nnunet_cases(root=tmp_path / "x")
    for text, message in (
        ('{"labels": {}\n"x"}', "dataset.json: not valid JSON at line 2, column 1"),
        ("[]", "'channel_names' is missing; .*got none of them"),
    ):
        (tmp_path / "dataset.json").write_text(text)
        with refuses(message):
            nnunet_cases(root=tmp_path)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"background": 0, "PZ": 1, "TZ": 2, "ignore": 3}, [[0, 2, 0, 2], [1, 255, 1, 255]]),
        (BRATS, [[[0, 1, 0, 1], [1] * 4], [[0, 1, 0, 1], [0, 1, 0, 1]], [[0] * 4, [0, 1, 0, 1]]]),
    ],
)
def test_volumes_have_their_channels_spacing_and_labels(dataset, tmp_path, labels, expected):
    values = np.arange(24, dtype=np.uint8).reshape(3, 4, 2) % 4  # at z = 0: 0 2 0 2, else 1 3 1 3
    dataset(cases=["p1"], channels=("T2", "ADC"))
    for name, voxels in (
        ("imagesTr/p1_0000", np.full_like(values, 10)),
        ("imagesTr/p1_0001", np.full_like(values, 11)),
        ("labelsTr/p1", values),
    ):
        save(tmp_path / f"{name}.nii.gz", voxels, zooms=(0.5, 0.6, 3.6))
    found = dataset(cases=["p1"], channels=("T2", "ADC"), labels=labels)
    image, geometry = read_image(found.cases[0].images, axis=found.axis)
    read, _ = read_mask(found.cases[0].masks, found.classes, axis=found.axis)
    assert image.shape == (2, 2, 3, 4)
    assert image[:, 0, 0, 0].tolist() == [10, 11]
    assert geometry.spacing == pytest.approx((3.6, 0.5, 0.6))
    assert read[..., 0, :].tolist() == expected


def test_cases_that_a_fold_leaves_out_are_left_out_and_counted(dataset, tmp_path):
    (tmp_path / "splits.json").write_text('[{"train": ["p1_a"], "val": ["p3_a"]}]')
    found = dataset(cases=("p1_a", "p2_a", "p3_a", "p4_a"), options={"splits": "splits.json"})
    assert [(case.name, case.split) for case in found.cases] == [("p1_a", "train"), ("p3_a", "val")]
    assert found.notes == ("splits.json, fold 0 leaves out 2 of 4 cases: 'p2_a', 'p4_a'",)
