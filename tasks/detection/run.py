"""One detection run: data, detector, training, scores, report."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf

from tasks.common.curves import draw_curves
from tasks.common.machine import Decision
from tasks.common.optim import Recipe
from tasks.common.report import print_facts, print_line
from tasks.common.run_folder import new_folder, write_environment, write_json, write_text
from tasks.common.trainer import Machine, TrainerOptions, build_trainer, prepare
from tasks.detection.build import BackboneChoice, choose_freeze, choose_norm, new_detector
from tasks.detection.checkpoint import DetectorCard, check_resume, load_detector
from tasks.detection.data import DetectionDataModule, Splits
from tasks.detection.evaluate import print_ap
from tasks.detection.model import DetectorOptions
from tasks.detection.module import DetectionModule
from tasks.detection.predict import draw_predictions


def run(cfg: DictConfig) -> float:
    """Train, validate and test a detector as ``cfg`` says; return the best validation AP.

    What is wrong with the configuration, the data or the weights is found out before the first
    step.

    Args:
        cfg: The composed configuration; see ``configs/detection.yaml``.

    Raises:
        ValueError: If a value, the data or the weights do not fit; nothing was trained.
        FileNotFoundError: If data or weights are missing.
        ConnectionError: If weights have to be downloaded and cannot be.
        FloatingPointError: If a loss stops being finite; the last checkpoint is kept.
    """
    started = time.monotonic()
    folder = new_folder(cfg.run_dir, parent=Path("runs/detection"), name=cfg.backbone.name)
    recipe = Recipe(**cfg.recipe)
    options = TrainerOptions(**cfg.trainer)
    where = prepare(options)
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    splits: Splits = instantiate(cfg.data).checked(cfg.on_bad_image)
    tested = splits.test or splits.val
    choice = BackboneChoice(**cfg.backbone)
    norm, freeze = choose_norm(choice, batch_size=recipe.batch_size), choose_freeze(choice)
    network, card = new_detector(
        choice,
        DetectorOptions(**_plain(cfg.model)),
        data=splits.train,
        norm=norm.value,
        freeze=int(freeze.value),
    )
    module = DetectionModule(
        network.to(memory_format=torch.channels_last),
        recipe=recipe,
        card=card,
        truths={"val": splits.val.truth, "test": tested.truth},
        devices=options.devices,
    )
    data = DetectionDataModule(
        train=splits.train,
        val=splits.val,
        test=tested,
        batch_size=recipe.batch_size,
        workers=options.workers,
        seed=cfg.seed,
        transform=instantiate(cfg.augment),
        in_channels=choice.in_channels,
    )
    if cfg.resume is not None:
        check_resume(Path(cfg.resume), card, epochs=recipe.epochs)
    trainer, best = build_trainer(
        options,
        recipe,
        where,
        folder=folder,
        monitor="val/ap",
        shown=("val/ap", "val/ap50"),
    )
    if trainer.is_global_zero:
        write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        write_environment(folder)
        print_facts(
            "Keel: Faster R-CNN",
            {
                **_data_facts(splits),
                **_model_facts(card, norm, freeze),
                **_recipe_facts(recipe, options, where),
                "run folder": str(folder),
            },
        )
    _fit(trainer, module, data, resume=cfg.resume, best=best)
    trainer.test(module, data, ckpt_path=best.best_model_path, verbose=False, weights_only=True)
    if trainer.is_global_zero:
        _report(folder, module, splits, best, seconds=time.monotonic() - started)
    return math.nan if best.best_model_score is None else best.best_model_score.item()


def _fit(
    trainer: lightning.Trainer,
    module: DetectionModule,
    data: DetectionDataModule,
    *,
    resume: str | None,
    best: ModelCheckpoint,
) -> None:
    """Train; an interrupted run says how to go on."""
    folder = Path(best.dirpath or "")
    try:
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except (KeyboardInterrupt, SystemExit) as stop:
        last = folder / "last.ckpt"
        if not last.exists():
            raise SystemExit(
                "\ninterrupted before the first step; there is nothing to keep"
            ) from stop
        raise SystemExit(
            f"\ninterrupted after {trainer.global_step} steps; nothing is lost: go on with the "
            f"same command and resume={last}"
        ) from stop
    if "val" not in module.scores:  # trainer.max_steps came before the first validation
        trainer.validate(module, data, verbose=False)
        if not best.best_model_path:
            best.best_model_path = str(folder / "best.ckpt")
            best.best_model_score = trainer.callback_metrics["val/ap"]
            trainer.save_checkpoint(best.best_model_path)


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
    write_json(
        folder / "metrics.json",
        {
            "test": scores,
            "seconds": round(seconds, 1),
            "trained on": len(splits.train.images),
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


def _data_facts(splits: Splits) -> dict[str, str]:
    facts = {}
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    for name, part in parts.items():
        if part is None:
            continue
        empty = sum(not len(record.boxes) for record in part.images)
        facts[name] = f"{len(part.images)} images, {part.num_boxes} boxes, {empty} without a box"
        if part.cleaned:
            facts[name] += "; " + ", ".join(f"{n} {why}" for why, n in part.cleaned.items())
    return {"data": str(splits.train.source), "classes": ", ".join(splits.train.classes), **facts}


def _model_facts(card: DetectorCard, norm: Decision, freeze: Decision) -> dict[str, str]:
    count = int(freeze.value)
    stages = ", ".join(["stem", "c2", "c3", "c4", "c5"][:count]) or "nothing"
    options = card.options
    return {
        "backbone": f"{card.backbone}, {card.in_channels} channels in",
        "weights": card.provenance,
        "norm": str(norm),
        "frozen": f"{stages} ({freeze.reason})",
        "detector": f"head {options.head} on {', '.join(options.features)}; "
        f"images to {options.min_size} px (at most {options.max_size})",
    }


def _recipe_facts(recipe: Recipe, options: TrainerOptions, where: Machine) -> dict[str, str]:
    return {
        "recipe": f"{recipe.epochs} epochs of {recipe.optimizer}, cosine after "
        f"{recipe.warmup} steps of warmup",
        "batch": f"{recipe.batch_size} x {recipe.accumulate} x {options.devices} "
        f"(images x accumulated x devices) = {recipe.effective_batch(options.devices)}",
        "lr": f"{recipe.peak_lr(options.devices):.4g} ({recipe.lr:g} per "
        f"{recipe.lr_images} images); backbone x {recipe.backbone_lr_factor:g}",
        "precision": str(where.precision),
        "device": str(where.accelerator),
        "cpu": str(where.cpu),
    }


def _plain(node: DictConfig) -> dict[str, Any]:
    values: Mapping[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
