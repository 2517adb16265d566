"""The detection data set that the project makes itself: shapes on cluttered backgrounds."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.common.data.sample_set.drawing import cloud, coverage, ramp, random_shape
from tasks.common.data.sample_set.folder import Settings, sample_settings, write_once
from tasks.detection.data.layouts.coco import coco_parts
from tasks.detection.data.raw_annotations import Parts

Pixels = NDArray[np.float32]  # (H, W, 3), RGB in [0, 255] where it is an image
GENERATOR: Final = "keel detection sample"
VERSION: Final = 1  # raise it whenever the same arguments give other bytes: old folders are renewed
DEFAULT_IMAGES: Final[Mapping[str, int]] = MappingProxyType({"train": 480, "val": 48, "test": 48})
CATEGORY_IDS: Final[dict[str, int]] = {"disk": 1, "square": 3, "triangle": 7}  # with gaps, as COCO
MOST_HIDDEN: Final = 0.4
EMPTY_EVERY: Final = 16


def _regular(corners: int) -> NDArray[np.float64]:
    angles = 2 * np.pi * np.arange(corners) / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


OUTLINES: Final = {"disk": _regular(96), "square": _regular(4), "triangle": _regular(3)}


def write_sample(
    root: Path, *, images: Mapping[str, int] = DEFAULT_IMAGES, size: int = 128, seed: int = 0
) -> Path:
    """Write a small detection data set in COCO's layout, unless it is there; see `write_once`.

    Up to six disks, squares and triangles (category ids 1, 3, 7) of any colour, rotation and
    shading lie over gradients, noise or stripes with lines and blobs that are no objects. At most
    40 % of an object is hidden. Its box is the **visible extent**, as in COCO; ``area`` counts
    visible pixels. One image in sixteen is empty. The same arguments give the same bytes, and an
    image does not depend on how many others there are.
    """
    settings = sample_settings(images, generator=GENERATOR, version=VERSION, size=size, seed=seed)

    def write(folder: Path) -> None:
        for split, count in images.items():
            _write_split(folder, split, count, size=size, seed=seed)

    write_once(root, settings, files=_files, write=write)
    return root


def sample_parts(*, root: str | Path) -> Parts:
    """Return the splits of the generated sample set, which is written on first use.

    Args:
        root: The folder of the set; it is generated if it is not there.
    """
    folder = write_sample(Path(root))
    train, val, test = (f"annotations/instances_{split}.json" for split in DEFAULT_IMAGES)
    return coco_parts(root=folder, train=train, val=val, test=test)


def _files(settings: Settings) -> set[str]:
    counts = settings["images"].items()
    names = {f"images/{split}_{i:04d}.png" for split, count in counts for i in range(count)}
    return names | {f"annotations/instances_{split}.json" for split, _ in counts}


def _write_split(root: Path, split: str, count: int, *, size: int, seed: int) -> None:
    (root / "images").mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        rng = np.random.default_rng([seed, zlib.crc32(split.encode()), index])
        most = 0 if index % EMPTY_EVERY == EMPTY_EVERY // 2 else 6
        pixels, objects = _scene(rng, size=size, most=most)
        name = f"{split}_{index:04d}.png"
        encoded = cv2.imencode(".png", np.rint(pixels[..., ::-1]).astype(np.uint8))[1]
        (root / "images" / name).write_bytes(encoded.tobytes())
        height, width = pixels.shape[:2]
        images.append({"id": index + 1, "file_name": name, "width": width, "height": height})
        annotations += [
            # COCO's evaluator ignores an annotation whose id is 0.
            {"id": len(annotations) + k, "image_id": index + 1, "iscrowd": 0} | one
            for k, one in enumerate(objects, start=1)
        ]
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": k, "name": name} for name, k in CATEGORY_IDS.items()]
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def _scene(
    rng: np.random.Generator, *, size: int, most: int
) -> tuple[Pixels, list[dict[str, Any]]]:
    """Draw one image with at most ``most`` objects, and at least one unless ``most`` is 0."""
    shape = random_shape(rng, size)
    canvas = _background(rng, shape)
    _add_clutter(rng, canvas)
    owner = np.full(shape, -1)
    drawn: list[tuple[str, int]] = []
    for _ in range(int(rng.integers(1, most + 1)) if most else 0):
        name = list(CATEGORY_IDS)[rng.integers(len(CATEGORY_IDS))]
        covers = coverage(_outline(rng, name, shape, size=size), shape)
        inside = covers >= 0.5
        covered = np.where(inside, len(drawn), owner)
        visible = [np.count_nonzero(covered == k) for k in range(len(drawn))]
        if any(v < (1 - MOST_HIDDEN) * area for v, (_, area) in zip(visible, drawn, strict=True)):
            continue
        owner = covered
        drawn.append((name, int(np.count_nonzero(inside))))
        _paint(rng, canvas, covers)
    objects = [_annotation(name, owner == k) for k, (name, _) in enumerate(drawn)]
    return np.clip(canvas + rng.normal(0, 2, canvas.shape), 0, 255).astype(np.float32), objects


def _annotation(name: str, visible: NDArray[np.bool_]) -> dict[str, Any]:
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    x, y = int(columns[0]), int(rows[0])
    box = [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]
    return {"category_id": CATEGORY_IDS[name], "bbox": box, "area": int(visible.sum())}


def _background(rng: np.random.Generator, shape: tuple[int, int]) -> Pixels:
    color = rng.uniform(40, 215, 3).astype(np.float32)
    slope = ramp(rng.uniform(0, 2 * np.pi), shape)[..., None]
    canvas = color + slope * rng.uniform(-30, 30, 3).astype(np.float32)
    kind = rng.choice(["gradient", "noise", "stripes"])
    if kind == "noise":
        coarsest = int(rng.integers(3, 12))
        canvas += cloud(rng, (*shape, 3), coarsest=coarsest) * rng.uniform(6, 14)
    elif kind == "stripes":
        waves = rng.uniform(3, 14)
        canvas += np.sin(np.pi * waves * slope) * rng.uniform(-16, 16, 3)
    return canvas.astype(np.float32)


def _add_clutter(rng: np.random.Generator, canvas: Pixels) -> None:
    height, width = canvas.shape[:2]
    y, x = np.mgrid[:height, :width]
    for _ in range(rng.integers(0, 3)):
        blob = np.hypot(x - rng.uniform(0, width), y - rng.uniform(0, height))
        blob = np.exp(-((blob / rng.uniform(10, 25)) ** 2))
        canvas += (blob[..., None] * rng.uniform(-40, 40, 3)).astype(np.float32)
    mean = canvas.mean((0, 1))

    def point() -> tuple[int, int]:
        return int(rng.integers(width)), int(rng.integers(height))

    def ink() -> tuple[float, ...]:
        return tuple(np.clip(mean + rng.uniform(-70, 70, 3), 0, 255).tolist())

    layer = np.rint(np.clip(canvas, 0, 255)).astype(np.uint8)  # cv2 smooths lines in uint8 only
    for _ in range(rng.integers(0, 4)):
        cv2.line(layer, point(), point(), ink(), 1, cv2.LINE_AA)
    for _ in range(rng.integers(0, 3)):
        axes = int(rng.integers(8, 40)), int(rng.integers(8, 40))
        start = rng.uniform(0, 360)
        end = start + rng.uniform(40, 150)
        cv2.ellipse(layer, point(), axes, rng.uniform(0, 180), start, end, ink(), 1, cv2.LINE_AA)
    for _ in range(rng.integers(0, 12)):
        x16, y16 = (16 * c + 8 for c in point())  # in sixteenths of a pixel, as the radius
        cv2.circle(layer, (x16, y16), int(rng.integers(12, 28)), ink(), -1, cv2.LINE_AA, shift=4)
    canvas[:] = cv2.GaussianBlur(layer, (0, 0), 0.6)  # cv2 draws a small circle as a diamond


def _outline(
    rng: np.random.Generator, name: str, shape: tuple[int, int], *, size: int
) -> NDArray[np.float64]:
    """Return the corners (P, 2) of an object of random place, size and rotation."""
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = OUTLINES[name] @ turn
    points -= points.min(0)
    points *= np.exp(rng.uniform(np.log(size / 7), np.log(size / 2))) / points.max()
    return np.asarray(points + rng.uniform(1, np.array(shape[::-1]) - points.max(0) - 1))


def _paint(rng: np.random.Generator, canvas: Pixels, covers: NDArray[np.float32]) -> None:
    near = cv2.dilate(covers, np.ones((5, 5), np.uint8)) > 0
    around = cv2.cvtColor(np.clip(canvas, 0, 255) / 255, cv2.COLOR_RGB2LAB)[near]  # (P, 3)
    colors = rng.uniform(20, 235, (8, 3)).astype(np.float32)
    lab = cv2.cvtColor(colors[None] / 255, cv2.COLOR_RGB2LAB)[0]
    distance = np.linalg.norm(lab[:, None] - around[None, ::4], axis=2)  # (8, P / 4)
    color = colors[np.percentile(distance, 10, axis=1).argmax()]
    shade = rng.uniform(0.05, 0.2) * ramp(rng.uniform(0, 2 * np.pi), canvas.shape)[..., None]
    grain = rng.uniform(0, 7) * cloud(rng, canvas.shape, coarsest=12)
    rim = cv2.GaussianBlur(covers, (0, 0), 1.2)[..., None]
    surface = color * (1 + shade) * (0.75 + 0.25 * np.clip(2 * rim - 1, 0, 1)) + grain
    alpha = covers[..., None]
    canvas[:] = canvas * (1 - alpha) + surface * alpha
