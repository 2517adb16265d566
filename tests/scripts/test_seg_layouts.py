"""Every layout of data, from files that a test writes to predictions beside them.

Whatever the layout, the masks that a checkpoint predicts, read with Pillow or nibabel and compared
with the true ones by counting, have the Dice that the run reported.
"""

import json
import shutil
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from tasks.common.predict.predict import PredictOptions
from tasks.segmentation.module import SegmentationModule
from tasks.segmentation.scores.predict import find_cases, predict_cases
from tasks.segmentation.scores.trained import load_segmenter
from tests.scripts.conftest import in_process, read_json, rows, seg_command, stop_at

SPLIT = "data.val=[p3]", "data.test=[p4]"


class Layout(NamedTuple):
    """A data set of five cases, p0 to p4; p4 is the test, or the validation if there is none."""

    options: tuple  # of the command line
    channels: int  # of an image
    images: list  # the files of p4's image
    truths: dict  # by class: the files of its true and its predicted mask, and its value in both


def shape_and_mask(random, size):
    """An image with something lighter in it, and where that is."""
    mask = np.zeros(size, bool)
    mask[tuple(slice(side // 4, side // 4 + max(1, side // 2)) for side in size)] = True
    return random.normal(100, 10, size) + 60 * mask, mask


def save(path, values, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    if affine is None:
        Image.fromarray(values).save(path)
    else:
        nib.save(nib.Nifti1Image(values, affine), path)
    return path


def read(path):
    if path.name.endswith(".nii.gz"):
        return np.asarray(nib.load(path).dataobj)
    with Image.open(path) as image:
        return np.array(image)


def coloured_with_a_folder_per_class(root, random):
    """RGB as PNG; one class lies within the other."""
    for number in range(5):
        planes = [shape_and_mask(random, (40, 56)) for _ in range(3)]
        image = np.stack([plane for plane, _ in planes], axis=-1).clip(0, 255).astype(np.uint8)
        save(root / "images" / f"p{number}.png", image)
        outer = planes[0][1]
        masks = {"outer": outer, "inner": outer & (np.arange(56) < 20)}
        for name, mask in masks.items():
            save(root / "masks" / name / f"p{number}.png", mask.astype(np.uint8) * 255)
    options = "data=folder", *SPLIT, "model.deep_supervision=true"
    truths = {name: (root / "masks" / name / "p4.png", f"p4_{name}.png", 0) for name in masks}
    return Layout(options, 3, [root / "images" / "p4.png"], truths)


def seven_channels_of_16_bits_in_a_table(root, random):
    """A TIFF per channel, and mask values above 255."""
    lines = [",".join(["name", *(f"image:{c}" for c in range(7)), "mask"])]
    for number in range(5):
        cells = [f"p{number}"]
        for channel in range(7):
            image, mask = shape_and_mask(random, (48, 40))
            cells.append(f"x/p{number}_{channel:04d}.tif")
            save(root / cells[-1], (image * 200).astype(np.uint16))
        cells.append(f"y/p{number}.tif")
        save(root / cells[-1], mask.astype(np.uint16) * 1000)
        lines.append(",".join(cells))
    (root / "data.csv").write_text("\n".join(lines))
    options = "data=csv", *SPLIT, "data.classes={0: background, 1000: cell}"
    images = [root / "x" / f"p4_{channel:04d}.tif" for channel in range(7)]
    return Layout(options, 7, images, {"cell": (root / "y" / "p4.tif", "p4.tif", 1000)})


def nnunet_of_four_channels(root, random):
    """Thick slices, stored from left and from the front; slices beside each are seen as well."""
    affine = np.diag([-0.8, -0.9, 5.0, 1.0])
    affine[:3, 3] = 40, 30, -100
    for number in range(5):
        for channel in range(4):
            image, mask = shape_and_mask(random, (30, 34, 3))
            name = f"p{number}_{channel:04d}.nii.gz"
            save(root / "imagesTr" / name, (image - 900).astype(np.int16), affine)
        labels = mask.astype(np.uint8) * 2
        labels[:9, -9:] = 1
        save(root / "labelsTr" / f"p{number}.nii.gz", labels, affine)
    description = {
        "channel_names": {str(channel): f"c{channel}" for channel in range(4)},
        "labels": {"background": 0, "organ": 1, "lesion": 2},
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(description))
    truth = root / "labelsTr" / "p4.nii.gz"
    images = [root / "imagesTr" / f"p4_{channel:04d}.nii.gz" for channel in range(4)]
    truths = {"organ": (truth, "p4.nii.gz", 1), "lesion": (truth, "p4.nii.gz", 2)}
    return Layout(("data=nnunet", *SPLIT, "input.neighbours=1"), 4, images, truths)


def volumes_stored_in_another_order(root, random):
    """The axes are P, I and R, slices lie along the first, and numbers are floats."""
    affine = np.array([[0, 0, 0.9, -10], [-4, 0, 0, 60], [0, -0.7, 0, 25], [0, 0, 0, 1]])
    for number in range(5):
        image, mask = shape_and_mask(random, (4, 33, 31))
        save(root / "images" / f"p{number}.nii.gz", image.astype(np.float32), affine)
        save(root / "masks" / f"p{number}_seg.nii.gz", mask.astype(np.uint8), affine)
    classes = "data.classes={0: background, 1: organ}"
    options = "data=nifti", classes, "data.val=[p4]", "input.flips=true"
    truths = {"organ": (root / "masks" / "p4_seg.nii.gz", "p4.nii.gz", 1)}
    return Layout(options, 1, [root / "images" / "p4.nii.gz"], truths)


def step_of(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]


SLOW = coloured_with_a_folder_per_class, seven_channels_of_16_bits_in_a_table
SLOW += (volumes_stored_in_another_order,)
LAYOUTS = nnunet_of_four_channels, *(pytest.param(f, marks=pytest.mark.slow) for f in SLOW)


@pytest.mark.usefixtures("_no_pictures")
@pytest.mark.parametrize("write", LAYOUTS)
def test_a_layout_is_trained_resumed_and_predicted(write, tmp_path, monkeypatch, capsys):
    data, first, second, new, out = (tmp_path / n for n in ("data", "a", "b", "new", "out"))
    layout = write(data, np.random.default_rng(0))
    options = *layout.options, "recipe.optimizer=sgd", "trainer.max_steps=2"
    with monkeypatch.context() as patch:
        stop_at(patch, SegmentationModule, batch=0)
        with pytest.raises(SystemExit):
            in_process("train_seg.py", seg_command(data, first, *options), tmp_path)
    line = seg_command(data, second, *options, f"resume={first / 'checkpoints' / 'last.ckpt'}")
    in_process("train_seg.py", line, tmp_path)
    assert (step_of(first), step_of(second)) == (1, 2)
    scored = "test" if "data.test=[p4]" in line else "val"
    assert f"Scores of the best checkpoint on {scored}" in capsys.readouterr().out
    assert read_json(second / "metrics.json")["scored split"] == scored
    new.mkdir()
    for file in layout.images:
        shutil.copy(file, new)
    model = load_segmenter(second / "checkpoints" / "best.ckpt")
    assert model.card.channels == layout.channels
    cases = find_cases([new], channels=model.card.channels, output=out)
    said, _ = predict_cases(model, cases, PredictOptions(output=out))
    assert said.text.startswith("p4: ")
    told = {row["class"]: row for row in rows(second / "cases.csv")}
    for name, (truth, predicted, value) in layout.truths.items():
        _check(layout.images[0], truth, out / "masks" / predicted)
        there, found = read(truth), read(out / "masks" / predicted)
        there, found = (mask == value if value else mask > 0 for mask in (there, found))
        dice = 2 * (there & found).sum() / (there.sum() + found.sum())
        assert int(told[name]["predicted_pixels"]) == found.sum()
        assert float(told[name]["dice"]) == pytest.approx(dice)
    assert (out / "overlays" / "p4.png").is_file()


def _check(image, truth, predicted):
    """A prediction lies on disk as the image does, and has no value that the truth may not have."""
    assert read(predicted).shape == read(truth).shape
    if predicted.name.endswith(".nii.gz"):
        ours, its = nib.load(predicted), nib.load(image)
        np.testing.assert_array_equal(ours.affine, its.affine)
        assert nib.aff2axcodes(ours.affine) == nib.aff2axcodes(its.affine)
        assert ours.header.get_zooms() == its.header.get_zooms()
