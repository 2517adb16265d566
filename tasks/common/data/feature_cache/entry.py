"""What is kept of one view of one image, and the batches made of it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Place = tuple[int, int]  # view and index of a sample


class Entry(NamedTuple):
    """One view of one image."""

    features: dict[str, Tensor]  # the frozen stages' outputs by name, (H, W, C)
    truth: dict[str, Tensor]  # what the task learns from it, by name


def same_entry(one: Entry, other: Entry) -> bool:
    """Return whether two entries are equal in names, dtypes and every bit."""
    return all(
        a.keys() == b.keys()
        and all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(one, other, strict=True)
    )


def keep_maps(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the features of a batch of one image as an entry holds them, (H, W, C)."""
    return {name: x[0].permute(1, 2, 0).contiguous().cpu() for name, x in features.items()}


def batch_maps(entries: Sequence[Entry]) -> dict[str, Tensor]:
    """Return a batch (N, C, H, W), channels last, zeros right of and below small maps."""
    batch = {}
    for name in entries[0].features:
        maps = [entry.features[name] for entry in entries]
        height, width = (max(m.shape[axis] for m in maps) for axis in (0, 1))
        pads = [(0, 0, 0, width - m.shape[1], 0, height - m.shape[0]) for m in maps]
        padded = [F.pad(m, pad) if any(pad) else m for m, pad in zip(maps, pads, strict=True)]
        batch[name] = torch.stack(padded).permute(0, 3, 1, 2)
    return batch
