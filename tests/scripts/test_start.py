"""What a script has imported when its work begins: nothing that only others need, or its end."""

import json
import os
import subprocess
import sys

from tests.scripts.conftest import PACKAGES, ROOT, SCRIPTS, det_command, seg_command

PREDICTION = {"lightning", "albumentations", "tensorboard", "torchmetrics"}
"""What training alone needs."""

LATE = {
    *("matplotlib", "scipy.ndimage"),  # the end of a run: curves, distances of surfaces
    *("SimpleITK", "pycocotools"),  # volumes; masks of a COCO file
    *("scipy.signal", "transformers", "timm", "segmentation_models_pytorch"),  # nothing of ours
}

PROGRAM = """
import gc, json, runpy, sys
from importlib import import_module
from pkgutil import resolve_name
from tasks.common.run import command_line

with command_line.no_garbage():
    for task in ("detection", "segmentation"):
        for name in ("common.machine.machine", "{task}.scores.predict", "{task}.scores.evaluate"):
            import_module("tasks." + name.format(task=task))
found = {"collecting": gc.isenabled(), "kept": gc.get_freeze_count()}
found["predict"] = sorted(sys.modules)

def step(*_):
    found["train"] = sorted(sys.modules)
    raise SystemExit

def resolved(name):
    run = resolve_name(name)
    resolve_name("tasks.common.run.module:NetworkModule").training_step = step
    return run

command_line.resolve_name = resolved
for line in json.loads(sys.argv[1]):
    sys.argv = line
    try:
        runpy.run_path(line[0], run_name="__main__")
    except SystemExit:
        pass
print(json.dumps(found))
"""


def test_what_a_script_does_not_need_yet_is_not_imported(root, seg_root, tmp_path):
    """In one process, as a user's would: it predicts, then begins to train for either task."""
    lines = [
        [str(SCRIPTS / "train_det.py"), *det_command(root, tmp_path / "det")],
        [str(SCRIPTS / "train_seg.py"), *seg_command(seg_root, tmp_path / "seg")],
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(lines)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(PACKAGES)))},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["predict"]) & (PREDICTION | LATE) == set()
    assert set(found["train"]) & LATE == set()
    assert set(found["train"]) >= {"lightning", "torchmetrics", "albumentations"}  # else none ran
    assert found["collecting"]
    assert found["kept"] > 100_000  # objects that no search for garbage looks through any more
    assert "leaked" not in done.stderr
