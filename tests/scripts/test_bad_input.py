"""What ends a run before it begins: one line, exit code 1, and no folder.

Mistakes in the options themselves are in test_command_line.py.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.scripts.conftest import SCRIPTS, SPLIT, det_command, in_process, seg_command

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
    split = SPLIT if name == "segmentation" else ()
    line = tasks[name].line(tmp_path / "r", *split, *overrides)
    with pytest.raises(SystemExit, match=f"(?s)^error: .*{message}"):
        in_process(tasks[name].script, line, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_error_is_one_line_on_stderr_and_the_exit_code_is_1(task, tmp_path):
    line = [sys.executable, SCRIPTS / task.script, *task.line("r", "backbone.norm=v3")]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown norm 'v3'")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def copied(tasks, tmp_path):
    """A function that copies a task's data set, to damage it."""

    def copy(name):
        return Path(shutil.copytree(tasks[name].root, tmp_path / "data"))

    return copy


def test_an_image_of_another_size_ends_the_run_before_its_folder_is_made(copied, tmp_path):
    data = copied("detection")
    cv2.imwrite(str(data / "images" / "val_0000.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SystemExit, match=r"1 of 5 images cannot be used: val_0000.png is 8x8"):
        in_process("train_det.py", det_command(data, tmp_path / "r"), tmp_path)
    assert not (tmp_path / "r").exists()


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


def _no_image(image, _mask):
    image.unlink()


def _no_mask(_image, mask):
    mask.unlink()


def _other_size(_image, mask):
    Image.fromarray(np.zeros((50, 60), np.uint8)).save(mask)


def _damaged(image, _mask):
    image.write_bytes(image.read_bytes()[:900])


def _unknown_value(_image, mask):
    values = pixels(mask)
    values[:2, :3] = 81
    Image.fromarray(values).save(mask)


def _nan(image, _mask):
    values = pixels(image).astype(np.float32)
    values[3, 4] = np.nan
    image.unlink()
    Image.fromarray(values).save(image.with_suffix(".tif"))


def _five_channels(image, _mask):
    values = np.stack([pixels(image)] * 5, axis=-1)
    image.unlink()
    tifffile.imwrite(image.with_suffix(".tif"), values, photometric="rgb")


def _without_gland(_image, mask):
    for path in mask.parent.glob("train_*.png"):
        values = pixels(path)
        values[values == 80] = 0
        Image.fromarray(values).save(path)


CLASSES = "data.classes={0: background, 80: gland, 160: nucleus, 255: vessel}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_no_image, r"1 of 8 masks without an image \('?train_0002'?\)"),
        (_no_mask, r"1 of 8 images without a mask \('?train_0002'?\)"),
        (_other_size, r"train_0002.png has the size 1 x 50 x 60, but .*train_0002.png has"),
        (_damaged, r"1 of 8 cases cannot be used:.*train_0002.png cannot be decoded"),
        (_unknown_value, r"values that are in no class: 81 \(6 pixels\); expected 0, 80, 160, 255"),
        (_nan, r"train_0002.tif has 1 numbers that are NaN or infinite"),
        (_five_channels, r"train_0002: the image has 5 channels .*test_0000, have 1 channels"),
        (_without_gland, r"train has no pixel of gland"),
    ],
)
def test_damaged_data_end_the_run_before_its_folder_is_made(copied, change, message, tmp_path):
    data = copied("segmentation")
    change(data / "images" / "train_0002.png", data / "masks" / "train_0002.png")
    with pytest.raises(SystemExit, match=f"(?s)^error: .*{message}"):
        in_process("train_seg.py", seg_command(data, tmp_path / "r", *SPLIT, CLASSES), tmp_path)
    assert not (tmp_path / "r").exists()
