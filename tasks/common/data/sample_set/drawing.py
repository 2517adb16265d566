"""What both generated data sets draw with; a change here changes their pixels."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray


def random_shape(rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Return height and width: in three of five cases a square, else 7 : 9 or 9 : 7."""
    eighth = np.array([[0, 0], [-1, 1], [1, -1]])[rng.choice(3, p=[0.6, 0.2, 0.2])] * (size // 8)
    height, width = (size + eighth).tolist()
    return height, width


def ramp(angle: float, shape: Sequence[int]) -> NDArray[np.float32]:
    """Return (H, W) that rises from -1 to 1 in the direction of the angle."""
    y, x = np.linspace(-1, 1, shape[0])[:, None], np.linspace(-1, 1, shape[1])
    plane = x * np.cos(angle) + y * np.sin(angle)
    return np.asarray(plane / np.abs(plane).max(), np.float32)


def cloud(rng: np.random.Generator, shape: Sequence[int], *, coarsest: int) -> NDArray[np.float32]:
    """Return noise of several scales, (H, W) or (H, W, C), with standard deviation 1."""
    total = np.zeros(shape, np.float32)
    for cells in (coarsest, 2 * coarsest, 4 * coarsest):
        noise = rng.normal(0, coarsest / cells, (cells, cells, *shape[2:])).astype(np.float32)
        total += cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return total / np.float32(total.std())


def coverage(
    points: NDArray[np.float64], shape: Sequence[int], *, thickness: float = 0.0
) -> NDArray[np.float32]:
    """Return how much of each pixel a polygon covers, or a line of some thickness; (H, W)."""
    height, width = shape[:2]
    fine = np.zeros((4 * height, 4 * width), np.uint8)
    corners = [np.rint((points * 4 - 0.5) * 16).astype(np.int32)]  # cv2's centres lie on integers
    if thickness:
        closed = False
        cv2.polylines(fine, corners, closed, (255,), round(4 * thickness), shift=4)
    else:
        cv2.fillPoly(fine, corners, (255,), shift=4)
    coarse = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(coarse / 255, np.float32)
