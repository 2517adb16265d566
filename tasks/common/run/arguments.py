"""The options that `predict.py` and `evaluate.py` share."""

import argparse
from typing import Any

from tasks.common.run.command_line import count


def add_inference(parser: argparse.ArgumentParser) -> Any:  # noqa: ANN401 (private)
    """Add what decides how a checkpoint is run and how images are read.

    Args:
        parser: Of the script.

    Returns:
        The group of options for detectors alone, to add more.
    """
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument(
        "--exif",
        choices=("apply", "refuse", "ignore"),
        help="images to be shown turned; as in training where not given (docs/data.md)",
    )
    detection = parser.add_argument_group("detection only")
    detection.add_argument(
        "--precision", help="bf16, fp16 or 32; bf16 by itself if the machine has it"
    )
    detection.add_argument(
        "--max-detections",
        type=count,
        help="per image; where not given as in training, with --results as the truth needs",
    )
    detection.add_argument(
        "--range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="what becomes 0 and 255 of images of other types than 8 bits; as in training where "
        "not given",
    )
    return detection


def refuse(options: argparse.Namespace, *names: str, of: str) -> None:
    """Raise if an option was given that is for something else.

    Args:
        options: The parsed command line; what was not given is None.
        names: Of the options, as attributes.
        of: What they are for, such as ``"detectors"``.

    Raises:
        ValueError: With the option.
    """
    if given := [name for name in names if getattr(options, name) is not None]:
        raise ValueError(f"--{given[0].replace('_', '-')} is for {of}; leave it out.")
