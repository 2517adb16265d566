"""What the banner says before the first step: what will be trained on what."""

import numpy as np

from backbones.lineage import lineage_text
from tasks.common.recipe.stages import stages_text
from tasks.common.run.banner import run_facts
from tasks.segmentation.assemble import Parts
from tasks.segmentation.data.cases import ClassTable
from tasks.segmentation.data.load import CheckedCases, Splits


def facts(parts: Parts) -> dict[str, str]:
    """Return the banner's lines by name: data, model, recipe and machine."""
    loss = parts.loss
    weights = f", class weights {list(loss.class_weights)}" if loss.class_weights else ""
    return {
        **_data_facts(parts.splits),
        **_model_facts(parts),
        "loss": f"{loss.name}{weights}",
        **run_facts(parts, parts.splits.warnings),
    }


def _data_facts(splits: Splits) -> dict[str, str]:
    classes = splits.train.cases.classes
    return {
        "data": splits.train.cases.source,
        "classes": _class_fact(classes),
        **{name: _split_fact(part, classes) for name, part in splits.by_name().items()},
        **({"images": splits.images} if splits.images else {}),
    }


def _class_fact(classes: ClassTable) -> str:
    pairs = zip(classes.names, classes.values, strict=True)
    table = ", ".join(f"{name} = {'/'.join(map(classes.text, values))}" for name, values in pairs)
    if classes.ignored:
        table += f", ignored = {'/'.join(map(classes.text, classes.ignored))}"
    kind = "each pixel one" if classes.exclusive else "a pixel may have several"
    origin = "; inferred from the masks, name them with data.classes" if classes.inferred else ""
    if classes.threshold is not None:
        origin += f"; masks are cut at {classes.threshold:g}"
    return f"{table} ({kind}{origin})"


def _split_fact(part: CheckedCases, classes: ClassTable) -> str:
    slices = sum(case.shape[0] for case in part.facts)
    counted = np.sum([case.class_pixels for case in part.facts], axis=0)
    pixels = sum(int(np.prod(case.shape)) for case in part.facts)
    shares = (f"{n} {c / pixels:.1%}" for n, c in zip(classes.names, counted, strict=True))
    patients = len({case.patient for case in part.cases.cases})
    volumes = f" of {slices} slices" if slices > len(part.facts) else ""
    of_patients = f" of {patients} patients" if patients < len(part.facts) else ""
    return f"{len(part.facts)} cases{volumes}{of_patients}; {', '.join(shares)}"


def _model_facts(parts: Parts) -> dict[str, str]:
    card, choices = parts.module.card, parts.choices
    options, inputs = card.options, card.input
    extras = [
        f"norm {choices.decoder_norm}",
        f"{options.upsampling} upsampling",
        *(["deep supervision"] if options.deep_supervision else []),
        *([f"{options.attention} attention"] if options.attention != "none" else []),
        *(["skip from the image"] if options.image_skip else []),
    ]
    near = f" and {inputs.neighbours} slices on either side" if inputs.neighbours else ""
    windows = f"windows with overlap {inputs.overlap:g}" + (", flips" if inputs.flips else "")
    return {
        "backbone": f"{card.backbone}, {card.in_channels} channels in",
        "weights": card.provenance,
        "lineage": f"{lineage_text(card.lineage)} (this run)",
        "norm": str(choices.norm),
        "frozen": f"{stages_text(int(choices.freeze.value))} ({choices.freeze.reason})",
        "decoder": ", ".join(extras),
        "input": f"{card.channels} channels{near}; {choices.normalisation}",
        "patch": f"{inputs.patch[0]} x {inputs.patch[1]} ({choices.patch}), "
        f"{inputs.patches} per epoch; {windows}",
    }
