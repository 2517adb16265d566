"""Masks in colour: which colours they have, and what to write about them."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from backbones.errors import UserError
from tasks.common.report.advice import advice
from tasks.segmentation.data.cases import BACKGROUND, MOST_CLASSES, colour_text

_HEX: Final = re.compile(r"(?<![\w'\"])#(?:[0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b")
_SHOWN: Final = 8


class ColouredMaskError(UserError):
    """A mask has channels that differ where one number per pixel is expected.

    ``colours`` counts the pixels of each colour, 0xRRGGBB; ``drawn_alpha`` says whether the alpha
    channel, which is not read, varies, ``can_name`` whether an option takes a table of colours.
    """

    def __init__(
        self,
        path: Path,
        colours: Mapping[int, int],
        *,
        channels: int,
        drawn_alpha: bool,
        can_name: bool,
    ) -> None:
        self.colours = colours
        hint = colour_advice(colours, can_name=can_name)
        if drawn_alpha:
            hint += " Or is the mask in its alpha channel, which is not read? Save that as gray."
        super().__init__(
            f"{path} has {channels} channels that differ; expected a mask with one number per "
            f"pixel.{hint}"
        )


def packed(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return colours (C, D, H, W), gray or RGB, as (D, H, W) of 0xRRGGBB."""
    red, green, blue = (pixels[i % len(pixels)].astype(np.int32) for i in range(3))
    colours: NDArray[np.int32] = red << 16 | green << 8 | blue
    return colours


def colours_of(pixels: NDArray[Any]) -> dict[int, int]:
    """Return how many pixels (C, D, H, W) have each colour; nothing unless they are 8-bit RGB."""
    if len(pixels) != 3 or pixels.dtype != np.uint8:
        return {}
    values, counts = np.unique(packed(pixels), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def colour_advice(colours: Mapping[int, int], *, can_name: bool = True) -> str:
    """Return what to do about masks with these colours, given with their numbers of pixels."""
    if len(colours) > MOST_CLASSES:
        return f" It has {len(colours)} colours, as a photograph has: is it an image?"
    if not colours:
        return " Save one number per class."
    most = [colour for colour, _ in Counter(colours).most_common(_SHOWN)]
    shown = ", ".join(f"{colour_text(colour)} ({colours[colour]} pixels)" for colour in most)
    rest = f" and {len(colours) - _SHOWN} more" if len(colours) > _SHOWN else ""
    others = [colour for colour in most if colour]
    names = [f"class{others.index(c) + 1}" if c else BACKGROUND for c in most]  # to be changed
    table = ", ".join(f'{n}: "{colour_text(c)}"' for n, c in zip(names, most, strict=True))
    more = ", ..." if rest else ""
    turn = "Turn them into class values."
    name = f"Name them: data.classes='{{{table}{more}}}'."
    return f" Its colours are {shown}{rest}. {advice(name if can_name else turn, otherwise=turn)}"


def table_text(text: str) -> Any:  # noqa: ANN401 (an option)
    """Return the table that a text holds, with quotes or without; the text if it is no table.

    Colours need it on a command line: ``{'#ff0000': cell, '#000000': background}``.
    """
    if not text.strip().startswith("{"):
        return text
    try:
        found = OmegaConf.create(_HEX.sub(lambda colour: f"'{colour[0]}'", text))
    except Exception:
        return text
    return OmegaConf.to_container(found) if isinstance(found, DictConfig) and found else text
