"""Run what Keel exported, without torch: NumPy, Pillow and ONNX Runtime are all that it takes.

``scripts/export.py`` copies this file beside every ONNX file that it writes::

    from keel_runtime import Model

    boxes, labels, scores = Model("detector.onnx")("photo.jpg")
    mask = Model("segmenter.onnx")("slide.png")
    maps = Model("backbone.onnx")("photo.jpg")  # by name

Images are paths, Pillow's images, or arrays (H, W) or (H, W, C) as stored, in RGB; for a segmenter
also volumes (D, H, W, C). Python 3.9 or later.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import count, product
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps

Array = NDArray[Any]
Run = Callable[[Array], Sequence[Array]]  # a batch in, the outputs of the file out

FORMAT: Final = 1  # of the metadata
KEY: Final = "keel"  # of the metadata in an ONNX file
_FORMATS: Final = ("PNG", "BMP", "DIB", "JPEG", "WEBP", "TIFF")
_ORIENTATION: Final = 274  # the EXIF tag
_BITS, _PHOTOMETRIC, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 258, 262, 338, 339  # tags of TIFF
_COLOURS: Final = (0, 1, 2, 3, 5, 6)  # photometric interpretations: gray, RGB, palette, CMYK, YCbCr
_DEEP: Final = ((1, 12), (1, 16), (2, 16), (2, 32), (3, 32))  # sample formats and bits
# Shares of red, green and blue in gray, and what is added, in 1 / 2**15: libpng's and OpenCV's.
_GRAY: Final = {"PNG": (9797, 19234, 3737, 0), "BMP": (9798, 19234, 3736, 16384)}
_GRAY_ELSE: Final = (9798, 19235, 3735, 16384)
_AT_ONCE: Final = 4  # windows, and slices


class Detections(NamedTuple):
    """What a detector finds in an image, best first."""

    boxes: NDArray[np.float32]  # (B, 4), xyxy in pixels of the image
    labels: NDArray[np.int64]  # (B,), in 1..K: ``model.classes[label - 1]``
    scores: NDArray[np.float32]  # (B,)


class Model:
    """An exported network; ``metadata`` is what the file says of itself.

    ``threads`` is for ONNX Runtime, 0 for one per core. ValueError if the file is no export of
    Keel, or an image cannot be read or has another shape, type or range than the network takes.
    """

    metadata: Mapping[str, Any]
    _run: Run

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int = 0,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise ImportError(
                "keel_runtime.py needs ONNX Runtime; install it with: pip install onnxruntime"
            ) from error
        if not Path(path).is_file():
            raise FileNotFoundError(f"no file {str(path)!r}; expected an ONNX file of Keel.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors alone
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        stated = session.get_modelmeta().custom_metadata_map.get(KEY)
        if stated is None:
            raise ValueError(f"{path} does not say how it is used: it is no export of Keel.")
        name = session.get_inputs()[0].name
        self._set(json.loads(stated), lambda batch: session.run(None, {name: batch}))

    @classmethod
    def of(cls, metadata: Mapping[str, Any], run: Run) -> Model:
        """Return a model that another engine runs, with the same work before and after it."""
        model = cls.__new__(cls)
        model._set(metadata, run)
        return model

    def _set(self, metadata: Mapping[str, Any], run: Run) -> None:
        if metadata.get("metadata_format") != FORMAT:
            raise ValueError(
                f"the file's metadata have the format {metadata.get('metadata_format')!r}; this "
                f"keel_runtime.py reads {FORMAT}. Use the one that lies beside the file."
            )
        self.metadata, self._run = metadata, run

    @property
    def classes(self) -> list[str]:
        """Names of the classes: a detector's label k is the k-th, from 1; a mask counts from 0."""
        return list(self.metadata["classes"])

    def __call__(self, image: str | Path | Pillow.Image | Array) -> Any:  # noqa: ANN401 (by file)
        """Return what `detect`, `segment` or `features` does, by what the file is."""
        if self.metadata["task"] == "features":
            return self.features(image)
        return self.detect(image) if self.metadata["task"] == "detection" else self.segment(image)

    def detect(
        self, image: str | Path | Pillow.Image | Array, *, threshold: float = 0.0
    ) -> Detections:
        """Return the detections of a score from ``threshold`` on."""
        self._check_task("detection")
        pixels = self._pixels(image)
        if pixels.ndim != 3:
            raise ValueError(f"the image has the shape {pixels.shape}; expected one image.")
        seen, scale = self._eight_bits(pixels), np.ones(4, np.float32)
        size = self._size(seen.shape[0], seen.shape[1])
        if self.metadata["preprocessing"]["where"] == "outside":
            seen, scale = self._resized(seen, size)
        boxes, labels, scores = self._network(seen[None])
        kept = scores >= threshold
        return Detections(boxes[kept] * scale, labels[kept], scores[kept])

    def segment(self, image: str | Path | Pillow.Image | Array) -> NDArray[np.uint8]:
        """Return class indices (H, W), or (K, H, W) of 0 and 1 where classes overlap.

        Of a volume (D, H, W, C) it is (D, H, W) or (K, D, H, W).
        """
        logits, is_volume = self._logits(image)
        if self.metadata["exclusive"]:
            labels: NDArray[np.uint8] = logits.argmax(axis=1).astype(np.uint8)
            return labels if is_volume else labels[0]
        layers: NDArray[np.uint8] = (logits > 0).swapaxes(0, 1).astype(np.uint8)  # (K, D, H, W)
        return layers if is_volume else layers[:, 0]

    def probabilities(self, image: str | Path | Pillow.Image | Array) -> NDArray[np.float32]:
        """Return (K, H, W), of a volume (K, D, H, W), that sum to 1 unless classes overlap."""
        logits, is_volume = self._logits(image)
        shares: NDArray[np.float32]
        if self.metadata["exclusive"]:
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            shares = powers / powers.sum(axis=1, keepdims=True)
        else:
            shares = 1 / (1 + np.exp(-logits.clip(-80, 80)))
        return shares.swapaxes(0, 1) if is_volume else shares[0]

    def features(self, image: str | Path | Pillow.Image | Array) -> dict[str, NDArray[np.float32]]:
        """Return the maps (C', H', W') of a backbone by name; of a volume (D, C', H', W')."""
        self._check_task("features")
        pixels = self._pixels(image)
        volume = pixels if pixels.ndim == 4 else pixels[None]
        maps = self._network(self._prepared(volume))
        named = zip(self.metadata["outputs"], maps)
        return {name: found if pixels.ndim == 4 else found[0] for name, found in named}

    def _logits(self, image: str | Path | Pillow.Image | Array) -> tuple[Array, bool]:
        self._check_task("segmentation")
        pixels = self._pixels(image)
        volume = pixels if pixels.ndim == 4 else pixels[None]  # (D, H, W, C)
        volume = self._prepared(volume)
        parts = [volume[k : k + _AT_ONCE] for k in range(0, len(volume), _AT_ONCE)]
        return np.concatenate([self._flipped(part) for part in parts]), pixels.ndim == 4

    def _prepared(self, volume: Array) -> Array:
        """Return (D, H, W, n) as the file takes it; what a detector sees has 8 bits."""
        if self.metadata["preprocessing"]["where"] == "outside":
            return _normalised(volume, self.metadata["preprocessing"])
        if "range" in self.metadata["reading"]:
            return self._eight_bits(volume)
        if volume.dtype != np.uint8:
            raise ValueError(f"the image has numbers of type {volume.dtype}; expected uint8.")
        return volume

    def _flipped(self, images: Array) -> Array:
        """Return the mean of the logits over flips, if the segmenter was scored with them."""
        flips: tuple[tuple[int, ...], ...] = ((), (2,), (1,), (1, 2))
        total: Array = np.float32(0)  # type: ignore[assignment]
        used = flips if self.metadata["windows"]["flips"] else flips[:1]
        for axes in used:
            logits = self._tiled(np.flip(images, axes))
            total = total + np.flip(logits, tuple(axis + 1 for axis in axes))
        return total / np.float32(len(used))

    def _tiled(self, images: Array) -> Array:
        """Return logits (N, K, H, W) of (N, H, W, C), averaged where windows overlap.

        The weights are a Gaussian around each window's centre, as nnU-Net's and MONAI's.
        """
        how, sides = self.metadata["windows"], images.shape[1:3]
        tile = min(how["size"][0], sides[0]), min(how["size"][1], sides[1])
        if tile == sides:
            return self._network(images)[0]
        rows, columns = (_spans(s, t, how["overlap"]) for s, t in zip(sides, tile))
        weight, shares = _gaussian(*tile, how), np.zeros(sides, np.float32)
        for y, x in product(rows, columns):
            shares[y, x] += weight
        places = list(product(range(len(images)), rows, columns))
        total = np.zeros((len(images), len(self.classes), *sides), np.float32)
        for first in range(0, len(places), _AT_ONCE):
            batch = places[first : first + _AT_ONCE]
            (logits,) = self._network(np.stack([images[n, y, x] for n, y, x in batch]))
            for (n, y, x), one in zip(batch, logits):
                total[n, :, y, x] += one * (weight / shares[y, x])
        return total

    def _network(self, images: Array) -> Sequence[Array]:
        """Return the outputs of the file for (N, H, W, C)."""
        if self.metadata["input"]["layout"] == "NCHW":
            images = images.transpose(0, 3, 1, 2)
        return self._run(np.ascontiguousarray(images))

    def _check_task(self, task: str) -> None:
        if self.metadata["task"] != task:
            raise ValueError(f"the file is of the task {self.metadata['task']}, not {task}.")

    def _pixels(self, image: str | Path | Pillow.Image | Array) -> Array:
        """Return (H, W, C) or (D, H, W, C) with the channels that the network takes."""
        if isinstance(image, (str, Path)):
            pixels = self._read(image)
        elif isinstance(image, Pillow.Image):
            pixels = self._channels(self._upright(image, "the image"), "", image.info)
        elif isinstance(image, np.ndarray):
            pixels = image[..., None] if image.ndim == 2 else image
        else:
            raise TypeError(
                f"the image is of type {type(image).__name__}; expected a path, an image of Pillow "
                "or an array."
            )
        channels = self.metadata["image_channels"]
        if pixels.ndim not in (3, 4) or pixels.shape[-1] != channels or 0 in pixels.shape:
            shape = image.shape if isinstance(image, np.ndarray) else pixels.shape
            raise ValueError(
                f"the image has the shape {shape}; expected (H, W, {channels})"
                f"{' or (H, W)' if channels == 1 else ''}, with pixels in it. Channels of files "
                "and of Pillow's images are converted, those of arrays are not."
            )
        if pixels.dtype.kind not in "uif":
            raise ValueError(f"the image has numbers of type {pixels.dtype}; expected uint8.")
        if not np.isfinite(pixels).all():
            raise ValueError("the image has numbers that are NaN or infinite.")
        return pixels

    def _read(self, path: str | Path) -> Array:
        """Return the pixels of a file; RGB becomes gray as in the libraries that Keel uses."""
        try:
            with Pillow.open(path, formats=_FORMATS) as source:
                kind, info = "JPEG" if source.format == "MPO" else source.format or "", source.info
                wanted = self.metadata["image_channels"], self.metadata["reading"]["colours"]
                if (kind, source.mode, wanted) == ("JPEG", "RGB", (1, "convert")):
                    source.draft("L", source.size)
                pixels = self._upright(source, str(path))
        except (FileNotFoundError, IsADirectoryError, PermissionError, ValueError):
            raise
        except Exception as error:  # damage raises anything
            raise ValueError(
                f"{path} cannot be decoded ({error}); expected a whole PNG, JPEG, TIFF, BMP or "
                "WebP file. Pass the array of another one."
            ) from error
        return self._channels(pixels, kind, info)

    def _upright(self, source: Pillow.Image, name: str) -> Array:
        """Return (H, W) or (H, W, C) as stored, turned as the network's images were."""
        fault = _fault(source)  # before Pillow decodes it, as for the EXIF of a PNG file
        exif, rotated = self.metadata["reading"]["exif"], source.getexif().get(_ORIENTATION)
        if exif == "refuse" and rotated in range(2, 9):
            raise ValueError(
                f"{name} is rotated by its EXIF orientation, and images of training were not; save "
                "it upright."
            )
        if exif == "ignore" and source.format == "TIFF" and rotated in range(2, 9):
            fault = "is turned by Pillow, and images of training were not"
        if fault:
            raise ValueError(f"{name} {fault}; read it with another library and pass its array.")
        if exif == "apply":
            source = ImageOps.exif_transpose(source)
        if source.mode in ("LA", "La"):
            return np.asarray(source.getchannel(0))
        if source.mode == "1":
            return np.asarray(source.convert("L"))
        is_number = source.mode in ("L", "RGB", "I", "F") or source.mode.startswith("I;16")
        return np.asarray(source if is_number else source.convert("RGB"))

    def _channels(self, pixels: Array, kind: str, info: Mapping[Any, Any]) -> Array:
        """Return gray as RGB or RGB as gray, where images of training were converted so."""
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        wanted, how = self.metadata["image_channels"], self.metadata["reading"]["colours"]
        if pixels.shape[-1] == wanted or not how:
            return pixels
        if wanted == 3 and pixels.shape[-1] == 1:
            return np.repeat(pixels, 3, axis=-1)
        if how == "equal":  # RGB becomes gray only if its channels are equal
            return pixels if (pixels != pixels[..., :1]).any() else pixels[..., :1]
        if kind == "PNG" and not {"gamma", "srgb"}.isdisjoint(info):
            raise ValueError(
                "the PNG file states a gamma, by which training made it gray; save it in gray."
            )
        *shares, more = _GRAY.get(kind, _GRAY_ELSE)
        gray: Array = ((pixels.astype(np.int64) @ np.array(shares) + more) >> 15).astype(np.uint8)
        return gray[..., None]

    def _eight_bits(self, pixels: Array) -> NDArray[np.uint8]:
        """Return the 8 bits that a detector sees."""
        if pixels.dtype == np.uint8:
            return pixels
        ends, clipped = (self.metadata["reading"][key] for key in ("range", "clipped"))
        if not ends or (not clipped and not ends[0] <= pixels.min() <= pixels.max() <= ends[1]):
            known = f", or numbers from {ends[0]:g} to {ends[1]:g}" if ends else ""
            raise ValueError(
                f"the image has numbers of type {pixels.dtype}, {pixels.min():g} to "
                f"{pixels.max():g}; expected uint8{known}, as in training."
            )
        scaled = (pixels - np.float64(ends[0])) * (255 / (ends[1] - ends[0]))
        rounded: NDArray[np.uint8] = np.rint(scaled.clip(0, 255)).astype(np.uint8)
        return rounded

    def _size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size that torchvision's ``GeneralizedRCNNTransform`` gives an image."""
        how, sides = self.metadata["preprocessing"], (height, width)
        factor = min(how["min_size"] / min(sides), how["max_size"] / max(sides))
        size = int(height * factor), int(width * factor)
        if 0 in size:
            least = next(side for side in count(1) if int(side * factor))
            raise ValueError(
                f"the image is {width}x{height} pixels, too narrow to be resized to at most "
                f"{how['max_size']}; expected a shorter side of at least {least}. Cut it into "
                "parts."
            )
        return size

    def _resized(self, pixels: Array, size: tuple[int, int]) -> tuple[Array, NDArray[np.float32]]:
        """Return a normalised image of a size, and what its boxes are multiplied by."""
        how, sides = self.metadata["preprocessing"], pixels.shape[:2]
        mean, std = (np.array(how[key], np.float32) for key in ("mean", "std"))
        small = _bilinear((pixels.astype(np.float32) / np.float32(255) - mean) / std, size)
        ratios: Array = np.array(sides, np.float32) / np.array(size, np.float32)
        return small, ratios[[1, 0, 1, 0]]


