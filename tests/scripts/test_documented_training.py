"""The training commands of the documents take a step each, on a small backbone and small images.

What is in no generated set is put aside: other layouts and file names, weights, runs to begin with.
"""

import re
import shlex

import pytest

from backbones.registry import BUILDERS
from tests.backbones.networks import tiny
from tests.scripts.conftest import in_process
from tests.test_docs_commands import FOUND

SMALL = {
    "train_det.py": [
        *("model.min_size=64", "model.max_size=96"),
        *("model.fpn_channels=16", "model.head_width=16"),
    ],
    "train_seg.py": ["model.channels=[16,16,16,16,16]", "input.patch=[64,64]", "input.patches=4"],
}
LAYOUTS = {"train_det.py": "data=coco", "train_seg.py": "data=folder"}
ASIDE = re.compile(  # options that need files or machines that a test has not
    r"^(backbone|backbone\.(weights|conventions|deformable)|data\.(root|classes|patient|group|train|val(?!=null)"
    r"|train_images|val_images)|init_from|resume|run_dir|logger|trainer\.(devices|strategy"
    r"|accelerator|workers|compile|precision)|recipe\.batch_size|input\.patch|model\.(min|max)_size)="
)
NOT_HERE = {  # what a command has: where it is tested, or why not
    "--help": "tests/scripts/test_command_line.py",
    "-m": "of several runs, each is a command like the others",
    "--multirun": "as -m",
    "data=csv": "tests/scripts/test_seg_layouts.py",
    "data=nnunet": "tests/scripts/test_seg_layouts.py",
    "data=volumes": "tests/scripts/test_seg_layouts.py",
    "data=yolo": "tests/tasks/detection/data/layouts/test_yolo.py",
    "experiment": "tests/configs/test_experiments.py",
}


def scripts():
    """The commands that train, with the options that a small set can take."""
    for command in FOUND:
        program, *line = shlex.split(command)
        if program == "python" and line[0].rpartition("/")[2] in SMALL:
            script, *options = line[0].rpartition("/")[2], *line[1:]
            yield command, script, options


def words(options):
    """Options, and their names alone."""
    return {*options, *(option.partition("=")[0] for option in options)}


RUN = [
    pytest.param(script, options, id=command)
    for command, script, options in scripts()
    if LAYOUTS[script] in options and not NOT_HERE.keys() & words(options)
]


@pytest.mark.slow
@pytest.mark.usefixtures("_no_pictures")
@pytest.mark.parametrize(("script", "options"), RUN)
def test_every_training_command_takes_a_step(
    script, options, root, seg_root, tmp_path, monkeypatch
):
    for name in ("resnet18", "resnet34", "resnet50"):
        monkeypatch.setitem(BUILDERS, name, tiny)
    folder = seg_root if script == "train_seg.py" else root
    kept = [option for option in options if not ASIDE.match(option)]
    thaws = any(option.startswith(("recipe=gradual", "recipe.unfreeze")) for option in kept)
    line = [
        *("backbone=resnet18", "backbone.weights=random", "debug=one_step", "recipe.batch_size=2"),
        *("trainer.accelerator=cpu", "trainer.threads=1", "trainer.precision=32"),
        *(["backbone.freeze=5"] if thaws else []),
        *(
            ["data.val=[val_*]"]
            if script == "train_seg.py" and "data.fold" not in str(kept)
            else []
        ),
        *(option for option in kept if option != "debug=one_step"),
        *SMALL[script],
        *(f"data.root={folder}", "logger=none", f"run_dir={tmp_path / 'run'}"),
    ]
    in_process(script, line, tmp_path)
    assert (tmp_path / "run" / "audit.json").is_file()


def test_every_reason_is_needed():
    used = {word for _, _, options in scripts() for word in words(options)}
    assert NOT_HERE.keys() - used == set()
    assert len(RUN) > 20
