"""A run folder as a run leaves it, small enough to be checked by hand."""

import json

import pytest

from tasks.common.report.run_page.record import RunRecord

WEIGHTS = """weights from r18.pth
  origin: torchvision
  images: RGB in [0, 1], mean 0.485
  stem    5 of    5 tensors
  c2     19 of   20 tensors
  dropped: 2 of other parts
  dropped: 20 of batch counters"""


def row(stage, tensors, trainable, peak=0.01):
    return {
        "stage": stage,
        "tensors": tensors,
        "trainable": trainable,
        "lr": 0.0,
        "peak_lr": peak,
        "eval_modules": [],
    }


def phase(first, *rows, trains=()):
    groups = [{"group": f"{name.split('.')[0]}/decay", "trains": [name]} for name in trains]
    return {"first epoch": first, "first step": 1, "stages": list(rows), "groups": groups}


FILES = {
    "run.json": {
        "title": "Keel: Faster R-CNN",
        "monitor": "val/ap",
        "score": "AP",
        "shown": ["val/ap"],
        "facts": {
            "data": "cells",
            "train": "5 images",
            "backbone": "resnet18, 3 channels in",
            "weights": WEIGHTS,
            "lineage": "r18.pth -> detection (this run)",
            "frozen": "stem (as configured)",
            "warning": "two images are alike",
            "warning 2": "a class is rare",
        },
        "options": [{"option": "recipe.lr", "value": "0.1", "default": "0.02"}],
        "ended": "finished",
    },
    "environment.json": {
        "command": "python scripts/train_det.py data=coco",
        "started": "2026-11-28T14:16:59+00:00",
        "python": "3.11.7",
        "versions": {"torch": "2.15.0"},
        "git": {"commit": "abc", "changed files": "1", "changed": ["README.md"]},
        "machine": "Linux",
    },
    "metrics.json": {
        "scored split": "test",
        "scores": {"ap": 0.5, "ap_small": 0.25, "ap/a": 0.75, "ap/<b>": 0.25},
        "val": {"ap": 0.4, "ap_small": None, "ap/a": 0.4, "ap/<b>": 0.4},
        "best epoch": 2,
        "audit": "stem: 5 tensors, none moved",
        "seconds": 150.0,
        "seconds by part": {"training steps": 120.0, "test": 30.0, "feature cache": 0.0},
        "images trained on": 240,
        "images a second": 2.0,
        "peak memory": {"process": 2_500_000_000},
    },
    "audit.json": {
        "phases": [
            phase(1, row("stem", 5, 0), row("c2", 20, 0), row("head", 4, 4)),
            phase(
                3,
                row("stem", 5, 0),
                row("c2", 20, 8, peak=0.001),
                row("head", 4, 4),
                trains=["c2.weight", "head.bias"],
            ),
        ],
        "failures": [],
        "compared": {"trained": 12, "did not move": ["head.bias"]},
        "report": "stem: 5 tensors, none moved",
    },
}

METRICS = """epoch,step,train/loss,lr,val/ap
0,1,2.5,0.1,
0,2,2.0,0.2,0.25
1,3,1.5,0.1,
1,4,1.0,0.0,0.4
"""


@pytest.fixture
def folder(tmp_path):
    """Write a run folder without some of its files; return its path."""

    def write(*without, **changes):
        run = tmp_path / "run <1>"
        run.mkdir()
        for name, content in FILES.items():
            if name not in without:
                changed = {**content, **changes.get(name.removesuffix(".json"), {})}
                (run / name).write_text(json.dumps(changed))
        if "metrics.csv" not in without:
            (run / "metrics.csv").write_text(METRICS)
        return run

    return write


@pytest.fixture
def record(folder):
    """The record of such a folder."""
    return lambda *without, **changes: RunRecord.read(folder(*without, **changes))
