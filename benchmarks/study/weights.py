"""What a weight file would load, without loading it anywhere."""

import warnings
from collections import Counter
from dataclasses import fields
from pathlib import Path

import torch

from backbones import LoadReport, build_backbone, list_backbones, load_weights


def report(file: str, name: str) -> LoadReport:
    """Load weights into a backbone without memory, and return what was loaded.

    Args:
        file: What `backbones.load_weights` takes: a file, or a tag.
        name: The backbone's registered name.

    Raises:
        ValueError: If the name is unknown, or the weights do not fit.
        FileNotFoundError: If the file does not exist.
        ConnectionError: If the weights have to be downloaded and cannot be.
    """
    with torch.device("meta"):
        backbone = build_backbone(name)
    with warnings.catch_warnings():  # copying into nothing does nothing, which is the point
        warnings.filterwarnings("ignore", "for .*: copying from a non-meta parameter")
        return load_weights(backbone, file, name=name)


def fitting(file: str) -> dict[str, LoadReport]:
    """Return the report for every registered backbone that a file fits.

    Args:
        file: A path.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it fits none, with the reason that most of them give.
    """
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
        raise ValueError(
            f"{file} fits none of {sum(reasons.values())} backbones; {count} of them say: {reason}"
        )
    return found


def describe(loaded: LoadReport) -> str:
    """Return the table of a report, and what the weights expect of an image.

    Args:
        loaded: Of `report` or `fitting`.
    """
    conventions = loaded.conventions
    expects = ", ".join(
        f"{field.name} {getattr(conventions, field.name)}" for field in fields(conventions)
    )
    return f"{loaded}\n  expects: {expects}"
