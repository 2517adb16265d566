"""One detection run: data, detector, training, scores, report."""

import math
import time
from pathlib import Path

from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf

from backbones.files import read_checkpoint
from tasks.common.checkpoint import check_resume
from tasks.common.curves import draw_curves
from tasks.common.fit import fit
from tasks.common.report import print_facts, print_line
from tasks.common.run_folder import new_folder, write_environment, write_json, write_text
from tasks.common.trainer import build_trainer
from tasks.detection.assemble import assemble
from tasks.detection.checkpoint import DetectorCard, load_detector
from tasks.detection.data import Splits
from tasks.detection.evaluate import print_ap
from tasks.detection.facts import facts
from tasks.detection.module import DetectionModule
from tasks.detection.predict import draw_predictions


def run(cfg: DictConfig) -> float:
    """Train, validate and test a detector as ``cfg`` says; return the best validation AP.

    What is wrong with the configuration, the data or the weights is found out before the first
    step, and before anything is written.

    Args:
        cfg: The composed configuration; see ``configs/detection/detection.yaml``.

    Raises:
        ValueError: If a value, the data or the weights do not fit; nothing was trained.
        FileNotFoundError: If data or weights are missing.
        ConnectionError: If weights have to be downloaded and cannot be.
        FloatingPointError: If a loss stops being finite; the last checkpoint is kept.
        SystemExit: If the run is interrupted, with a message that says how to go on.
    """
    started = time.monotonic()
    folder = new_folder(cfg.run_dir, parent=Path("runs/detection"), name=cfg.backbone.name)
    parts = assemble(cfg)
    if cfg.resume is not None:
        check_resume(Path(cfg.resume), DetectorCard.from_dict, parts.card, run=parts.run)
    trainer, best = build_trainer(
        parts.options,
        parts.recipe,
        parts.where,
        folder=folder,
        monitor="val/ap",
        shown=("val/ap", "val/ap50"),
    )
    if trainer.is_global_zero:
        write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        write_environment(folder)
        print_facts("Keel: Faster R-CNN", {**facts(parts), "run folder": str(folder)})
    fit(trainer, parts.module, parts.data, best=best, resume=cfg.resume)
    trainer.test(
        parts.module, parts.data, ckpt_path=best.best_model_path, verbose=False, weights_only=True
    )
    if trainer.is_global_zero:
        _report(folder, parts.module, parts.splits, best, seconds=time.monotonic() - started)
    return math.nan if best.best_model_score is None else best.best_model_score.item()


def _report(
    folder: Path,
    module: DetectionModule,
    splits: Splits,
    best: ModelCheckpoint,
    *,
    seconds: float,
) -> None:
    """Write scores and pictures, and print the table."""
    scores = module.scores["test"]
    chosen = read_checkpoint(Path(best.best_model_path))
    write_json(
        folder / "metrics.json",
        {
            "scored split": "val" if splits.test is None else "test",
            "scores": scores,
            "val": chosen["keel_scores"],
            "best epoch": chosen["epoch"] + 1,
            "seconds": round(seconds, 1),
        },
    )
    draw_curves(
        folder / "metrics.csv",
        folder / "curves.png",
        monitor="val/ap",
        scores=["val/ap", "val/ap50", "val/ap75", "val/ap_small", "val/ap_medium", "val/ap_large"],
    )
    detector, card = load_detector(Path(best.best_model_path))
    draw_predictions(detector, card, splits.val, folder / "predictions.png")
    split = "val (there is no test split)" if splits.test is None else "test"
    print_ap(f"Scores of the best checkpoint on {split}", scores, module.card.classes)
    print_line(f"{seconds:.0f} s in all; everything is in {folder}")
