"""The image formats of other projects by name, and their conversion to RGB in [0, 1]."""

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from backbones.options import Conventions

_IMAGENET = Conventions()


@dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """What a weight file expects of an image, in the terms of the project that wrote it."""

    mean: tuple[float, ...] = _IMAGENET.mean  # per channel, in the file's order and units
    std: tuple[float, ...] = _IMAGENET.std  # per channel, in the file's order and units
    white: float = 1.0  # what white is before mean and std: 1 or 255
    bgr: bool = False  # whether the channels are blue, green, red
    epsilon: float = _IMAGENET.epsilon  # added to the variance in every batch norm

    def __str__(self) -> str:
        """Return channel order, range, mean and std."""
        order = "BGR" if self.bgr else "RGB" if len(self.mean) == 3 else f"{len(self.mean)} ch."
        mean, std = (" ".join(f"{v:g}" for v in values) for values in (self.mean, self.std))
        return f"{order} in [0, {self.white:g}], mean {mean}, std {std}"

    def conventions(self) -> Conventions:
        """Return the same for RGB images in [0, 1].

        >>> ImageFormat(mean=(51, 0, 255), std=(1, 255, 255), white=255, bgr=True).conventions()
        Conventions(mean=(1.0, 0.0, 0.2), std=(1.0, 1.0, 0.00392156862745098), epsilon=1e-05)
        """
        step = -1 if self.bgr else 1
        return Conventions(
            mean=tuple(value / self.white for value in self.mean[::step]),
            std=tuple(value / self.white for value in self.std[::step]),
            epsilon=self.epsilon,
        )

    def in_rgb(self, weight: Tensor) -> Tensor:
        """Return a first convolution's weight (O, C, kH, kW) for RGB; it changes if C is 3."""
        return weight.flip(1) if self.bgr and weight.ndim == 4 and weight.shape[1] == 3 else weight


_CAFFE = ImageFormat(mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), white=255, bgr=True)
_HALF = (0.5, 0.5, 0.5)

CONVENTIONS: Final[dict[str, ImageFormat]] = {
    "imagenet": ImageFormat(),  # torchvision, most of timm, MoCo, DINO
    "imagenet_bgr": ImageFormat(  # detectron2's ResNeXt-101 32x8d
        mean=_CAFFE.mean, std=(57.375, 57.12, 58.395), white=255, bgr=True
    ),
    "inception": ImageFormat(mean=_HALF, std=_HALF),  # [-1, 1]: TensorFlow, timm's resnetv2_50
    "caffe": _CAFFE,  # detectron2's MSRA files, mmdetection with style='caffe'
    "detectron": ImageFormat(  # the first Detectron, maskrcnn-benchmark
        mean=(102.9801, 115.9465, 122.7717), std=(1.0, 1.0, 1.0), white=255, bgr=True
    ),
    "radimagenet": ImageFormat(mean=_HALF, std=_HALF, bgr=True),  # cv2 images in [-1, 1]
    "swav": ImageFormat(std=(0.228, 0.224, 0.225)),  # src/multicropdataset.py
    "none": ImageFormat(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    "none_255": ImageFormat(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), white=255),
}
"""What ``conventions=<name>`` takes."""
