"""A training run without what makes Keel fast, to compare scores with.

    python scripts/benchmark.py scores-plain-path det experiment=bccd_r18 data.root=...
        backbone.weights=...
    python scripts/benchmark.py scores-plain-path seg experiment=wbc_r18 data.root=...
        backbone.weights=...

Takes the options of the training scripts. Float32 throughout; torchvision's RoIAlign and RPN;
torch's own convolution gradients; every convolution and its batch norm as two operators; a U-Net's
maps are upsampled before they are convolved. Data, augmentation and recipe are the same.
"""

import runpy
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import MultiScaleRoIAlign

from backbones.choose import choose

SCRIPTS = {"det": "train_det.py", "seg": "train_seg.py"}


def main(arguments: Sequence[str]) -> None:
    """Replace the fast parts by plain ones, and run the training script."""
    name = choose(SCRIPTS, arguments[0] if arguments else "", what="task")
    script = str(Path(__file__).resolve().parents[2] / "scripts" / name)
    sys.argv = [script, *arguments[1:], "trainer.precision=32"]
    plain = {
        "backbones.layers.conv.fixed_affine": lambda _norm: None,
        "tasks.detection.model.roi_align.PyramidRoIAlign.forward": MultiScaleRoIAlign.forward,
        "tasks.detection.model.rpn.SampledRPN.forward": RegionProposalNetwork.forward,
        "tasks.segmentation.model.unet._is_run_on_cpu": lambda _x: False,
        "tasks.common.machine.threads.speed_up_weight_gradients": lambda: None,
    }
    with ExitStack() as stack:
        for name, replacement in plain.items():
            stack.enter_context(patch(name, replacement))
        runpy.run_path(script, run_name="__main__")
