"""One detection run: data, detector, training, scores, report."""

from pathlib import Path
from typing import Final

from omegaconf import DictConfig

from tasks.common.audit_only import audit_only, is_audit_only
from tasks.common.batch_size import settle_batch_size
from tasks.common.report import print_line
from tasks.common.run import TaskText, carry_out, write_report
from tasks.common.run_folder import new_folder
from tasks.detection.assemble import assemble
from tasks.detection.checkpoint import DetectorCard, load_detector
from tasks.detection.evaluate import print_ap
from tasks.detection.facts import facts
from tasks.detection.predict import draw_predictions

_SIZES: Final = ("val/ap75", "val/ap_small", "val/ap_medium", "val/ap_large")
_TEXT: Final = TaskText(
    title="Keel: Faster R-CNN",
    parse=DetectorCard.from_dict,
    monitor="val/ap",
    shown=("val/ap", "val/ap50", *_SIZES),
)


def run(cfg: DictConfig) -> float:
    """Train, validate and test a detector as ``cfg`` says; return the best validation AP.

    With ``audit=only`` nothing is trained and NaN is returned.

    What is wrong with the configuration, the data or the weights is found out before the first
    step, and before anything is written.

    Args:
        cfg: The composed configuration; see ``configs/detection/detection.yaml``.

    Raises:
        ValueError: If a value, the data or the weights do not fit; nothing was trained.
        FileNotFoundError: If data or weights are missing.
        ConnectionError: If weights have to be downloaded and cannot be.
        AuditError: If what trains is not what the configuration says; checkpoints are kept.
        FloatingPointError: If a loss stops being finite; the last checkpoint is kept.
        SystemExit: If the run is interrupted, with a message that says how to go on.
    """
    only = is_audit_only(cfg.audit)
    folder = new_folder(cfg.run_dir, parent=Path("runs/detection"), name=cfg.backbone.name)
    cfg_batch_size = cfg.recipe.batch_size
    batch_size = settle_batch_size(cfg, assemble)
    parts = assemble(cfg)
    said = facts(parts)
    if cfg_batch_size == "auto":
        said["batch size"] = str(batch_size)
    if only:
        return audit_only(parts, text=_TEXT, facts=said, folder=folder)
    outcome = carry_out(cfg, parts, parts.card, text=_TEXT, facts=said, folder=folder)
    if not outcome.is_first:
        return outcome.score
    has_test = parts.splits.test is not None
    scores = parts.module.scores["test"]
    scored = "test" if has_test else "val"
    write_report(folder, outcome, text=_TEXT, scores=scores, scored_split=scored)
    detector, card = load_detector(outcome.best)
    draw_predictions(detector, card, parts.splits.val, folder / "predictions.png")
    split = scored if has_test else "val (there is no test split)"
    print_ap(f"Scores of the best checkpoint on {split}", scores, card.classes)
    print_line(f"audit: {outcome.audit}")
    print_line(f"{outcome.seconds:.0f} s in all; everything is in {folder}")
    return outcome.score
