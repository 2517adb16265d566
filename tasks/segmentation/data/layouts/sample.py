"""The segmentation data set that the project makes itself: tissue under a microscope."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.common.data.sample_set.drawing import cloud, coverage, ramp, random_shape
from tasks.common.data.sample_set.folder import Settings, sample_settings, write_once
from tasks.segmentation.data.cases import Case, CaseSet, class_table

Plane = NDArray[np.float32]  # (H, W); gray in [0, 255] where it is an image
Points = NDArray[np.float64]  # (P, 2): x and y in pixels
Generator = np.random.Generator
GENERATOR: Final = "keel segmentation sample"
VERSION: Final = 1  # raise it whenever the same arguments give other bytes: old folders are renewed
DEFAULT_IMAGES: Final[Mapping[str, int]] = MappingProxyType({"train": 96, "val": 24, "test": 24})
CLASSES: Final[Mapping[int, str]] = MappingProxyType(
    {0: "background", 80: "gland", 160: "nucleus", 255: "vessel"}
)
GLAND, NUCLEUS, VESSEL = 80, 160, 255
PER_PATIENT: Final = 2
EMPTY_EVERY: Final = 12


def write_sample(
    root: Path, *, images: Mapping[str, int] = DEFAULT_IMAGES, size: int = 128, seed: int = 0
) -> Path:
    """Write a small segmentation data set, unless it is there (see `write_once`); return ``root``.

    Gray pictures of glands (large, a rim around grainy matter), nuclei (many, round, about 10
    pixels wide) and vessels (curved, 4 to 6 pixels wide), which overlap, under uneven light, so
    that brightness does not tell the class. Scratches, bubbles and blurred specks are no
    structures. One image in twelve has no structure. The two images of a patient share tissue,
    sharpness and noise.

    Written are ``images/{split}_{index:04d}.png``, the masks of the same name in ``masks``, with
    the values of `CLASSES`, and ``sample.json`` (the settings). The same arguments give the same
    bytes, and an image does not depend on how many others there are. ``size`` is at least 64.
    """
    settings = sample_settings(images, generator=GENERATOR, version=VERSION, size=size, seed=seed)

    def write(folder: Path) -> None:
        for name, split, index in _names(images):
            stream = [seed, zlib.crc32(split.encode())]
            style = _Style(np.random.default_rng([*stream, index // PER_PATIENT, 1]))
            rng = np.random.default_rng([*stream, index])
            empty = index % EMPTY_EVERY == EMPTY_EVERY // 2
            image, mask = _scene(rng, style, size=size, empty=empty)
            for kind, pixels in (("images", image), ("masks", mask)):
                (folder / kind).mkdir(exist_ok=True)
                encoded = cv2.imencode(".png", pixels)[1]
                (folder / kind / name).write_bytes(encoded.tobytes())

    write_once(root, settings, files=_files, write=write)
    return root


def sample_cases(*, root: str | Path) -> CaseSet:
    """Return the cases of the generated data set, which is written on first use.

    Args:
        root: The folder of the set; it is generated if it is not there.
    """
    folder = write_sample(Path(root), images=DEFAULT_IMAGES)
    cases = tuple(
        Case(
            name=name.removesuffix(".png"),
            images=(folder / "images" / name,),
            masks=(folder / "masks" / name,),
            patient=f"patient_{place // PER_PATIENT:03d}",  # no split has an odd number
            split=split,
        )
        for place, (name, split, _) in enumerate(_names(DEFAULT_IMAGES))
    )
    return CaseSet(source=str(folder), cases=cases, classes=class_table(dict(CLASSES)))


def _names(images: Mapping[str, int]) -> list[tuple[str, str, int]]:
    return [(f"{s}_{i:04d}.png", s, i) for s, count in images.items() for i in range(count)]


def _files(settings: Settings) -> set[str]:
    names = [name for name, *_ in _names(settings["images"])]
    return {f"{kind}/{name}" for kind in ("images", "masks") for name in names}


class _Style:
    """What the images of a patient share: gray levels, a grain in cells per image, and optics."""

    def __init__(self, rng: Generator) -> None:
        self.level = rng.uniform(105, 150)
        self.grain = int(rng.integers(4, 8))
        self.streaks = rng.uniform(2, 5)
        self.angle = rng.uniform(0, np.pi)
        self.blur = rng.uniform(0.4, 0.7)
        self.noise = rng.uniform(2, 3.5)


def _scene(
    rng: Generator, style: _Style, *, size: int, empty: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one image and its mask, with at least one structure unless it shall be empty."""
    shape = random_shape(rng, size)
    canvas = _tissue(rng, style, shape)
    mask = np.zeros(shape, np.uint8)
    if not empty:
        for _ in range(rng.integers(1, 3)):
            _add_gland(rng, canvas, mask, size=size)
    _add_bubbles(rng, canvas)
    if not empty:
        for _ in range(rng.integers(1, 3)):
            _add_vessel(rng, canvas, mask)
        for _ in range(rng.integers(8, 21)):
            _add_nucleus(rng, canvas, mask)
    _add_scratches(rng, canvas)
    light = 1 + rng.uniform(0.1, 0.3) * ramp(rng.uniform(0, 2 * np.pi), shape)
    image = cv2.GaussianBlur(canvas * light, (0, 0), style.blur)
    image = image + rng.normal(0, style.noise, image.shape)
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8), mask


