"""Small cases on disk for the tests of segmentation, and backbones that are cut short."""

from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from backbones import build_backbone
from tasks.common.recipe import build
from tasks.common.resume import card as checkpoint
from tasks.segmentation.data.cases import CaseSet, class_table
from tasks.segmentation.data.layouts.folder import named_cases

SPACING = (0.5, 1.0, 3.0)  # of rows, columns and slices, as NIfTI has them


def refuses(message):
    """Expect an error that a user can mend, with a message that has this pattern."""
    return pytest.raises(ValueError, match=message)


def misses(message):
    """Expect an error about a file that is not there, with a message that has this pattern."""
    return pytest.raises(FileNotFoundError, match=message)


def save(path, values, *, zooms=(1, 1, 1), at=0.0, **options):
    """Write an array, or rows of bytes, in the file type of the name; return the path.

    A volume has voxels of the size ``zooms``, the first one at (``at``, 0, 0).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = values if isinstance(values, np.ndarray) else np.array(values, np.uint8)
    if ".nii" in path.name:
        affine = np.diag([*zooms, 1.0])
        affine[0, 3] = at
        nib.save(nib.Nifti1Image(pixels, affine), path)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, pixels, **options)
    else:
        Image.fromarray(pixels).save(path, **options)
    return path


def save_all(folder, suffix=".png", **files):
    """Write files of one folder, by their names without the suffix; see `save`."""
    for name, values in files.items():
        save(folder / f"{name}{suffix}", values)


def told(case_set):
    """The name, the patient and the split of each case."""
    return [(case.name, case.patient, case.split) for case in case_set.cases]


def set_of(files, classes, *, source="data"):
    """Return a data set of cases by name, each with the paths of its images and of its masks."""
    return CaseSet(source=source, cases=named_cases(files, None), classes=classes)


@pytest.fixture
def shallow(monkeypatch):
    """Cut every backbone off after three stages: the same code in a tenth of the time."""
    names = ("c1", "c2", "c3")

    def short(name, **options):
        return build_backbone(name, **options | {"out_features": names})

    monkeypatch.setattr(build, "build_backbone", short)
    monkeypatch.setattr(checkpoint, "build_backbone", short)


@pytest.fixture
def write_set(tmp_path):
    """Write pairs of an image and its mask below ``tmp_path``; see `write_set_below`."""
    return partial(write_set_below, tmp_path)


def write_set_below(root, pairs, *, classes=None, name="case"):
    """Write images (C, D, H, W) with masks (D, H, W) or (K, D, H, W) and return them as a data set.

    One slice becomes a PNG file per channel, several become NIfTI volumes.
    """
    files = {
        f"{name}{n}": (
            _write(root / f"{name}{n}", image),
            _write(root / f"{name}{n}_mask", mask if mask.ndim == 4 else mask[None]),
        )
        for n, (image, mask) in enumerate(pairs)
    }
    classes = classes or class_table({0: "background", 1: "square"})
    return set_of(files, classes, source=str(root))


def _write(stem, layers):
    """Write (C, D, H, W), a file per channel."""
    if len(layers[0]) == 1:
        return tuple(save(Path(f"{stem}_{n}.png"), layer[0]) for n, layer in enumerate(layers))
    volumes = enumerate(layers.transpose(0, 2, 3, 1))
    return tuple(save(Path(f"{stem}_{n}.nii"), volume, zooms=SPACING) for n, volume in volumes)
