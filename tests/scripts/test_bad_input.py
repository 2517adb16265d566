"""What ends a run before it begins: one line, exit code 1, and no folder."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tasks.detection.data.layouts.sample import write_sample

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_det.py"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("backbone=resnet51", "no backbone=resnet51; did you mean 'resnet50'"),
        ("recipe.epoch=3", "did you mean 'recipe.epochs'"),
        ("recipe.lr=abc", "'abc' .*could not be converted to Float"),
        ("recipe.lr=nan", "recipe.lr takes a number of at least 0, got nan"),
        ("data.trian=x", "did you mean 'data.train'"),
        ("data.root=/nowhere", "root '/nowhere' does not exist"),
        ("data.train=annotations/none.json", "none.json"),
        ("backbone.freeze=9", "freeze takes 0 to 5 stages, got 9"),
        ("backbone.freeze=two", "takes an integer of at least 0, or auto, got 'two'"),
        ("backbone.weights=/nowhere.pth", "/nowhere.pth"),
        ("model.features=[c3,c9]", "unknown feature 'c9'"),
        ("model.anchor_sizes=[8]", "anchor_sizes takes one size per pyramid level"),
        ("augment.flip=7", "augment.flip takes a probability from 0 to 1, got 7.0"),
        ("augment.vertcal_flip=0.5", "did you mean 'augment.vertical_flip'?"),
        ("augment=storng", "no augment=storng; did you mean 'strong'?"),
        ("augment.scale=[2,1]", "augment.scale takes the lowest and the highest zoom"),
        ("augment.shift=far", "Value 'far' of type 'str' could not be converted to Float"),
        ("trainer.precision=bf61", "unknown trainer.precision 'bf61'; did you mean 'bf16'"),
        ("trainer.accelerator=gpu", "unknown trainer.accelerator 'gpu'"),
        ("trainer.threads=-1", "trainer.threads takes an integer of at least 0, got -1"),
        ("trainer.devices=0", "trainer.devices takes an integer of at least 1, got 0"),
        ("trainer.max_steps=0", "trainer.max_steps takes an integer of at least 1, or -1 for no"),
        (
            "trainer.save_minutes=-1",
            "takes a number of at least 0, or inf, got -1.0",
        ),
        (
            "trainer.save_minutes=nan",
            "takes a number of at least 0, or inf, got nan",
        ),
        ("trainer.strategy=dpp", "invalid strategy name: `strategy='dpp'`"),
        ("trainer.strategy=deepspeed", "devices or trainer.strategy does not fit: .*DeepSpeed"),
        ("resume=/nowhere.ckpt", "/nowhere.ckpt"),
        ("on_bad_image=ignore", "'ignore'; expected 'error' or 'skip'"),
    ],
)
def test_a_bad_input_ends_with_its_message_before_a_folder_is_made(
    root, tmp_path, override, message, command, in_process
):
    """A SystemExit with a text ends with exit code 1 and no trace."""
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        in_process("train_det.py", command(root, tmp_path / "r", override), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_data_root_is_asked_for(tmp_path, in_process):
    with pytest.raises(SystemExit, match=r"^error: data.root is not given; add data.root="):
        in_process("train_det.py", ["data=coco"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_a_run_is_not_written_to(trained, root, tmp_path, command, in_process):
    run, _ = trained
    before = (run / "config.yaml").read_text()
    with pytest.raises(SystemExit, match=r"^error: run_dir=.* holds a run already"):
        in_process("train_det.py", command(root, run, "seed=1"), tmp_path)
    assert (run / "config.yaml").read_text() == before


def test_an_image_of_another_size_ends_the_run_before_its_folder_is_made(
    tmp_path, command, in_process
):
    root = write_sample(tmp_path / "data", images={"train": 2, "val": 1, "test": 1}, size=64)
    cv2.imwrite(str(root / "images" / "val_0000.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SystemExit, match=r"1 of 1 images cannot be used: val_0000.png is 8x8"):
        in_process("train_det.py", command(root, tmp_path / "r"), tmp_path)
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_an_error_is_one_line_on_stderr_and_the_exit_code_is_1(root, tmp_path, command):
    line = [sys.executable, SCRIPT, *command(root, "r", "model.head=v3")]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown model.head 'v3'")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
