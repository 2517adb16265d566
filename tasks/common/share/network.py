"""A trained network as a folder in the hub's layout: weights, card, and a model card to read."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from torch import nn

from backbones.fusion import fused_error, is_fused
from backbones.lineage import lineage_text
from backbones.weights.write import write_folder
from tasks.common.files.text import read_json
from tasks.common.report.run_folder import finite
from tasks.common.resume.card import NetworkCard, plain
from tasks.common.resume.checkpoints import BEST
from tasks.common.resume.trained_file import read_trained
from tasks.common.share.backbone import lineage_from
from tasks.common.share.model_card import model_card

_SHARED: Final = ("recipe", "seed", "backbone", "trainer", "augment", "loss")
"""The groups of a run's settings that are shared: they name no files and no machines."""
_METRICS: Final = ("scored split", "scores", "best epoch", "audit", "seconds")


def save_network(
    network: nn.Module, card: NetworkCard, folder: Path, *, checkpoint: Path | None, usage: str
) -> Path:
    """Write a trained network to a folder in the hub's layout; return the folder.

    Recipe, scores and audit come from ``checkpoint``, the file of the network, and from
    ``metrics.json`` of its run where that is beside it. Paths of the machine are left out. The
    folder appears whole or not at all; one that holds anything else is a UserError, and so is a
    fused network. ``usage`` is the Python that loads it, for the model card.
    """
    if is_fused(network):
        raise fused_error(str(checkpoint or f"this {card.NAMES.noun}"))
    lineage = lineage_from(card, checkpoint)
    shared = replace(card, lineage=lineage, provenance=lineage_text(lineage))
    known = _known(checkpoint)
    readme = model_card(shared, known, usage=usage)
    metadata = {"keel": finite(plain(shared.to_dict())), **known}
    return write_folder(folder, network.state_dict(), metadata, readme=readme)


def _known(checkpoint: Path | None) -> dict[str, dict[str, Any]]:
    """Return what is known of the run: settings, validation scores, and those of the test."""
    if checkpoint is None:
        return {}
    content = read_trained(checkpoint)
    settings: Mapping[str, Any] = content.get("keel_run") or {}
    found = {
        "keel_run": {name: settings[name] for name in _SHARED if name in settings},
        "keel_scores": dict(content.get("keel_scores") or {}),
        "keel_metrics": dict(content.get("keel_metrics") or _metrics(checkpoint)),
    }
    return {name: finite(plain(value)) for name, value in found.items() if value}


def _metrics(checkpoint: Path) -> dict[str, Any]:
    """Return what a run wrote of its best checkpoint."""
    file = checkpoint.parent.parent / "metrics.json"
    if checkpoint.name != BEST or checkpoint.parent.name != "checkpoints" or not file.is_file():
        return {}
    metrics = read_json(file)
    return {name: metrics[name] for name in _METRICS if name in metrics}
