"""What ends a segmentation run before it begins: one message, exit code 1, and no folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_seg.py"
SPLIT = ("data.val=[val_*]", "data.test=[test_*]")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("backbone=resnet51", "no backbone=resnet51; did you mean 'resnet50'"),
        ("data=foldr", "no data=foldr; did you mean 'folder'.*Known: csv, folder, nifti, nnunet"),
        ("input.pach=[64,64]", "did you mean 'input.patch'"),
        ("recipe.epochs=many", "'many' .*could not be converted to Integer"),
        ("loss.name=dise", "unknown loss.name 'dise'; did you mean 'dice'"),
        ("model.norm=grop", "unknown norm 'grop'; did you mean 'group'"),
        ("input.patch=[60,64]", r"input.patch takes multiples of 32, .* got \[60, 64\]"),
        ("data.root=/nowhere", "root '/nowhere' does not exist"),
        ("data.val=[vali_*]", "data.val has the pattern 'vali_\\*', which matches none of the 8"),
        ("data.classes={0: background, 80: gland}", "no class: 160 .* expected 0, 80"),
        ("loss.class_weights=[1,2,3]", "class_weights .*3.*4"),
        ("on_bad_image=ignore", "on_bad_image takes error or skip, got 'ignore'"),
    ],
)
def test_a_bad_input_ends_with_its_message_before_a_folder_is_made(
    seg_root, tmp_path, override, message, seg_command, in_process
):
    """A SystemExit with a text ends with exit code 1 and no trace."""
    command = seg_command(seg_root, tmp_path / "r", *SPLIT, override)
    with pytest.raises(SystemExit, match=f"(?s)^error: .*{message}"):
        in_process("train_seg.py", command, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model.norm=instance", "input.patch=[32,32]"],
            r"input.patch takes sides from 64 with this norm, got \[32, 32\]: .* model.norm=group",
        ),
        (
            ["data.fold=5"],
            "data.fold takes a whole number from 0 to 4 where data.folds is 5, got 5",
        ),
        (["data.folds=9", "data.fold=0"], "data.folds is 9, but there are 8 patients"),
    ],
)
def test_what_does_not_go_together_is_refused(
    seg_root, tmp_path, overrides, message, seg_command, in_process
):
    command = seg_command(seg_root, tmp_path / "r", *overrides)
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        in_process("train_seg.py", command, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_data_root_is_asked_for(tmp_path, in_process):
    with pytest.raises(SystemExit, match=r"^error: data.root is not given; add data.root="):
        in_process("train_seg.py", ["data=folder"], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def data(seg_root, tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(seg_root, tmp_path / "data"))


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


def _no_image(data):
    (data / "images" / "train_0002.png").unlink()


def _no_mask(data):
    (data / "masks" / "train_0002.png").unlink()


def _other_size(data):
    Image.fromarray(np.zeros((50, 60), np.uint8)).save(data / "masks" / "train_0002.png")


def _damaged(data):
    path = data / "images" / "train_0002.png"
    path.write_bytes(path.read_bytes()[:900])


def _unknown_value(data):
    path = data / "masks" / "train_0002.png"
    mask = pixels(path)
    mask[:2, :3] = 81
    Image.fromarray(mask).save(path)


def _nan(data):
    path = data / "images" / "train_0002.png"
    image = pixels(path).astype(np.float32)
    image[3, 4] = np.nan
    path.unlink()
    Image.fromarray(image).save(path.with_suffix(".tif"))


def _five_channels(data):
    path = data / "images" / "train_0002.png"
    image = np.stack([pixels(path)] * 5, axis=-1)
    path.unlink()
    tifffile.imwrite(path.with_suffix(".tif"), image, photometric="rgb")


def _without(value, side):
    def change(data):
        for path in (data / "masks").glob(f"{side}_*.png"):
            mask = pixels(path)
            mask[mask == value] = 0
            Image.fromarray(mask).save(path)

    return change


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
        (_without(80, "train"), r"train has no pixel of gland"),
    ],
)
def test_damaged_data_end_the_run_before_its_folder_is_made(
    data, tmp_path, change, message, seg_command, in_process
):
    change(data)
    with pytest.raises(SystemExit, match=f"(?s)^error: .*{message}"):
        in_process("train_seg.py", seg_command(data, tmp_path / "r", *SPLIT, CLASSES), tmp_path)
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_an_error_is_one_line_on_stderr_and_the_exit_code_is_1(seg_root, tmp_path, seg_command):
    line = [sys.executable, SCRIPT, *seg_command(seg_root, "r", "loss.name=v3")]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown loss.name 'v3'")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
