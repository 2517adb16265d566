from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from tasks.segmentation.data.layouts.folder import folder_cases
from tasks.segmentation.data.layouts.volumes import volume_cases
from tests.tasks.segmentation.conftest import refuses


@pytest.fixture
def root(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for number, name in enumerate(("p1_a.nii.gz", "p2_a.NII")):
            (tmp_path / kind / name).touch()
            if kind == "masks":
                voxels = np.full((2, 3, 4), number, np.int16)
                voxels[0, 0, 0] = 9
                nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / kind / name.lower())
                if name != name.lower():
                    (tmp_path / kind / name).unlink()
    return tmp_path


def test_volumes_are_matched_as_in_any_folder_and_have_an_axis(root):
    found = volume_cases(root=root, patient=r"(p\d)_", axis=1)

    assert [(case.name, case.patient) for case in found.cases] == [("p1_a", "p1"), ("p2_a", "p2")]
    assert found.axis == 1
    assert found.classes.values == ((0,), (1,), (9,))
    assert replace(found, axis=-1) == folder_cases(root=root, patient=r"(p\d)_")
    assert volume_cases(root=str(root), classes={0: "background", 1: "x"}).axis == -1


def test_other_folders_and_classes_are_passed_on(root):
    (root / "images").rename(root / "ct")
    (root / "masks").rename(root / "labels")

    found = volume_cases(root=root, images="ct", masks="labels", classes={0: "background", 1: "x"})

    assert found.classes.names == ("background", "x")
    assert found.cases[0].images == (root / "ct" / "p1_a.nii.gz",)


@pytest.mark.parametrize("axis", [-2, 3, None])
def test_an_axis_that_a_volume_does_not_have_is_refused(root, axis):
    with refuses(rf"axis is {axis}; expected 0 \(sagittal slices\), 1"):
        volume_cases(root=root, axis=axis)


def test_a_flat_image_among_volumes_is_refused(root):
    (root / "images" / "b.png").touch()
    (root / "masks" / "b.nii").touch()

    with refuses(r"has 1 files that are no volumes: '.*b.png'; expected .nii"):
        volume_cases(root=root, classes={0: "background", 1: "x"})
