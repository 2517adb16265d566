"""Images that a program holds: NumPy arrays, torch tensors and Pillow's images."""

from collections.abc import Collection
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from backbones.errors import UserError
from tasks.common.images.flat import pillow_pixels
from tasks.common.images.orientation import TAG, UPRIGHT, valid

ImageLike = str | PathLike[str] | NDArray[Any] | Tensor | Pillow.Image
"""What trained networks take: a path, an array, a tensor, or an image of Pillow's."""


def path_of(image: ImageLike) -> Path | None:
    """Return the path of an image file; None for an image that a program holds."""
    return Path(image) if isinstance(image, str | PathLike) else None


def held_pixels(
    image: ImageLike, *, channels: Collection[int], name: str, volumes: bool = False
) -> tuple[NDArray[Any], int]:
    """Return an image's pixels, (H, W, C) in its own numbers, and its EXIF orientation, 1 to 8.

    Arrays are (H, W) or (H, W, C), tensors (H, W) or (C, H, W), channels in the order red, green,
    blue; with ``volumes`` also (D, H, W, C) or (C, D, H, W), which stay volumes. ``channels`` are
    the counts that may occur, ``name`` stands for the image in messages. Only an image of Pillow's
    has an orientation; its modes are read as from a file, without alpha.
    """
    if isinstance(image, Pillow.Image):
        return _from_pillow(image, name)
    if isinstance(image, Tensor):
        values = image.detach().cpu()
        array = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    elif isinstance(image, np.ndarray):
        array = image
    else:
        raise UserError(
            f"{name} is of the type {type(image).__name__}; expected a path, a NumPy array, a "
            "torch tensor or an image of Pillow's, or a list of these."
        )
    _check(array, is_tensor=isinstance(image, Tensor), name=name, channels=channels, deep=volumes)
    if array.ndim == 2:
        array = array[..., None]
    elif isinstance(image, Tensor):
        array = np.moveaxis(array, 0, -1)
    return np.require(array, requirements=["C", "W"]), UPRIGHT  # torch takes no others


def without_alpha(pixels: NDArray[Any], *, channels: int) -> NDArray[Any]:
    """Return (..., C) without the last of 2 or 4 channels, unless so many are expected."""
    has_alpha = pixels.shape[-1] in (2, 4) and pixels.shape[-1] != channels
    return pixels[..., :-1] if has_alpha else pixels


def _from_pillow(image: Pillow.Image, name: str) -> tuple[NDArray[Any], int]:
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        raise UserError(f"{name} has {frames} pages; expected one. Give them one by one.")
    pixels = np.require(np.atleast_3d(pillow_pixels(image)), requirements=["C", "W"])
    return pixels, valid(image.getexif().get(TAG, UPRIGHT))


def _check(
    array: NDArray[Any], *, is_tensor: bool, name: str, channels: Collection[int], deep: bool
) -> None:
    """Raise UserError if the shape or the type of the numbers is none of an image."""
    if array.dtype.kind not in "uif":
        raise UserError(
            f"{name} has numbers of the type {array.dtype}; expected whole or floating-point "
            "numbers, such as uint8."
        )
    layouts = ["(H, W)", "(C, H, W)" if is_tensor else "(H, W, C)"]
    layouts += [layouts[1].replace("H, W", "D, H, W")] if deep else []
    where, other = (0, -1) if is_tensor else (-1, 0)
    flat = array.ndim == 2 and 1 in channels
    if array.size and (flat or (3 <= array.ndim < 4 + deep and array.shape[where] in channels)):
        return
    counts = ", ".join(map(str, sorted(channels)))
    text = f"{name} has the shape {array.shape}; expected {' or '.join(layouts)} with C of {counts}"
    if array.ndim == 4:
        volume = "; four axes are one volume" if deep else ""
        text += f"{volume}; give a batch as a list of images: list(images)"
    elif array.ndim > 2 and array.size and array.shape[other] in channels:
        kind = "array" if is_tensor else "tensor"
        text += f"; its channels lie as in {'an' if is_tensor else 'a'} {kind}: move that axis"
    raise UserError(f"{text}.")
