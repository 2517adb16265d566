"""The name of a cache: a hash of everything that decides its entries, the frozen weights first."""

import json
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
import torchvision
from torch import nn

from backbones import Backbone

_FORMAT: Final = 1
VERSIONS: Final = {  # whose code decides an entry: it reads, augments, resizes, computes
    "keel": version("keel-backbones"),
    "albumentations": version("albumentations"),
    "numpy": np.__version__,
    "opencv": cv2.__version__,
    "torch": torch.__version__,
    "torchvision": torchvision.__version__,
}


def feature_key(backbone: Backbone, decides: Any) -> str:  # noqa: ANN401 (JSON values)
    """Return a name for the frozen stages and what else decides their output."""
    stages = [module for stage in backbone.stages()[: backbone.frozen] for module in stage]
    about = {
        "format": _FORMAT,
        "weights": _digest(stages),
        "structure": [repr(module) for module in stages],
        "channels": backbone.channels,
        "conventions": repr(backbone.conventions),
        "versions": VERSIONS,
        "decides": decides,
    }
    return sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _digest(modules: list[nn.Module]) -> str:
    digest = sha256()
    for module in modules:
        for name, tensor in module.state_dict().items():
            digest.update(name.encode())
            content = tensor.detach().cpu().contiguous().flatten()
            digest.update(content.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def file_stamp(path: Path) -> tuple[str, int, int]:
    """Return what tells a file from a later version of it."""
    found = path.stat()
    return str(path), found.st_size, found.st_mtime_ns
