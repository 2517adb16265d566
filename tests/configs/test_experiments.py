"""Every experiment trains a step on generated data."""

import json

import pytest

from backbones.registry import BUILDERS
from tasks.detection.data.layouts.sample import write_sample as write_boxes
from tasks.detection.run import run as train_detector
from tasks.segmentation.data.layouts.sample import write_sample as write_masks
from tasks.segmentation.run import run as train_segmenter
from tests.backbones.networks import tiny
from tests.configs.conftest import TRAININGS
from tests.scripts.conftest import rows

SMALL = {
    "detection": [
        *("data=coco", "data.train=annotations/instances_train.json", "data.train_images=images"),
        *("data.val=annotations/instances_val.json", "data.test=null"),
        *("model.min_size=64", "model.max_size=96"),
        *("model.fpn_channels=16", "model.head_width=16"),
    ],
    "segmentation": [
        *("data.classes=null", "data.val=[val_*]", "data.test=[test_*]", "input.patch=[64,64]"),
        "model.channels=[16,16,16,16,16]",
    ],
}
ALIKE = [
    *("debug=one_step", "backbone.weights=random", "recipe.batch_size=2"),
    *("trainer.threads=1", "trainer.accelerator=cpu", "trainer.precision=32"),
]
QUICK = {"detection": "bccd_r18", "segmentation": "wbc_r18"}
EXPERIMENTS = [
    pytest.param(task, file.stem, marks=[pytest.mark.slow] * (file.stem != QUICK[task]))
    for task, training in TRAININGS.items()
    for file in sorted(training.configs.glob("experiment/*.yaml"))
]


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    counts = {"train": 4, "val": 2, "test": 2}
    return {
        task: write(tmp_path_factory.mktemp(task) / "data", images=counts, size=64)
        for task, write in (("detection", write_boxes), ("segmentation", write_masks))
    }


@pytest.mark.parametrize(("task", "name"), EXPERIMENTS)
def test_every_experiment_takes_a_training_step(task, name, roots, tmp_path, monkeypatch, capsys):
    """It ends in the first epoch, before any validation, and yet is scored and reported."""
    monkeypatch.setitem(BUILDERS, "resnet18", tiny)
    monkeypatch.setenv("KEEL_RUN_DIR", "")  # restored after the test
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    folder = tmp_path / "run"
    where = f"data.root={roots[task]}", f"run_dir={folder}"
    cfg = TRAININGS[task].compose([f"experiment={name}", *ALIKE, *SMALL[task], *where])
    assert 0 <= {"detection": train_detector, "segmentation": train_segmenter}[task](cfg) <= 1
    assert (folder / "predictions.png").is_file()
    assert "train/loss" in capsys.readouterr().out
    assert (folder / "curves.png").is_file()
    scored = "test" if task == "segmentation" else "val"
    report = json.loads((folder / "metrics.json").read_text())
    assert (report["best epoch"], report["scored split"]) == (1, scored)
    monitor = {"detection": "val/ap", "segmentation": "val/dice"}[task]
    assert [row["step"] for row in rows(folder / "metrics.csv") if row[monitor]] == ["1"]
    if task == "segmentation":
        assert {row["case"] for row in rows(folder / "cases.csv")} == {"test_0000", "test_0001"}
    else:
        assert report["scores"]["ap"] >= 0
