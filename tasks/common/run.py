"""The way of every run, whatever its task: check, say what will be done, train, test, keep it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol

from lightning import LightningModule
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf

from backbones import Backbone
from backbones.files import read_checkpoint
from tasks.common.audit import Audit
from tasks.common.checkpoint import CardT, check_resume
from tasks.common.curves import draw_curves
from tasks.common.data_module import ResumableDataModule
from tasks.common.ema import MovingAverage
from tasks.common.fit import fit
from tasks.common.loading import Loading
from tasks.common.prefix.cache import PrefixCache
from tasks.common.prefix.fill import filling
from tasks.common.recipe import Recipe
from tasks.common.report import print_facts
from tasks.common.resume import find_start
from tasks.common.run_folder import write_environment, write_json, write_text
from tasks.common.trainer import Machine, TrainerOptions, build_trainer
from tasks.common.unfreeze import Unfreezing, check_unfreezing, frozen_stages


class Parts(Protocol):
    """What is needed of the parts that a task assembles."""

    @property
    def recipe(self) -> Recipe:
        """How to train."""

    @property
    def options(self) -> TrainerOptions:
        """Where to train."""

    @property
    def where(self) -> Machine:
        """What the options came to on this machine."""

    @property
    def run(self) -> dict[str, Any]:
        """What decides how a run goes on, in plain values."""

    @property
    def module(self) -> LightningModule:
        """The network and its loop."""

    @property
    def data(self) -> ResumableDataModule:
        """Its batches."""

    @property
    def loading(self) -> Loading:
        """How images get to the network."""

    @property
    def backbone(self) -> Backbone:
        """The part of the network that has stages."""

    @property
    def cache(self) -> PrefixCache | None:
        """What the frozen stages return, if it is kept."""


@dataclass(frozen=True, kw_only=True)
class TaskText(Generic[CardT]):
    """How a task calls things.

    Attributes:
        title: Of the banner.
        parse: Makes a card of what a checkpoint holds.
        monitor: The metric that chooses the best checkpoint; higher is better.
        shown: Metrics to print after each epoch and to draw.
    """

    title: str
    parse: Callable[[Mapping[str, Any]], CardT]
    monitor: str
    shown: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        best: The chosen checkpoint.
        score: Its validation score.
        epoch: Of the checkpoint, from 1.
        val: Its validation scores.
        audit: What was seen of the frozen and the trained tensors.
        seconds: Since the run began.
        is_first: Whether this process is the one that writes and prints.
    """

    best: Path
    score: float
    epoch: int
    val: Mapping[str, Any]
    audit: str
    seconds: float
    is_first: bool


def carry_out(
    cfg: DictConfig,
    parts: Parts,
    card: CardT,
    *,
    text: TaskText[CardT],
    facts: Mapping[str, str],
    folder: Path,
) -> Outcome:
    """Train, choose the best checkpoint, test it, and write what every run folder holds.

    Args:
        cfg: With ``resume``; written to the folder.
        parts: Of the run.
        card: What the checkpoint says of the network.
        text: How the task calls things.
        facts: The banner.
        folder: The run folder, not made yet.

    Raises:
        ValueError: If ``resume`` does not fit, or the trainer's options do not.
        FileNotFoundError: If ``resume`` is missing.
        AuditError: If what trains is not what the configuration says; checkpoints are kept.
        FloatingPointError: If a loss stops being finite; the last checkpoint is kept.
        SystemExit: If the run is interrupted, with a message that says how to go on.
    """
    started = time.monotonic()
    resume = None
    if cfg.resume is not None:
        resume, fact = find_start(Path(cfg.resume))
        check_resume(resume, text.parse, card, run=parts.run)
        facts = {**facts, "resumed from": fact}
    audit, callbacks = _callbacks(parts, folder)
    trainer, best, last = build_trainer(
        parts.options,
        parts.recipe,
        parts.where,
        folder=folder,
        monitor=text.monitor,
        shown=text.shown[:2],
        callbacks=[*callbacks, *filling(parts.cache, workers=parts.loading.processes)],
    )
    if trainer.is_global_zero:
        write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        write_environment(folder)
        print_facts(text.title, {**facts, "run folder": str(folder)})
    if parts.options.compile:
        parts.backbone.compile()
    fit(trainer, parts.module, parts.data, best=best, last=last, resume=resume)
    chosen = best.best_model_path
    trainer.test(parts.module, parts.data, ckpt_path=chosen, verbose=False, weights_only=True)
    audit.check_kept(parts.module)
    checkpoint = read_checkpoint(Path(chosen))
    return Outcome(
        best=Path(chosen),
        score=float("nan") if best.best_model_score is None else best.best_model_score.item(),
        epoch=checkpoint["epoch"] + 1,
        val=checkpoint["keel_scores"],
        audit=audit.report,
        seconds=time.monotonic() - started,
        is_first=trainer.is_global_zero,
    )


def _callbacks(parts: Parts, folder: Path) -> tuple[Audit, list[Callback]]:
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


def write_report(
    folder: Path,
    outcome: Outcome,
    *,
    text: TaskText[CardT],
    scores: Mapping[str, Any],
    scored_split: str,
) -> None:
    """Write ``metrics.json`` and ``curves.png``.

    Args:
        folder: The run folder.
        outcome: Of `carry_out`.
        text: How the task calls things.
        scores: Of the best checkpoint.
        scored_split: What they were measured on.
    """
    write_json(
        folder / "metrics.json",
        {
            "scored split": scored_split,
            "scores": scores,
            "val": outcome.val,
            "best epoch": outcome.epoch,
            "audit": outcome.audit,
            "seconds": round(outcome.seconds, 1),
        },
    )
    draw_curves(
        folder / "metrics.csv",
        folder / "curves.png",
        monitor=text.monitor,
        scores=text.shown,
    )
