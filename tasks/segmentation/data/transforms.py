"""Random changes of a patch and its labels: shape by albumentations, intensity by us."""

import os
import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.common.data.augmentation import (
    check_amounts,
    check_probabilities,
    check_zoom,
    seed_steps,
)
from tasks.common.data.sampling import draw_seed
from tasks.segmentation.data.cases import Labels

# Albumentations' alpha is the amplitude of noise before it is blurred: measured at sigma 10.
_ALPHA_PER_PIXEL: Final = 60
_COLOUR: Final = 1000  # beyond the number of any step


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """How training patches are changed.

    Attributes:
        flip: Probability of a horizontal flip. 0 if left and right mean something.
        vertical_flip: Probability of a vertical flip. 0 if the image has an up.
        rotate90: Probability of a turn by a multiple of 90 degrees; for square patches.
        rotation: Largest angle in degrees.
        scale: Lowest and highest zoom about the centre.
        elastic: Mean shift of a pixel by an elastic deformation that is smooth over some 10 pixels
            (Simard et al., 2003), in pixels; half of the patches are deformed.
        brightness: Largest shift, in units of the normalised image (about its std).
        contrast: Strength s in [0, 1): differences from the mean are multiplied by a factor from
            [1 - s, 1 + s].
        noise: Largest std of Gaussian noise, in units of the normalised image.
    """

    flip: float = 0.5
    vertical_flip: float = 0.5
    rotate90: float = 0.0
    rotation: float = 0.0
    scale: tuple[float, ...] = (1.0, 1.0)
    elastic: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values outside their ranges."""
        check_probabilities(self, "flip", "vertical_flip", "rotate90")
        check_amounts(self, "rotation", "elastic", "brightness", "noise")
        check_amounts(self, "contrast", below=1)
        check_zoom(self.scale)


class PatchTransform:
    """Changes patches at random, in a way that a seed alone decides.

    Albumentations cuts the intensities of floats off at 0 and 1, which ours are not; so it moves
    pixels, and the intensities are changed here. Labels are moved by nearest neighbour, so that no
    value appears that was not there; what comes in from outside is the patch mirrored.
    """

    def __init__(self, options: AugmentOptions) -> None:
        # Asks a package registry for its newest version when imported, unless told not to.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations as A

        self.options = options
        with warnings.catch_warnings():
            # It only warns about a misspelt argument, and then goes on without it.
            warnings.simplefilter("error", UserWarning)
            self._shape = A.Compose(_shape_steps(options))

    def __call__(
        self, image: NDArray[np.float32], labels: Labels, *, seed: int
    ) -> tuple[NDArray[np.float32], Labels]:
        """Return the changed patch and labels.

        Args:
            image: (C, H, W), normalised.
            labels: (H, W), or (K, H, W) where classes overlap.
            seed: In [0, 2**32).
        """
        seed_steps(self._shape, seed)
        mask = labels if labels.ndim == 2 else labels.transpose(1, 2, 0)
        moved = self._shape(image=image.transpose(1, 2, 0), mask=mask)
        planes = np.atleast_3d(moved["image"]).transpose(2, 0, 1)  # [C,H,W]
        mask = moved["mask"]
        if labels.ndim == 3:
            mask = np.atleast_3d(mask).transpose(2, 0, 1)
        return self._recoloured(
            planes, np.random.default_rng(draw_seed(seed, _COLOUR))
        ), np.ascontiguousarray(mask)

    def _recoloured(
        self, image: NDArray[np.float32], random: np.random.Generator
    ) -> NDArray[np.float32]:
        options = self.options
        if options.contrast:
            mean = image.mean(axis=(1, 2), keepdims=True)
            factor = random.uniform(1 - options.contrast, 1 + options.contrast)
            image = (image - mean) * factor + mean
        if options.brightness:
            image = image + random.uniform(-options.brightness, options.brightness)
        if options.noise:
            spread = random.uniform(0, options.noise)
            image = image + spread * random.standard_normal(image.shape, dtype=np.float32)
        return np.ascontiguousarray(image, dtype=np.float32)


def _shape_steps(options: AugmentOptions) -> list[Any]:
    """Return the transforms of albumentations."""
    import albumentations as A
    import cv2

    steps: list[Any] = [
        A.HorizontalFlip(p=options.flip),
        A.VerticalFlip(p=options.vertical_flip),
        A.RandomRotate90(p=options.rotate90),
    ]
    edge = cv2.BORDER_REFLECT_101
    if options.rotation or options.scale != (1.0, 1.0):
        turn = (-options.rotation, options.rotation)
        zoom = (options.scale[0], options.scale[1])
        steps.append(A.Affine(scale=zoom, rotate=turn, keep_ratio=True, border_mode=edge, p=1))
    if options.elastic:
        alpha = options.elastic * _ALPHA_PER_PIXEL
        steps.append(
            A.ElasticTransform(alpha=alpha, sigma=10, approximate=True, border_mode=edge, p=0.5)
        )
    return steps
