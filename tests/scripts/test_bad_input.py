"""What ends a run before it begins: one line, exit code 1, and no folder.

Mistakes in the options themselves are in test_command_line.py.
"""

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.scripts.conftest import SCRIPTS

UNFREEZE = r"recipe\.unfreeze names c5, .*set backbone\.freeze=5"
UNDONE = [  # task, options, message
    ("detection", ["data.root=/nowhere"], "root '/nowhere' does not exist"),
    ("detection", ["data.train=annotations/none.json"], "none.json"),
    ("detection", ["backbone.freeze=9"], "freeze takes 0 to 5 stages, got 9"),
    ("detection", ["backbone.weights=/nowhere.pth"], "/nowhere.pth"),
    ("detection", ["model.features=[c3,c9]"], "unknown feature 'c9'"),
    ("detection", ["model.anchor_sizes=[8]"], "anchor_sizes takes one size per pyramid level"),
    ("detection", ["trainer.strategy=dpp"], "invalid strategy name: `strategy='dpp'`"),
    ("detection", ["trainer.strategy=deepspeed"], "trainer.strategy does not fit: .*DeepSpeed"),
    ("detection", ["resume=/nowhere.ckpt"], "/nowhere.ckpt"),
    ("detection", ["recipe.unfreeze={c5: 1}", "recipe.epochs=2"], UNFREEZE),
    (
        "detection",
        ["feature_cache.views=1", "backbone.freeze=2"],
        "feature_cache.views=1 takes at least 3 frozen stages, and 2 are frozen",
    ),
    (
        "detection",
        [
            "feature_cache.views=1",
            "backbone=timm/resnet18",
            "backbone.init=he",
            "backbone.freeze=4",
        ],
        "a TimmBackbone cannot be divided",
    ),
    ("segmentation", ["recipe.unfreeze={c5: 1}", "recipe.epochs=2"], UNFREEZE),
    ("segmentation", ["model.norm=grop"], "unknown norm 'grop'; did you mean 'group'"),
    ("segmentation", ["input.patch=[60,64]"], r"takes multiples of 32, .* got \[60, 64\]"),
    ("segmentation", ["data.root=/nowhere"], "root '/nowhere' does not exist"),
    ("segmentation", ["data.val=[vali_*]"], "data.val .*'vali_\\*'.* none of the 8"),
    ("segmentation", ["data.classes={0: background, 80: gland}"], "no class: 160 .* expected 0, 8"),
    ("segmentation", ["loss.class_weights=[1,2,3]"], "class_weights .*3.*4"),
    (
        "segmentation",
        ["model.norm=instance", "input.patch=[32,32]"],
        r"input.patch takes sides from 64 with this norm, got \[32, 32\]: .* model.norm=group",
    ),
    (
        "segmentation",
        ["data.val=[]", "data.test=[]", "data.folds=9", "data.fold=0"],
        "data.folds is 9, but there are 8 patients",
    ),
]


@pytest.mark.parametrize(("name", "overrides", "message"), UNDONE)
def test_a_bad_input_ends_with_its_message_before_a_folder_is_made(
    tasks, name, overrides, message, tmp_path
):
    """A SystemExit with a text ends with exit code 1 and no trace."""
    with pytest.raises(SystemExit, match=f"(?s)^error: .*{message}"):
        tasks[name].train(tmp_path / "r", *overrides)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_error_is_one_line_on_stderr_and_the_exit_code_is_1(task, tmp_path):
    line = [sys.executable, SCRIPTS / task.script, *task.line("r", "backbone.norm=v3")]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown norm 'v3'")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def rewritten(path, change, suffix=".png"):
    """Replace a file by one of its pixels after a change."""
    with Image.open(path) as image:
        values = change(np.array(image))
    path.unlink()
    if values.ndim == 3:  # Pillow writes no five channels
        tifffile.imwrite(path.with_suffix(suffix), values, photometric="rgb")
    else:
        Image.fromarray(values).save(path.with_suffix(suffix))


def filled(where, value, kind=np.uint8):
    """A function that puts a value into pixels."""

    def fill(pixels):
        pixels = pixels.astype(kind)
        pixels[where] = value
        return pixels

    return fill


def without_gland(_image, mask):
    for path in mask.parent.glob("train_*.png"):
        rewritten(path, lambda pixels: np.where(pixels == 80, 0, pixels).astype(np.uint8))


CLASSES = "data.classes={0: background, 80: gland, 160: nucleus, 255: vessel}"
DAMAGES = [  # what is done to the image and the mask of a case, and the message
    (lambda image, _: image.unlink(), r"1 of 8 masks without an image \('?train_0002'?\)"),
    (lambda _, mask: mask.unlink(), r"1 of 8 images without a mask \('?train_0002'?\)"),
    (
        lambda _, mask: rewritten(mask, lambda pixels: pixels[:50, :60]),
        r"train_0002.png has the size 1 x 50 x 60, but .*train_0002.png has",
    ),
    (
        lambda image, _: image.write_bytes(image.read_bytes()[:900]),
        r"1 of 8 cases cannot be used:.*train_0002.png cannot be decoded",
    ),
    (
        lambda _, mask: rewritten(mask, filled(np.s_[:2, :3], 81)),
        r"values that are in no class: 81 \(6 pixels\); expected 0, 80, 160, 255",
    ),
    (
        lambda image, _: rewritten(image, filled((3, 4), np.nan, np.float32), ".tif"),
        r"train_0002.tif has 1 numbers that are NaN or infinite",
    ),
    (
        lambda image, _: rewritten(image, lambda pixels: np.stack([pixels] * 5, -1), ".tif"),
        r"train_0002: the image has 5 channels .*test_0000, have 1 channels",
    ),
    (without_gland, r"train has no pixel of gland"),
]


@pytest.mark.parametrize(("change", "message"), DAMAGES)
def test_damaged_data_end_the_run_before_its_folder_is_made(
    segmentation, change, message, tmp_path
):
    data = shutil.copytree(segmentation.root, tmp_path / "data")
    change(data / "images" / "train_0002.png", data / "masks" / "train_0002.png")
    with pytest.raises(SystemExit, match=f"(?s)^error: .*{message}"):
        replace(segmentation, root=data).train(tmp_path / "r", CLASSES)
    assert not (tmp_path / "r").exists()


def test_an_image_of_another_size_ends_the_run_before_its_folder_is_made(detection, tmp_path):
    data = shutil.copytree(detection.root, tmp_path / "data")
    rewritten(data / "images" / "val_0000.png", lambda pixels: pixels[:8, :8])
    with pytest.raises(SystemExit, match=r"1 of 5 images cannot be used: val_0000.png is 8x8"):
        replace(detection, root=data).train(tmp_path / "r")
    assert not (tmp_path / "r").exists()
