"""Small cases on disk for the tests of segmentation, and backbones that are cut short."""

from functools import partial

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from backbones import build_backbone
from tasks.common.recipe import build
from tasks.common.resume import card as checkpoint
from tasks.segmentation.data.cases import Case, CaseSet, class_table

SPACING = (0.5, 1.0, 3.0)  # of rows, columns and slices, as NIfTI has them


def refuses(message):
    """Expect an error that a user can mend, with a message that has this pattern."""
    return pytest.raises(ValueError, match=message)


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
    cases = [
        Case(
            name=f"{name}{number}",
            images=_write(root / f"{name}{number}", image),
            masks=_write(root / f"{name}{number}_mask", mask if mask.ndim == 4 else mask[None]),
            patient=f"{name}{number}",
        )
        for number, (image, mask) in enumerate(pairs)
    ]
    classes = classes or class_table({0: "background", 1: "square"})
    return CaseSet(source=str(root), cases=tuple(cases), classes=classes)


def _write(stem, layers):
    """Write (C, D, H, W), a file per channel."""
    paths = []
    for number, layer in enumerate(layers):
        flat = len(layer) == 1
        path = stem.with_name(f"{stem.name}_{number}{'.png' if flat else '.nii'}")
        if flat:
            Image.fromarray(layer[0]).save(path)
        else:
            nib.Nifti1Image(layer.transpose(1, 2, 0), np.diag([*SPACING, 1])).to_filename(path)
        paths.append(path)
    return tuple(paths)