def _tissue(rng: Generator, style: _Style, shape: tuple[int, int]) -> Plane:
    """Return tissue without structures: clouds, and fibres that follow one direction."""
    canvas = np.float32(style.level) + 5 * cloud(rng, shape, coarsest=style.grain)
    bent = ramp(style.angle, shape) + 0.06 * cloud(rng, shape, coarsest=3)
    canvas += np.float32(style.streaks) * np.sin(np.float32(rng.uniform(20, 40)) * bent)
    for _ in range(rng.integers(1, 5)):  # specks out of focus: as large as nuclei, without an edge
        _blend(canvas, _disk(rng, canvas, rng.uniform(3, 7)), _contrast(rng, 15, 35), soft=3)
    return canvas


def _contrast(rng: Generator, least: float, most: float, *, dark: float = 0.5) -> float:
    """Return a difference in gray, below 0 with the probability ``dark``."""
    return float(rng.uniform(least, most) * (-1 if rng.random() < dark else 1))


def _blend(
    canvas: Plane,
    points: Points,
    contrast: float | Plane,
    *,
    thickness: float = 0.0,
    soft: float = 0.0,
) -> NDArray[np.bool_]:
    """Add ``contrast`` inside a polygon, or along a line, and return which pixels lie inside."""
    inside = coverage(points, canvas.shape, thickness=thickness)
    canvas += (cv2.GaussianBlur(inside, (0, 0), soft) if soft else inside) * contrast
    return np.asarray(inside >= 0.5)


def _place(rng: Generator, canvas: Plane) -> Points:
    return np.asarray(rng.uniform(0, canvas.shape[::-1]))


def _disk(rng: Generator, canvas: Plane, radius: float, *, waves: float = 0.0) -> Points:
    """Return the outline of a slightly long disk somewhere, with a wavy edge."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    edge = 1 + sum(waves / k * np.sin(k * turn + rng.uniform(0, 6.3)) for k in (2, 3, 4))
    stretch = rng.uniform(1, 1.25)
    x, y = radius * edge * np.cos(turn) * stretch, radius * edge * np.sin(turn) / stretch
    angle = rng.uniform(0, np.pi)
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(_place(rng, canvas) + np.stack([x, y], axis=1) @ axes)


def _add_gland(rng: Generator, canvas: Plane, mask: NDArray[np.uint8], *, size: int) -> None:
    outline = _disk(rng, canvas, rng.uniform(size / 7, size / 4), waves=0.2)
    middle = outline.mean(axis=0)
    inner = middle + (outline - middle) * rng.uniform(0.6, 0.75)
    contrast = _contrast(rng, 35, 55)
    mask[_blend(canvas, outline, contrast)] = GLAND
    grain = cloud(rng, canvas.shape, coarsest=24) * np.float32(rng.uniform(10, 16))
    _blend(canvas, inner, grain - np.float32(contrast * rng.uniform(0.6, 1.4)))


def _add_nucleus(rng: Generator, canvas: Plane, mask: NDArray[np.uint8]) -> None:
    outline = _disk(rng, canvas, rng.uniform(4, 6.5), waves=0.06)
    mask[_blend(canvas, outline, _contrast(rng, 50, 75, dark=0.8))] = NUCLEUS


def _add_vessel(rng: Generator, canvas: Plane, mask: NDArray[np.uint8]) -> None:
    steps = int(rng.integers(50, 140))
    bends = cv2.GaussianBlur(rng.normal(0, 0.25, (1, steps)), (0, 0), 10)[0]
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(bends)
    way = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
    way += _place(rng, canvas) - way[steps // 2]
    inside = _blend(canvas, way, _contrast(rng, 50, 75, dark=0.2), thickness=rng.uniform(4, 6))
    mask[inside] = VESSEL


def _add_bubbles(rng: Generator, canvas: Plane) -> None:
    """Add small rings: as round as nuclei and as dark, but hollow."""
    for _ in range(rng.integers(1, 4)):
        outline = _disk(rng, canvas, rng.uniform(4, 6.5))
        middle, contrast = outline.mean(axis=0), _contrast(rng, 30, 60)
        _blend(canvas, outline, contrast)
        _blend(canvas, middle + (outline - middle) * 0.7, -contrast)


def _add_scratches(rng: Generator, canvas: Plane) -> None:
    """Add straight lines across the image: as long as vessels, but thinner and not curved."""
    for _ in range(rng.integers(0, 3)):
        start, angle = _place(rng, canvas), rng.uniform(0, 2 * np.pi)
        along = 2 * max(canvas.shape) * np.array([np.cos(angle), np.sin(angle)])
        ends = np.stack([start - along, start + along])
        _blend(canvas, ends, _contrast(rng, 20, 40), thickness=rng.uniform(0.5, 0.9))