def _fault(source: Pillow.Image) -> str:
    """Return why Pillow would read a file in another way than Keel, or an empty string."""
    pages = 1 if source.format == "MPO" else getattr(source, "n_frames", 1)
    if pages != 1:
        return f"has {pages} pages; expected one"
    deep = "has colours of 16 bits, which Pillow cuts to 8"
    if len(source.getbands()) > 1 and ";16" in str(getattr(source, "tile", "")):
        return deep
    if source.format != "TIFF":
        return ""
    tags = source.tag_v2  # type: ignore[attr-defined]
    kind = max(tags.get(_SAMPLE_FORMAT, (1,))), max(tags.get(_BITS, (1,)))
    if kind > (1, 8) and len(source.getbands()) > 1:
        return deep
    plain = kind <= (1, 8) and tags.get(_PHOTOMETRIC, 1) in _COLOURS
    known = plain or (kind in _DEEP and tags.get(_PHOTOMETRIC, 1) == 1)
    if known and set(tags.get(_EXTRA_SAMPLES, ())) <= {2}:  # alpha that is not multiplied
        return ""
    return "is a kind of TIFF file that Pillow reads in another way than Keel"


def _bilinear(image: Array, size: tuple[int, int]) -> Array:
    """Return (H, W, C) in another size: torch's bilinear without corners aligned or antialias."""
    for axis, want in enumerate(size):
        have = image.shape[axis]
        at = ((np.arange(want) + 0.5) * (have / want) - 0.5).clip(0)
        left = np.minimum(at.astype(np.int64), have - 1)
        right = np.minimum(left + 1, have - 1)
        share = (at - left).astype(np.float32).reshape(-1, *(1,) * (image.ndim - 1 - axis))
        image = image.take(left, axis) * (1 - share) + image.take(right, axis) * share
    return image


