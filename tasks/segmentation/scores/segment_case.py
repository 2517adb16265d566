"""From the slices of a case to its labels."""

from functools import partial
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor, nn

from tasks.segmentation.data.cases import Labels
from tasks.segmentation.options import InputOptions
from tasks.segmentation.scores.windows import FLIPS, sliding_window, with_flips

_SLICES_AT_ONCE: Final = 4


@torch.no_grad()
def segment(network: nn.Module, image: Tensor, options: InputOptions, *, exclusive: bool) -> Labels:
    """Return labels (D, H, W) of class indices, or (K, D, H, W) of 0 and 1, computed in float32."""
    device = next(network.parameters()).device
    height, width = options.patch
    whole = partial(sliding_window, network, window=(height, width), overlap=options.overlap)
    found = []
    for some in torch.split(image, _SLICES_AT_ONCE):
        slices = some.to(device, memory_format=torch.channels_last)
        # In bfloat16 logits that differ by less than a percent are equal.
        with torch.autocast(device.type, enabled=False):
            logits = with_flips(whole, slices, axes=FLIPS if options.flips else [()])
        labels = logits.argmax(dim=1) if exclusive else (logits > 0).transpose(0, 1)
        found.append(labels.to(torch.uint8).cpu().numpy())
    return cast("Labels", np.concatenate(found, axis=0 if exclusive else 1))
