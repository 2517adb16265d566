"""A look at every image file before a run: each is decoded as the run will decode it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.common.files.paths import listed
from tasks.common.images.orientation import DONE, UPRIGHT, exif_advice
from tasks.common.machine.threads import cores
from tasks.common.report.advice import advice
from tasks.common.report.progress import with_progress
from tasks.detection.data.annotations import Annotations, ImageRecord
from tasks.detection.data.images import (
    Reading,
    checked_range,
    chosen_range,
    depth_fault,
    extremes,
    range_advice,
    stored_image,
)
from tasks.detection.data.missing import missing_text

SKIPPED: Final = "on an image that was skipped"
SKIPPED_IMAGES: Final = "images skipped"

_THREADS: Final = 8  # decoders leave the interpreter to the others


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What was seen of an image file.

    Attributes:
        size: Width and height in pixels, as stored.
        orientation: 1 to 8, as EXIF counts.
        dtype: Of its numbers, as numpy calls it.
        seen: The smallest and the largest number; (0, 255) of 8 bits.
        digest: Equal for equal pixels; empty for an image of one value.
        fault: Why it cannot be read, or an empty string.
    """

    size: tuple[int, int] = (0, 0)
    orientation: int = UPRIGHT
    dtype: str = "uint8"
    seen: tuple[float, float] = (0.0, 255.0)
    digest: str = ""
    fault: str = ""


def look(annotations: Annotations) -> list[ImageFacts]:
    """Return the facts about each image file of a split, after decoding it once.

    Several are decoded at a time. What takes long is said every few seconds.
    """
    threads = max(1, min(_THREADS, cores()))
    records, what = annotations.images, f"images of {annotations.source} decoded"
    with ThreadPoolExecutor(threads) as pool:
        return list(with_progress(pool.map(_facts, records), total=len(records), what=what))


def settle(looked: Sequence[ImageFacts], *, exif: str, range_: Sequence[float] = ()) -> Reading:
    """Return how the images of a data set become 8 bits.

    Args:
        looked: Facts about the images of all splits.
        exif: See `Reading`.
        range_: Of files with other numbers than 8 bits; empty for that of the bits in use.

    Raises:
        ValueError: If ``exif`` is unknown, or ``range_`` is no range.
    """
    if range_:
        return Reading(exif=exif, range=checked_range(range_), clipped=True)
    deep = [facts for facts in looked if not facts.fault and facts.dtype != "uint8"]
    bits = chosen_range([facts.dtype for facts in deep], [facts.seen for facts in deep])
    return Reading(exif=exif, range=bits)


def check_images(
    annotations: Annotations,
    *,
    policy: Literal["error", "skip"],
    reading: Reading | None = None,
    looked: Sequence[ImageFacts] | None = None,
) -> Annotations:
    """Return the annotations with ``reading`` after a look at every image file.

    A file must exist, be decoded to its end, and have the annotated size.

    Args:
        annotations: The split.
        policy: What to do about images that fail: ``"error"`` raises, ``"skip"`` leaves them out,
            from the truth as well, and counts them in `Annotations.cleaned`.
        reading: How the files become 8 bits; None for `Reading` as it is by itself.
        looked: Facts about each image, if `look` has seen them.

    Raises:
        ValueError: With the first five files, the number of all, and what is there instead of a
            missing one, if ``policy`` is ``"error"``; in any case if no image is left, or if some
            are to be shown turned and ``reading`` refuses these; if ``policy`` is neither of the
            two.
    """
    if policy not in ("error", "skip"):
        raise ValueError(f"policy is {policy!r}; expected 'error' or 'skip'.")
    reading = reading or Reading()
    facts = look(annotations) if looked is None else looked
    pairs = list(zip(annotations.images, facts, strict=True))
    if reading.exif == "refuse":
        _refuse_turned(annotations, pairs)
    faults = {
        record.image_id: f"{record.name} {fault}"
        for record, one in pairs
        if (fault := _fault(record, one, reading))
    }
    annotations = replace(annotations, reading=reading)
    if not faults:
        return annotations
    total = len(annotations.images)
    if policy == "error" or len(faults) == total:
        first = "; ".join(list(faults.values())[:5])
        rest = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ValueError(
            f"{annotations.source}: {len(faults)} of {total} images cannot be used: {first}{rest}. "
            f"{missing_text(annotations)}Repair or remove them{_range_advice(pairs, reading)}"
            f"{advice('; on_bad_image=skip leaves out some, never all')}."
        )
    return _without(annotations, set(faults))


