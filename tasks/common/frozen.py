"""The proof, in every run, that what was frozen did not move."""

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from backbones import Backbone


def frozen_stages(count: int) -> str:
    """Return the names of the first stages, for a banner.

    Args:
        count: How many are frozen.
    """
    return ", ".join(map(_stage_name, range(count))) or "nothing"


def _stage_name(index: int) -> str:
    return f"c{index + 1}" if index else "stem"


class FrozenWitness(Callback):
    """Compares every tensor of the frozen stages, running statistics included, before and after.

    Args:
        backbone: Whose stages are frozen.

    Attributes:
        report: What was seen, once training has ended.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.report = "training did not end"
        self._before: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Keep a copy; a resumed run has loaded its checkpoint by now."""
        self._before = {name: tensor.clone() for name, tensor in self._tensors().items()}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Compare.

        Raises:
            RuntimeError: If a frozen tensor moved, which would be a defect of ours.
        """
        now = self._tensors()
        moved = [name for name, was in self._before.items() if not torch.equal(was, now[name])]
        if moved:
            raise RuntimeError(
                f"{len(moved)} of {len(now)} tensors of frozen stages moved, such as {moved[0]}; "
                "please report this as a defect of Keel."
            )
        stages = frozen_stages(self.backbone.frozen)
        self.report = f"{stages}: {len(now)} tensors, none moved" if now else "nothing was frozen"

    def _tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the frozen stages on the CPU."""
        kept = {}
        for index, stage in enumerate(self.backbone.stages()[: self.backbone.frozen]):
            for number, module in enumerate(stage):
                for key, tensor in module.state_dict().items():
                    kept[f"{_stage_name(index)}.{number}.{key}"] = tensor.detach().cpu()
        return kept
