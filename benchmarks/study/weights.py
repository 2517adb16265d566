"""What a weight file would load, found on a backbone without memory."""

import warnings
from collections import Counter
from pathlib import Path

import torch

from backbones import LoadReport, UserError, build_backbone, list_backbones, load_weights


def report(file: str, name: str) -> LoadReport:
    """Return what a file or tag would load into a registered backbone; refuse what does not fit."""
    with torch.device("meta"):
        backbone = build_backbone(name)
    with warnings.catch_warnings():  # copying to the meta device does nothing, as intended
        warnings.filterwarnings("ignore", "for .*: copying from a non-meta parameter")
        return load_weights(backbone, file, name=name)


def fitting(file: str) -> dict[str, LoadReport]:
    """Return the report for each backbone that a file fits; else raise the commonest reason."""
    if not Path(file).is_file():
        raise FileNotFoundError(
            f"no weight file {file!r}; give the path of one, or a tag and the name of a backbone: "
            "weights imagenet resnet50."
        )
    found, reasons = {}, Counter[str]()
    for name in list_backbones():
        try:
            found[name] = report(file, name)
        except ValueError as error:
            reasons[str(error).partition("\n")[0].replace(repr(name), "NAME")] += 1
    if not found:
        reason, count = reasons.most_common(1)[0]
        raise UserError(
            f"{file} fits none of {reasons.total()} backbones; {count} of them say: {reason}"
        )
    return found
