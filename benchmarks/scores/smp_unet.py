"""The same run with ``segmentation_models_pytorch.Unet`` in place of our network.

    python scripts/benchmark.py scores-smp-unet experiment=wbc_r18 data.root=<wbc>
        backbone.weights=<resnet18.pth>

Takes the options of ``scripts/train_seg.py``. Data, patches, loss, recipe, choice of the checkpoint
and scores are Keel's; network and initialisation are smp's. ``backbone.weights`` is ``random`` or a
file with torchvision's names. Nothing is frozen, whatever ``backbone.freeze`` says.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from backbones import Backbone, UserError
from backbones.weights.read import read_checkpoint
from tasks.common.report.run_folder import new_folder, write_json
from tasks.common.run.fit import fit
from tasks.common.run.trainer import build_trainer
from tasks.segmentation.assemble import assemble
from tasks.segmentation.config import SEGMENTATION
from tasks.segmentation.scores.evaluate import print_summary


class SmpEncoder(Backbone):
    """smp's encoder, with the stages that a recipe needs; smp calls the encoder itself."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def stages(self) -> list[list[nn.Module]]:
        """Return stem and residual stages."""
        names = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
        return [[self.encoder.get_submodule(name) for name in stage] for stage in names]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Is not called."""
        raise NotImplementedError


class SmpUNet(nn.Module):
    """``smp.Unet`` with its default decoder."""

    def __init__(self, name: str, *, weights: str, in_channels: int, classes: int) -> None:
        super().__init__()
        self.net = smp.Unet(name, encoder_weights=None, classes=classes)
        loaded = weights != "random"
        if loaded:
            self.net.encoder.load_state_dict(read_checkpoint(Path(weights)))
        self.net.encoder.set_in_channels(in_channels, pretrained=loaded)
        self.backbone = SmpEncoder(self.net.encoder)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits; smp takes sizes that 32 divides."""
        height, width = x.shape[-2:]
        x = nn.functional.pad(x, (0, -width % 32, 0, -height % 32), mode="replicate")
        logits: Tensor = self.net(x)
        return logits[..., :height, :width]


def main(arguments: Sequence[str]) -> None:
    """Train, test, and print the table of scores."""
    cfg = SEGMENTATION.compose(arguments)
    if cfg.recipe.ema or cfg.recipe.unfreeze or cfg.resume or cfg.init_from:
        raise UserError(
            "scores-smp-unet trains smp's network, which has no moving average, no frozen stages "
            "and no checkpoint to go on from; leave out recipe.ema, recipe.unfreeze, resume and "
            "init_from."
        )
    folder = new_folder(cfg.run_dir, parent=Path("runs/smp"), name=cfg.backbone.name)
    # Keel's network is replaced, so its weights are not loaded.
    weights, cfg.backbone.weights, cfg.backbone.freeze = cfg.backbone.weights, "random", 0
    parts = assemble(cfg)
    torch.manual_seed(cfg.seed)
    network = SmpUNet(
        cfg.backbone.name,
        weights=weights,
        in_channels=parts.module.card.in_channels,
        classes=len(parts.module.card.classes.names),
    )
    module: Any = parts.module
    module.network = network.to(memory_format=torch.channels_last)
    trainer, best, last = build_trainer(
        parts.setup, folder=folder, monitor="val/dice", shown=("val/dice",)
    )
    fit(trainer, module, parts.data, best=best, last=last, resume=None)
    chosen = best.best_model_path
    trainer.test(module, parts.data, ckpt_path=chosen, verbose=False, weights_only=True)
    scores = module.scores["test"]
    write_json(folder / "metrics.json", {"scores": scores})
    print_summary("smp.Unet", scores, unit=parts.splits.train.facts[0].unit)
