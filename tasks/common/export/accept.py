"""The images that an exported file is tried on, and whether it is accepted."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from backbones.errors import UserError
from tasks.common.export.comparing import Agreement, generated
from tasks.common.export.subject import Image, Request, Subject

# Sizes that no data set shares: an axis that was traced as a constant shows.
_SIZES: Final = ((97, 131), (160, 90), (75, 75))


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Images, and where they come from."""

    arrays: list[Image]
    source: str


def compared_on(subject: Subject, request: Request, *, least: int = 1) -> Compared:
    """Return images of the run's validation split and parts of them, which have other sizes.

    Where the run's data cannot be reached, or no side has ``least`` pixels, they are generated.
    """
    channels = int(subject.facts(place="inside")["image_channels"])
    held = subject.images("val", request.images, seed=request.seed)
    real = [image for image in held if _least_side(image) >= least]
    empty = 1 if subject.tries_empty else 0
    if real:
        parts = [
            part
            for image, share in zip(real, (0.71, 0.53, 0.87), strict=False)
            if _least_side(part := _part(image, share)) >= least
        ]
        source = f"{len(real)} of the run's validation split, {len(parts)} parts of them"
        source += ", 1 empty" * empty
        return Compared(arrays=[*real, *parts, *[np.zeros_like(real[0])] * empty], source=source)
    made = generated(_SIZES, channels=channels, seed=request.seed)
    why = f"the run's are below {least} pixels" if held else subject.data_note
    return Compared(
        arrays=[*made, *[np.zeros_like(made[0])] * empty], source=f"generated, because {why}"
    )


def _least_side(image: Image) -> int:
    return int(min(image.shape[-3:-1]))


def _part(image: Image, share: float) -> Image:
    """Return the upper left part of an image, of another size and shape."""
    height, width = image.shape[-3:-1]
    rows, columns = max(1, int(height * share)), max(1, int(width * share**2))
    return np.ascontiguousarray(image[..., :rows, :columns, :])


def accepted(agreement: Agreement, images: Compared, *, name: str) -> str:
    """Return a line of the figures; raise UserError if the file and the network differ."""
    if agreement.faults:
        raise UserError(
            f"{name} was not shown to find what the network finds, and was not kept: "
            f"{'; '.join(agreement.faults)}. Compared on images ({images.source}): {agreement}."
        )
    return f"{name} agrees with the network on images ({images.source}): {agreement}"
