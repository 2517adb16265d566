"""A training run on the plain path, to compare scores with: what Keel does to be fast is undone.

    python benchmarks/plain_path.py det experiment=bccd_r18 data.root=... backbone.weights=...
    python benchmarks/plain_path.py seg experiment=wbc_r18 data.root=... backbone.weights=...

The arguments are those of the training scripts. Float32 throughout, torchvision's RoIAlign, every
convolution and its batch norm as two operators; data, augmentation and recipe are the same.
"""

import runpy
import sys
from pathlib import Path

from torchvision.ops import MultiScaleRoIAlign

import backbones.layers.conv
import tasks.detection.model.roi_align

SCRIPTS = {"det": "train_det.py", "seg": "train_seg.py"}


def main() -> None:
    """Replace the fast parts by plain ones, and run the training script."""
    script = Path(__file__).resolve().parents[1] / "scripts" / SCRIPTS[sys.argv[1]]
    backbones.layers.conv.fixed_affine = lambda _norm: None
    tasks.detection.model.roi_align.PyramidRoIAlign.forward = MultiScaleRoIAlign.forward
    sys.argv = [str(script), *sys.argv[2:], "trainer.precision=32"]
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
