"""The lines of the banner that all tasks have."""

from collections.abc import Sequence

from tasks.common.recipe.recipe import Recipe
from tasks.common.recipe.unfreeze import unfreezing_text
from tasks.common.resume.start import start_facts
from tasks.common.run.task import RunParts


def run_facts(parts: RunParts, warnings: Sequence[str]) -> dict[str, str]:
    """Return the lines that all tasks have: start, recipe, machine, cache and warnings, by name."""
    setup, cache = parts.setup, parts.data.cache
    recipe, options, where = setup.recipe, setup.options, setup.where
    rates = f"backbone x {recipe.backbone_lr_factor:g}"
    if recipe.lr_decay != 1:
        rates += f", each stage x {recipe.lr_decay:g} of the next"
    return {
        **start_facts(setup.start, parts.module.card),
        "recipe": "; ".join(filter(None, _recipe_parts(recipe))),
        "batch": f"{recipe.batch_size} x {recipe.accumulate} x {options.devices} "
        f"(images x accumulated x devices) = {recipe.effective_batch(options.devices)}",
        "lr": f"{recipe.peak_lr(options.devices):.4g} ({recipe.lr:g} per "
        f"{recipe.lr_images} images); {rates}",
        "precision": str(where.precision),
        "device": str(where.accelerator),
        "cpu": str(where.cpu),
        "workers": str(parts.loading.workers),
        "decoded images": str(parts.loading.cache),
        **({"feature cache": cache.fact()} if cache is not None else {}),
        **warning_facts(warnings),
    }


def warning_facts(warnings: Sequence[str]) -> dict[str, str]:
    """Return the lines of a banner for what a user should know of the data, by name.

    >>> warning_facts(["a", "b"])
    {'warning': 'a', 'warning 2': 'b'}
    """
    return {"warning" if n == 0 else f"warning {n + 1}": text for n, text in enumerate(warnings)}


def _recipe_parts(recipe: Recipe) -> tuple[str, ...]:
    """Return the phrases on a recipe; empty ones for what it does not use."""
    return (
        f"{recipe.epochs} epochs of {recipe.optimizer}, cosine after "
        f"at most {recipe.warmup} steps of warmup",
        f"{recipe.restarts} warm restart{'s' * (recipe.restarts > 1)}" if recipe.restarts else "",
        unfreezing_text(recipe),
        f"moving average of the weights, decay {recipe.ema:g}" if recipe.ema else "",
        f"labels smoothed by {recipe.label_smoothing:g}" if recipe.label_smoothing else "",
    )