def images_facts(
    looked: Mapping[str, Sequence[ImageFacts]], reading: Reading, *, seconds: float
) -> str:
    """Return what the banner says of the image files.

    Args:
        looked: Facts about each image, by split.
        reading: How they become 8 bits.
        seconds: That the look took.
    """
    every = [facts for side in looked.values() for facts in side if not facts.fault]
    said = [f"{len(every)} decoded in {seconds:.1f} s"]
    kinds = Counter(facts.dtype for facts in every if facts.dtype != "uint8")
    if kinds and reading.range:
        counted = ", ".join(f"{count} of {kind}" for kind, count in kinds.items())
        cut = ", what is outside is cut off (data.range)" if reading.clipped else ""
        low, high = reading.range
        others = len(every) - sum(kinds.values())
        rest = f"; {others} of 8 bits stay as they are" if others else ""
        said.append(f"{counted}: {low:g} to {high:g} becomes 0 to 255{cut}{rest}")
    if count := sum(facts.orientation != UPRIGHT for facts in every):
        said.append(f"{count} are to be shown turned (EXIF): {DONE[reading.exif]}")
    return "; ".join(said)


def size_fault(size: tuple[int, int], record: ImageRecord, *, orientation: int = UPRIGHT) -> str:
    """Return that an image of ``size`` (width, height) is not what the annotations say."""
    fault = f"is {size[0]}x{size[1]} pixels, but annotated as {record.width}x{record.height}"
    if size == (record.height, record.width) and orientation > 4:
        option = advice("data.exif", otherwise="--exif")
        fault += f" (its EXIF orientation is {orientation}: see {option})"
    elif size == (record.height, record.width):
        fault += " (annotated on a turned image? Its own EXIF says nothing of it)"
    return fault


def _facts(record: ImageRecord) -> ImageFacts:
    try:
        pixels, orientation = stored_image(record.path, in_channels=3)
    except FileNotFoundError:
        return ImageFacts(fault="does not exist")
    except (OSError, ValueError) as error:
        text = str(error).removeprefix(f"{record.path} ").rstrip(".")
        return ImageFacts(fault=text)
    return ImageFacts(
        size=(pixels.shape[1], pixels.shape[0]),
        orientation=orientation,
        dtype=str(pixels.dtype),
        seen=(0.0, 255.0) if pixels.dtype == np.uint8 else extremes(pixels),
        digest=_digest(pixels),
    )


def _digest(pixels: NDArray[Any]) -> str:
    if pixels.min() == pixels.max():
        return ""
    shape = repr((pixels.shape, pixels.dtype)).encode()
    return blake2b(shape + np.ascontiguousarray(pixels).tobytes(), digest_size=16).hexdigest()


def _fault(record: ImageRecord, facts: ImageFacts, reading: Reading) -> str:
    """Return what is wrong with an image file, or an empty string."""
    if facts.fault:
        return facts.fault
    quarter = reading.exif == "apply" and facts.orientation > 4
    size = facts.size[::-1] if quarter else facts.size
    if size != (record.width, record.height):
        return size_fault(size, record, orientation=facts.orientation)
    if facts.dtype == "uint8":
        return ""
    return depth_fault(facts.dtype, facts.seen, reading)


def _range_advice(pairs: Sequence[tuple[ImageRecord, ImageFacts]], reading: Reading) -> str:
    """Return what to do about images of other numbers than 8 bits, if some cannot be used so."""
    deep = [facts for _, facts in pairs if not facts.fault and facts.dtype != "uint8"]
    finite = [facts for facts in deep if np.isfinite(facts.seen).all()]
    refused = any(depth_fault(facts.dtype, facts.seen, reading) for facts in finite)
    return range_advice([facts.seen for facts in finite]) if refused else ""


def _refuse_turned(
    annotations: Annotations, pairs: Sequence[tuple[ImageRecord, ImageFacts]]
) -> None:
    """Raise if images are to be shown turned; say which reading their annotated sizes fit."""
    found = [(record, facts) for record, facts in pairs if facts.orientation != UPRIGHT]
    if not found:
        return
    names = [f"{record.name} ({facts.orientation})" for record, facts in found]
    stored = sum(facts.size == (record.width, record.height) for record, facts in found)
    shown = sum(
        (facts.size[::-1] if facts.orientation > 4 else facts.size) == (record.width, record.height)
        for record, facts in found
    )
    raise ValueError(
        f"{annotations.source}: {len(found)} of {len(pairs)} images are to be shown turned (EXIF "
        f"orientation): {listed(names)}. The annotated sizes of {shown} fit the upright image, of "
        f"{stored} the stored pixels. {exif_advice()}"
    )


def _without(annotations: Annotations, image_ids: set[int]) -> Annotations:
    """Return the annotations of the other images."""
    truth = dict(annotations.truth)
    truth["images"] = [entry for entry in truth["images"] if entry["id"] not in image_ids]
    kept = [entry for entry in truth["annotations"] if entry["image_id"] not in image_ids]
    lost = len(truth["annotations"]) - len(kept)
    truth["annotations"] = [{**entry, "id": number} for number, entry in enumerate(kept, start=1)]
    cleaned = Counter(annotations.cleaned)
    cleaned[SKIPPED_IMAGES] += len(image_ids)
    if lost:
        cleaned[SKIPPED] += lost
    images = [record for record in annotations.images if record.image_id not in image_ids]
    return replace(annotations, images=images, truth=truth, cleaned=dict(cleaned))
