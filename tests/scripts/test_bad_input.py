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
UNDONE = {  # by task: options, message
    "detection": [
        ("data.root=/nowhere", "root '/nowhere' does not exist"),
        ("data.train=annotations/none.json", "none.json"),
        ("backbone.freeze=9", "freeze takes 0 to 5 stages, got 9"),
        ("backbone.weights=/nowhere.pth", "/nowhere.pth"),
        ("model.features=[c3,c9]", "unknown feature 'c9'"),
        ("model.anchor_sizes=[8]", "anchor_sizes takes one size per pyramid level"),
        ("trainer.strategy=dpp", "invalid strategy name: `strategy='dpp'`"),
        ("trainer.strategy=deepspeed", "trainer.strategy does not fit: .*DeepSpeed"),
        ("resume=/nowhere.ckpt", "/nowhere.ckpt"),
        ("recipe.unfreeze={c5:1} recipe.epochs=2", UNFREEZE),
        ("feature_cache.views=1 backbone.freeze=2", "views=1 takes at least 3 .*and 2 are frozen"),
        (
            "feature_cache.views=1 backbone=timm/resnet18 backbone.init=he backbone.freeze=4",
            "a TimmBackbone cannot be divided",
        ),
    ],
    "segmentation": [
        ("recipe.unfreeze={c5:1} recipe.epochs=2", UNFREEZE),
        ("model.norm=grop", "unknown model.norm 'grop'; did you mean 'group'"),
        ("input.patch=[60,64]", r"takes multiples of 32, .* got \[60, 64\]"),
        ("data.root=/nowhere", "root '/nowhere' does not exist"),
        ("data.val=[vali_*]", "data.val .*'vali_\\*'.* none of the 8"),
        ("data.classes={0:background,80:gland}", "no class: 160 .* expected 0, 8"),
        ("loss.class_weights=[1,2,3]", "class_weights .*3.*4"),
        ("model.norm=instance input.patch=[32,32]", r"sides from 64 .*\[32, 32\]: .*norm=group"),
        (
            "feature_cache.views=1 input.patches=1 recipe.batch_size=1 backbone.freeze=3",
            r"feature_cache\.views=1 of input\.patches=1 show 1 of \d+ slices",
        ),
        ("data.val=[] data.test=[] data.folds=9 data.fold=0", "folds is 9, but .* 8 patients"),
    ],
}


@pytest.mark.parametrize(
    ("task", "overrides", "message"),
    [(task, *case) for task, cases in UNDONE.items() for case in cases],
    indirect=["task"],
)
def test_a_bad_input_ends_before_a_folder_is_made(task, overrides, message, tmp_path):
    """A SystemExit with a text ends with exit code 1 and no trace."""
    with pytest.raises(SystemExit, match=f"(?s)^error: .*{message}"):
        task.train(tmp_path / "r", *overrides.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_error_is_one_line_on_stderr_and_the_exit_code_is_1(task, tmp_path):
    line = [part.replace("=tiny", "=resnet18") for part in task.line("r", "backbone.norm=v3")]
    line = [sys.executable, SCRIPTS / task.script, *line]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown backbone.norm 'v3'")
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


def cropped(_image, mask):
    rewritten(mask, lambda pixels: pixels[:50, :60])


def cut_off(image, _mask):
    image.write_bytes(image.read_bytes()[:900])


def unknown_value(_image, mask):
    rewritten(mask, lambda pixels: np.where(np.indices(pixels.shape).sum(0) < 3, 81, pixels))


def not_a_number(image, _mask):
    rewritten(image, lambda p: np.where(np.indices(p.shape).sum(0), p, np.float32("nan")), ".tif")


def five_channels(image, _mask):
    rewritten(image, lambda pixels: np.stack([pixels] * 5, axis=-1), ".tif")


def without_gland(_image, mask):
    for path in mask.parent.glob("train_*.png"):
        rewritten(path, lambda pixels: np.where(pixels == 80, 0, pixels).astype(np.uint8))


CLASSES = "data.classes={0: background, 80: gland, 160: nucleus, 255: vessel}"
DAMAGES = [  # what is done to the image and the mask of a case, and the message
    (lambda image, _: image.unlink(), r"1 of 8 masks without an image \('?train_0002'?\)"),
    (lambda _, mask: mask.unlink(), r"1 of 8 images without a mask \('?train_0002'?\)"),
    (cropped, r"train_0002.png has the size 1 x 50 x 60, but .*train_0002.png has"),
    (cut_off, r"1 of 8 cases cannot be used:.*train_0002.png cannot be decoded"),
    (unknown_value, r"values that are in no class: 81 \(6 pixels\); expected 0, 80, 160, 255"),
    (not_a_number, r"train_0002.tif has 1 numbers that are NaN or infinite"),
    (five_channels, r"train_0002: the image has 5 channels .*test_0000, have 1 channels"),
    (without_gland, r"train has no pixel of gland"),
]


@pytest.mark.parametrize(("change", "message"), DAMAGES)
def test_damaged_data_end_the_run_before_it_begins(segmentation, change, message, tmp_path):
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
