"""What the banner says before the first step: what will be trained on what."""

from backbones.lineage import lineage_text
from tasks.common.options.decision import Decision
from tasks.common.recipe.stages import stages_text
from tasks.common.run.banner import run_facts
from tasks.detection.assemble import Parts
from tasks.detection.data.splits import Splits
from tasks.detection.model.card import DetectorCard
from tasks.detection.scores.metrics import crowded


def facts(parts: Parts) -> dict[str, str]:
    """Return the banner's lines by name: data, model, recipe, machine and warnings."""
    splits, card = parts.splits, parts.module.card
    many = [
        f"{name}: {text}"
        for name, part in splits.by_name().items()
        if (text := crowded(part.truth, found=card.options.detections_per_image))
    ]
    return {
        **_data_facts(splits),
        **({"images": splits.images} if splits.images else {}),
        **_model_facts(card, parts.norm, parts.freeze),
        **run_facts(parts, [*splits.warnings, *many]),
    }


def _data_facts(splits: Splits) -> dict[str, str]:
    facts = {}
    for name, part in splits.by_name().items():
        empty = sum(not len(record.boxes) for record in part.images)
        facts[name] = f"{len(part.images)} images, {part.num_boxes} boxes, {empty} without a box"
        if part.cleaned:
            facts[name] += "; " + ", ".join(f"{n} {why}" for why, n in part.cleaned.items())
    source = {"data": str(splits.train.source), "classes": ", ".join(splits.train.classes)}
    drawn = {"split": splits.drawn} if splits.drawn else {}
    return {**source, **drawn, **facts}


def _model_facts(card: DetectorCard, norm: Decision, freeze: Decision) -> dict[str, str]:
    options = card.options
    return {
        "backbone": f"{card.backbone}, {card.in_channels} channels in",
        "weights": card.provenance,
        "lineage": f"{lineage_text(card.lineage)} (this run)",
        "norm": str(norm),
        "frozen": f"{stages_text(int(freeze.value))} ({freeze.reason})",
        "detector": f"head {options.head} on {', '.join(options.features)}; "
        f"images to {options.min_size} px (at most {options.max_size})",
    }
