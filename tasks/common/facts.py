"""What a banner says of a recipe and a machine."""

from tasks.common.loading import Loading
from tasks.common.optim import Recipe
from tasks.common.trainer import Machine, TrainerOptions


def recipe_facts(
    recipe: Recipe, options: TrainerOptions, where: Machine, loading: Loading
) -> dict[str, str]:
    """Return the effective batch and learning rate, precision, device and loading, by name.

    Args:
        recipe: How to train.
        options: How many devices share it.
        where: What the options came to on this machine.
        loading: How images are loaded.
    """
    return {
        "recipe": f"{recipe.epochs} epochs of {recipe.optimizer}, cosine after "
        f"at most {recipe.warmup} steps of warmup",
        "batch": f"{recipe.batch_size} x {recipe.accumulate} x {options.devices} "
        f"(images x accumulated x devices) = {recipe.effective_batch(options.devices)}",
        "lr": f"{recipe.peak_lr(options.devices):.4g} ({recipe.lr:g} per "
        f"{recipe.lr_images} images); backbone x {recipe.backbone_lr_factor:g}",
        "precision": str(where.precision),
        "device": str(where.accelerator),
        "cpu": str(where.cpu),
        "workers": str(loading.workers),
        "cache": str(loading.cache),
    }
