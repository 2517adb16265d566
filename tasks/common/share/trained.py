"""What trained networks of all tasks have in common: a card, a device, and ways to share them."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import ClassVar, Generic, cast

import torch
from torch import nn

from backbones import Backbone
from tasks.common.resume.card import CardT
from tasks.common.share.backbone import write_backbone
from tasks.common.share.network import save_network


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedNetwork(Generic[CardT]):
    """A network in eval mode, on its device, with what its checkpoint says of it.

    Attributes:
        network: The network.
        card: Its classes, its architecture, and how it reads images.
        checkpoint: The file that it was loaded from; None if there is none.
    """

    BACKBONE: ClassVar[tuple[str, ...]]  # the path from the network to its backbone
    USAGE: ClassVar[str]  # the Python that loads and calls it, for the model card

    network: nn.Module
    card: CardT
    checkpoint: Path | None = None

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.network.parameters()).device

    @property
    def backbone(self) -> Backbone:
        """The part of the network whose stages can be frozen."""
        return cast("Backbone", self.network.get_submodule(".".join(self.BACKBONE)))

    def save_pretrained(self, folder: str | PathLike[str]) -> Path:
        """Write the network to a folder in the hub's layout, and return the folder.

        That is ``model.safetensors`` with everything that loading needs, ``config.json`` with the
        same to read, and ``README.md`` with data, lineage, recipe, scores and audit, in which you
        add the licence. Nothing is pickled, paths of this machine are left out, and the folder
        appears whole or not at all. A fused network, a folder with other files and an edited README
        are UserErrors.
        """
        network, card, place = self.network, self.card, Path(folder)
        return save_network(network, card, place, checkpoint=self.checkpoint, usage=self.USAGE)

    def save_backbone(self, path: str | PathLike[str]) -> Path:
        """Write the backbone alone to a ``.safetensors`` file, and return its path.

        The file states how the backbone is built, what it expects of an image, and its lineage.
        ``backbone.weights=<path>`` takes it in a run of either task.
        """
        return write_backbone(self.backbone, self.card, Path(path), checkpoint=self.checkpoint)
