"""What the banner says of small data sets, against what was written into them."""

import re

import numpy as np
import pytest

from tasks.segmentation.assemble import assemble
from tasks.segmentation.banner import facts
from tasks.segmentation.config import SEGMENTATION
from tests.tasks.segmentation.conftest import save, save_all


def banner(root, *overrides):
    usual = ["backbone=resnet18", "backbone.weights=random", f"data.root={root}"]
    usual += ["trainer.accelerator=cpu", "trainer.precision=32", "trainer.threads=1"]
    return facts(assemble(SEGMENTATION.compose([*usual, *overrides])))


@pytest.fixture
def pictures(tmp_path):
    """Six of 20 x 40, of three patients; a mask has a row of 1, a row of 2 and one left out."""
    for number, name in enumerate(["a_1", "a_2", "b_1", "b_2", "c_1", "c_2"]):
        mask = np.zeros((20, 40), np.uint8)
        mask[:3] = [[1], [0 if name.startswith("c") else 2], [9]]
        save(tmp_path / "images" / f"{name}.png", np.full((20, 40), 40 + number, np.uint8))
        save(tmp_path / "masks" / f"{name}.png", mask)
    return tmp_path


SPLIT = (
    "data=folder",
    "data.classes={0: background, 1: cell, 2: debris, 9: ignore}",
    r"data.patient='(\w)_\d'",
    "data.val=[b_*]",
    "data.test=[c_*]",
)


def test_every_line_of_a_run_on_pictures(pictures):
    model = "model.deep_supervision=true", "model.attention=scse", "backbone.freeze=1"
    options = *model, "loss.class_weights=[1,2,3]", "recipe.batch_size=4"
    found = banner(pictures, *SPLIT, *options)
    assert list(found) == [
        *("data", "classes", "train", "val", "test", "images"),
        *("backbone", "weights", "lineage", "norm", "frozen", "decoder", "input", "patch", "loss"),
        *("recipe", "batch", "lr", "precision", "device", "cpu", "workers", "decoded images"),
        "warning",
    ]
    assert found["data"] == str(pictures)
    assert re.fullmatch(r"\d+ cases decoded in \d+\.\d s", found["images"])
    classes = "background = 0, cell = 1, debris = 2, ignored = 9 (each pixel one)"
    assert found["classes"] == classes
    # 1 of 20 rows is a class, 1 is left out.
    shares = "background 85.0%, cell 5.0%, debris 5.0%"
    assert found["train"] == found["val"] == f"2 cases of 1 patients; {shares}"
    assert found["test"] == "2 cases of 1 patients; background 90.0%, cell 5.0%, debris 0.0%"
    assert found["warning"] == "test has no pixel of debris"
    assert found["backbone"] == "resnet18, 1 channels in"
    assert found["weights"] == "random initialisation"
    assert found["norm"] == "group (no weights, 4 images per batch)"
    assert found["frozen"] == "stem (as configured)"
    assert found["decoder"] == (
        "norm group (4 images per batch), nearest upsampling, deep supervision, scse attention"
    )
    assert found["input"] == "1 channels; imagenet (images of 8 bits)"
    assert found["patch"] == (
        "32 x 64 (median of the training images, at most 256), 200 per epoch; "
        "windows with overlap 0.5"
    )
    assert found["loss"] == "dice_ce, class weights [1.0, 2.0, 3.0]"
    assert found["batch"].endswith("= 4")


def test_what_is_skipped_is_the_first_warning(pictures):
    (pictures / "images" / "a_2.png").write_bytes(b"no picture")
    found = banner(pictures, *SPLIT, "on_bad_image=skip", "recipe.batch_size=2")
    assert found["train"].startswith("1 cases; ")
    assert [found[name] for name in ("warning", "warning 2")] == [
        "1 cases were skipped: 'a_2'",
        "test has no pixel of debris",
    ]


def test_volumes_are_counted_in_slices(tmp_path):
    """4 volumes of 8 x 10 with 3 slices of 5 mm; two voxels in each have the class."""
    mask = np.zeros((8, 10, 3), np.uint8)
    mask[2, 2:4, 1] = 1
    for number in range(4):
        image = np.full((8, 10, 3), number, np.float32)
        for folder, values in (("images", image), ("masks", mask)):
            save(tmp_path / folder / f"v{number}.nii.gz", values, zooms=(1, 1, 5))
    options = "input.neighbours=2", "input.flips=true", "input.patch=[64,96]", "model.norm=instance"
    found = banner(tmp_path, "data=nifti", "data.val=[v3]", *options)
    assert "test" not in found
    assert found["classes"] == (
        "background = 0, class 1 = 1 (each pixel one; inferred from the masks, name them with "
        "data.classes)"
    )
    share = f"{2 / 240:.1%}"
    assert found["train"] == f"3 cases of 9 slices; background {1 - 2 / 240:.1%}, class 1 {share}"
    assert found["backbone"] == "resnet18, 5 channels in"
    assert found["norm"] == "instance (that of the decoder)"
    assert found["input"] == "1 channels and 2 slices on either side; zscore (images of float32)"
    patch = "64 x 96 (as configured), 207 per epoch; windows with overlap 0.5, flips"
    assert found["patch"] == patch


def test_classes_that_overlap_are_told(tmp_path):
    low, high = ([[255] * 10] * rows + [[0] * 10] * (10 - rows) for rows in (5, 2))
    for number in "012":
        save(tmp_path / "images" / f"{number}.png", [[int(number)] * 10] * 10)
    save_all(tmp_path / "masks" / "low", **dict.fromkeys("012", low))
    save_all(tmp_path / "masks" / "high", **dict.fromkeys("012", high))
    found = banner(tmp_path, "data=folder", 'data.val=["1"]', 'data.test=["2"]')
    assert found["classes"] == "high = 1, low = 1 (a pixel may have several)"
    assert found["train"] == "1 cases; high 20.0%, low 50.0%"