def _normalised(volume: Array, how: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return (D, H, W, n) as the network sees it: intensities scaled, neighbouring slices beside.

    Intensities are scaled by the numbers of the whole volume, per channel.
    """
    low, width, clipped = _scaling(volume.reshape(-1, volume.shape[-1]), how)
    scaled = (volume.astype(np.float32) - low) / width
    scaled = scaled.clip(0, 1) if clipped else scaled
    around = range(-how["neighbours"], how["neighbours"] + 1)
    near = [(np.arange(len(volume)) + step).clip(0, len(volume) - 1) for step in around]
    planes = np.concatenate([scaled[index] for index in near], axis=-1)
    mean, std = (np.array(how[key], np.float32) for key in ("mean", "std"))
    normalised: NDArray[np.float32] = (planes - mean) / std
    return normalised


def _scaling(flat: Array, how: Mapping[str, Any]) -> tuple[Array, Array, bool]:
    """Return what is subtracted from and divided by, per channel of (pixels, C), and if clipped."""
    kind = how["normalisation"]
    if kind == "zscore":
        std = flat.std(axis=0, dtype=np.float64)
        mean = flat.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean, np.where(std > 0, std, 1.0).astype(np.float32), False
    if kind == "percentile":
        low, high = np.percentile(flat, how["percentiles"], axis=0).astype(np.float32)
    elif kind == "window":
        low, high = (np.full(flat.shape[1], end, np.float32) for end in how["window"])
    else:
        low, high = np.zeros(flat.shape[1], np.float32), np.full(flat.shape[1], _largest(flat))
    return low, np.where(high > low, high - low, np.float32(1)).astype(np.float32), True


def _largest(flat: Array) -> np.float32:
    """Return the largest number that the type of an image stands for."""
    if flat.dtype.kind == "u":
        return np.float32(np.iinfo(flat.dtype.name).max)
    if flat.min() >= 0 and flat.max() <= 1:
        return np.float32(1)
    raise ValueError(
        f"the image has numbers from {flat.min():g} to {flat.max():g}; expected whole numbers from "
        "0, or numbers from 0 to 1, as in training."
    )


def _spans(side: int, tile: int, overlap: float) -> list[slice]:
    step = max(1, int(tile * (1 - overlap)))
    count = 1 + math.ceil((side - tile) / step)
    starts = [min(k * step, side - tile) for k in range(count)]
    return [slice(start, start + tile) for start in starts]


def _gaussian(height: int, width: int, how: Mapping[str, Any]) -> NDArray[np.float32]:
    def along(count: int) -> Array:
        at: Array = np.arange(count, dtype=np.float32) - np.float32((count - 1) / 2)
        return np.exp(np.float32(-0.5) * (at / np.float32(how["sigma"] * count)) ** 2)

    weight: Array = np.outer(along(height), along(width)).clip(how["least_weight"])
    return weight.astype(np.float32)
