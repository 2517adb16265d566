"""Class tables of each kind, random logits with labels, and losses by name."""

import torch

from tasks.segmentation.data.cases import ClassTable
from tasks.segmentation.model.losses import build_loss
from tasks.segmentation.options import LossOptions

EXCLUSIVE = ClassTable(names=("background", "a", "b"), values=((0,), (1,), (2,)))
LAYERED = ClassTable(names=("a", "b", "c"), values=((1,), (2,), (3,)), exclusive=False)
SINGLE = ClassTable(names=("a",), values=((1,),), exclusive=False)


def random_batch(classes, size=(6, 5)):
    count = len(classes.names)
    logits = (3 * torch.randn(2, count, *size)).requires_grad_()
    if classes.exclusive:
        return logits, torch.randint(count, (2, *size), dtype=torch.uint8)
    return logits, torch.randint(2, (2, count, *size), dtype=torch.uint8)


def loss_of(classes, label_smoothing=0.0, **options):
    return build_loss(LossOptions(**options), classes, label_smoothing=label_smoothing)
