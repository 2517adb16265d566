"""A training run without what makes Keel fast, to compare scores with.

    python scripts/benchmark.py scores-plain-path det experiment=bccd_r18 data.root=...
        backbone.weights=...
    python scripts/benchmark.py scores-plain-path seg experiment=wbc_r18 data.root=...
        backbone.weights=...

Takes the options of the training scripts. Float32 throughout, torchvision's RoIAlign, every
convolution and its batch norm as two operators; data, augmentation and recipe are the same.
"""

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from torchvision.ops import MultiScaleRoIAlign

from backbones.choose import choose

SCRIPTS = {"det": "train_det.py", "seg": "train_seg.py"}


def main(arguments: Sequence[str]) -> None:
    """Replace the fast parts by plain ones, and run the training script."""
    name = choose(SCRIPTS, arguments[0] if arguments else "", what="task")
    script = str(Path(__file__).resolve().parents[2] / "scripts" / name)
    sys.argv = [script, *arguments[1:], "trainer.precision=32"]
    roi_align = "tasks.detection.model.roi_align.PyramidRoIAlign.forward"
    with (
        patch("backbones.layers.conv.fixed_affine", lambda _norm: None),
        patch(roi_align, MultiScaleRoIAlign.forward),
    ):
        runpy.run_path(script, run_name="__main__")
