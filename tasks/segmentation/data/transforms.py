"""Random changes of a patch and its labels: shape by albumentations, intensity by us."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.common.data.augmentation import albumentations, seed_steps
from tasks.common.data.samplers import draw_seed
from tasks.segmentation.data.cases import Labels
from tasks.segmentation.options import AugmentOptions

# Albumentations' alpha is the amplitude of noise before it is blurred: measured at sigma 10.
_ALPHA_PER_PIXEL: Final = 60
_COLOUR: Final = 1000  # beyond the number of any step


class PatchTransform:
    """Changes patches at random, in a way that a seed alone decides.

    Albumentations cuts the intensities of floats off at 0 and 1, which ours are not; so it moves
    pixels, and the intensities are changed here. Labels are moved by nearest neighbour, so that no
    value appears that was not there; what comes in from outside is the patch mirrored.
    """

    def __init__(self, options: AugmentOptions) -> None:
        self.options = options
        with albumentations() as library:
            self._shape = library.Compose(_shape_steps(options, library))

    def __call__(
        self, image: NDArray[np.float32], labels: Labels, *, seed: int
    ) -> tuple[NDArray[np.float32], Labels]:
        """Return the changed patch (C, H, W), normalised, and labels (H, W) or (K, H, W)."""
        seed_steps(self._shape, seed)
        mask = labels if labels.ndim == 2 else labels.transpose(1, 2, 0)
        moved = self._shape(image=image.transpose(1, 2, 0), mask=mask)
        planes = np.atleast_3d(moved["image"]).transpose(2, 0, 1)  # [C,H,W]
        mask = moved["mask"]
        if labels.ndim == 3:
            mask = np.atleast_3d(mask).transpose(2, 0, 1)
        random = np.random.default_rng(draw_seed(seed, _COLOUR))
        return self._recoloured(planes, random), np.ascontiguousarray(mask)

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


def _shape_steps(options: AugmentOptions, library: Any) -> list[Any]:  # noqa: ANN401 (a module)
    import cv2

    steps: list[Any] = [
        library.HorizontalFlip(p=options.flip),
        library.VerticalFlip(p=options.vertical_flip),
        library.RandomRotate90(p=options.rotate90),
    ]
    edge = cv2.BORDER_REFLECT_101
    if options.rotation or options.scale != (1.0, 1.0):
        turn = (-options.rotation, options.rotation)
        zoom = (options.scale[0], options.scale[1])
        steps += [library.Affine(scale=zoom, rotate=turn, keep_ratio=True, border_mode=edge, p=1)]
    if options.elastic:
        bend, alpha = library.ElasticTransform, options.elastic * _ALPHA_PER_PIXEL
        steps += [bend(alpha=alpha, sigma=10, approximate=True, border_mode=edge, p=0.5)]
    return steps
