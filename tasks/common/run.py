"""The way of every run, whatever its task: check, say what will be done, train, test, keep it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf

from backbones.files import read_checkpoint
from tasks.common.audit import Audit
from tasks.common.audit_only import audit_only, is_audit_only
from tasks.common.batch_size import settle_batch_size
from tasks.common.checkpoint import TASKS, Card
from tasks.common.continuation import check_resume
from tasks.common.curves import draw_curves
from tasks.common.ema import MovingAverage
from tasks.common.fit import fit
from tasks.common.parts import RunParts
from tasks.common.prefix.fill import filling
from tasks.common.report import print_facts, print_line
from tasks.common.resume import find_start
from tasks.common.run_folder import new_folder, write_environment, write_json, write_text
from tasks.common.trainer import build_trainer
from tasks.common.unfreeze import Unfreezing, check_unfreezing, frozen_stages

PartsT = TypeVar("PartsT", bound=RunParts)


@dataclass(frozen=True, kw_only=True)
class Task(Generic[PartsT]):
    """What a task adds to a run.

    Attributes:
        name: A key of `tasks.common.checkpoint.TASKS`.
        title: Of the banner.
        monitor: The metric that chooses the best checkpoint; higher is better.
        shown: Metrics to print after each epoch and to draw.
        parse: Makes a card of what a checkpoint holds.
        assemble: Builds the parts of a run of a configuration.
        facts: Of the banner.
        usual: Defaults by group of the task's own options that decide the course of a run.
        show: Prints the scores of the best checkpoint, and writes what only this task writes.
    """

    name: str
    title: str
    monitor: str
    shown: tuple[str, ...]
    parse: Callable[[Mapping[str, Any]], Card]
    assemble: Callable[[DictConfig], PartsT]
    facts: Callable[[PartsT], dict[str, str]]
    usual: Mapping[str, Any]
    show: Callable[[PartsT, "Outcome"], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        folder: Of the run.
        best: The chosen checkpoint.
        score: Its validation score.
        epoch: Of the checkpoint, from 1.
        val: Its validation scores.
        audit: What was seen of the frozen and the trained tensors.
        seconds: Since the run began.
        is_first: Whether this process is the one that writes and prints.
    """

    folder: Path
    best: Path
    score: float
    epoch: int
    val: Mapping[str, Any]
    audit: str
    seconds: float
    is_first: bool


def run_task(cfg: DictConfig, task: Task[PartsT]) -> float:
    """Train, validate and test as ``cfg`` says; return the best validation score.

    With ``audit=only`` nothing is trained and NaN is returned.

    What is wrong with the configuration, the data or the weights is found out before the first
    step, and before anything is written.

    Args:
        cfg: The composed configuration.
        task: What is trained.

    Raises:
        ValueError: If a value, the data or the weights do not fit; nothing was trained.
        FileNotFoundError: If data or weights are missing.
        ConnectionError: If weights have to be downloaded and cannot be.
        AuditError: If what trains is not what the configuration says; checkpoints are kept.
        FloatingPointError: If a loss stops being finite; the last checkpoint is kept.
        SystemExit: If the run is interrupted, with a message that says how to go on.
    """
    started = time.monotonic()
    only = is_audit_only(cfg.audit)
    if only and cfg.resume is not None:
        raise ValueError(
            f"audit=only looks at how a run begins, and resume={cfg.resume} goes on with one, "
            "which audits itself; leave one of them out."
        )
    folder = new_folder(cfg.run_dir, parent=Path(TASKS[task.name].runs), name=cfg.backbone.name)
    is_auto = cfg.recipe.batch_size == "auto"
    batch_size = settle_batch_size(cfg, task.assemble)
    parts = task.assemble(cfg)
    facts = {**task.facts(parts), **({"batch size": str(batch_size)} if is_auto else {})}
    if only:
        return audit_only(parts, title=task.title, facts=facts, folder=folder)
    outcome = _carry_out(cfg, parts, task, facts=facts, folder=folder, started=started)
    if outcome.is_first:
        _write_report(outcome, parts, task)
        task.show(parts, outcome)
        print_line(f"audit: {outcome.audit}")
        print_line(f"{outcome.seconds:.0f} s in all; everything is in {folder}")
    return outcome.score


def _carry_out(
    cfg: DictConfig,
    parts: PartsT,
    task: Task[PartsT],
    *,
    facts: Mapping[str, str],
    folder: Path,
    started: float,
) -> Outcome:
    """Train, choose the best checkpoint, test it, and write what every run folder holds."""
    resume = None
    if cfg.resume is not None:
        resume, fact = find_start(Path(cfg.resume))
        check_resume(resume, task.parse, parts.card, run=parts.run, usual=task.usual)
        facts = {**facts, "resumed from": fact}
    audit, callbacks = _callbacks(parts, folder)
    trainer, best, last = build_trainer(
        parts.options,
        parts.recipe,
        parts.where,
        folder=folder,
        monitor=task.monitor,
        shown=task.shown[:2],
        callbacks=[*callbacks, *filling(parts.cache, workers=parts.loading.processes)],
    )
    if trainer.is_global_zero:
        write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        write_environment(folder)
        print_facts(task.title, {**facts, "run folder": str(folder)})
    if parts.options.compile:
        parts.backbone.compile()
    fit(trainer, parts.module, parts.data, best=best, last=last, resume=resume)
    chosen = best.best_model_path
    trainer.test(parts.module, parts.data, ckpt_path=chosen, verbose=False, weights_only=True)
    audit.check_kept(parts.module)
    checkpoint = read_checkpoint(Path(chosen))
    steps = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)  # per epoch
    return Outcome(
        folder=folder,
        best=Path(chosen),
        score=float("nan") if best.best_model_score is None else best.best_model_score.item(),
        epoch=-(-checkpoint["global_step"] // steps),
        val=checkpoint["keel_scores"],
        audit=audit.report,
        seconds=time.monotonic() - started,
        is_first=trainer.is_global_zero,
    )


def _callbacks(parts: RunParts, folder: Path) -> tuple[Audit, list[Callback]]:
    """Return what freezes, proves and averages, in this order, and the proof by itself.

    The audit looks at the weights that were trained before the average takes their place.
    """
    recipe, backbone = parts.recipe, parts.backbone
    count = {"base": backbone.frozen, "stages": len(backbone.stages())}
    check_unfreezing(recipe, **count)
    frozen = partial(frozen_stages, recipe, **count)
    audit = Audit(backbone, frozen, path=folder / "audit.json")
    averages = [MovingAverage(recipe.ema)] if recipe.ema else []
    return audit, [Unfreezing(backbone, frozen, epochs=recipe.epochs), audit, *averages]


def _write_report(outcome: Outcome, parts: PartsT, task: Task[PartsT]) -> None:
    """Write ``metrics.json`` and ``curves.png``."""
    folder = outcome.folder
    write_json(
        folder / "metrics.json",
        {
            "scored split": parts.scored,
            "scores": parts.scores,
            "val": outcome.val,
            "best epoch": outcome.epoch,
            "audit": outcome.audit,
            "seconds": round(outcome.seconds, 1),
        },
    )
    draw_curves(
        folder / "metrics.csv",
        folder / "curves.png",
        monitor=task.monitor,
        best_epoch=outcome.epoch,
        scores=task.shown,
    )
