"""Check every image file before a run: each is decoded once, as the run will decode it."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np

from backbones.errors import UserError
from tasks.common.data.duplicates import pixel_digest
from tasks.common.files.paths import is_there, listed, not_found
from tasks.common.images.orientation import DONE, UPRIGHT, exif_advice
from tasks.common.machine.threads import cores
from tasks.common.report.advice import advice
from tasks.common.report.terminal import with_progress
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
from tasks.detection.data.sides import narrow_fault
from tasks.detection.options import DetectorOptions

SKIPPED: Final = "on an image that was skipped"
SKIPPED_IMAGES: Final = "images skipped"
_THREADS: Final = 8  # decoders release the interpreter's lock


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What is known of a decoded image file; ``fault`` says why it cannot be read.

    ``size`` is width and height in pixels as stored, ``orientation`` EXIF's. ``digest`` is equal
    for equal pixels, and empty for an image of one value.
    """

    size: tuple[int, int] = (0, 0)
    orientation: int = UPRIGHT
    dtype: str = "uint8"
    extremes: tuple[float, float] = (0.0, 255.0)
    digest: str = ""
    fault: str = ""

    @property
    def is_deep(self) -> bool:
        """Whether it has other numbers than 8 bits."""
        return not self.fault and self.dtype != "uint8"

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels, as it is to be shown."""
        return self.size[::-1] if self.orientation > 4 else self.size


Facts = Mapping[Path, ImageFacts]  # the facts about each image file, by its path


def scan(records: Iterable[ImageRecord]) -> Facts:
    """Return the facts about image files; several are decoded at a time."""
    paths = list(dict.fromkeys(record.path for record in records))
    with ThreadPoolExecutor(max(1, min(_THREADS, cores()))) as pool:
        decoded = with_progress(
            pool.map(_facts, paths), total=len(paths), what="image files decoded"
        )
        return dict(zip(paths, decoded, strict=True))


def choose_reading(
    facts: Iterable[ImageFacts], *, exif: str, range_: Iterable[float] = ()
) -> Reading:
    """Return how images become 8 bits: by ``range_``, or by the bits in use (`chosen_range`)."""
    if given := checked_range(list(range_)):
        return Reading(exif=exif, range=given, clipped=True)
    deep = [one for one in facts if one.is_deep]
    return Reading(exif=exif, range=chosen_range([(one.dtype, one.extremes) for one in deep]))


def check_images(
    annotations: Annotations,
    facts: Facts | None = None,
    *,
    policy: Literal["error", "skip"],
    reading: Reading | None = None,
    options: DetectorOptions | None = None,
) -> Annotations:
    """Return the annotations with ``reading``, if each file exists, is whole and has its size.

    With a detector's ``options``, images that are too narrow for it are faults too.

    ``"error"`` raises with the first five faults; ``"skip"`` leaves these images out, of the truth
    too, but never all. Images with an EXIF rotation that ``reading`` refuses always raise.
    """
    if policy not in ("error", "skip"):
        raise UserError(f"policy is {policy!r}; expected 'error' or 'skip'.")
    reading = reading or Reading()
    facts = scan(annotations.images) if facts is None else facts
    if reading.exif == "refuse":
        _refuse_rotated(annotations, facts)
    faults = {
        record.image_id: f"{record.name} {fault}"
        for record in annotations.images
        if (fault := _fault(record, facts[record.path], reading, options))
    }
    annotations = replace(annotations, reading=reading)
    if not faults:
        return annotations
    total = len(annotations.images)
    if policy == "error" or len(faults) == total:
        first = "; ".join(list(faults.values())[:5])
        rest = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        deep = [one for r in annotations.images if (one := facts[r.path]).is_deep]
        finite = [one for one in deep if np.isfinite(one.extremes).all()]
        refused = any(depth_fault(one.dtype, one.extremes, reading) for one in finite)
        advised = range_advice([one.extremes for one in finite]) if refused else ""
        raise UserError(
            f"{annotations.source}: {len(faults)} of {total} images cannot be used: {first}{rest}. "
            f"{_missing(annotations)}Repair or remove them{advised}"
            f"{advice('; on_bad_image=skip leaves out some, never all')}."
        )
    return _without(annotations, faults)


def images_facts(facts: Collection[ImageFacts], reading: Reading, *, seconds: float) -> str:
    """Return what the banner says of the image files of all splits, decoded in ``seconds``."""
    decoded = [one for one in facts if not one.fault]
    parts = [f"{len(decoded)} decoded in {seconds:.1f} s"]
    kinds = Counter(one.dtype for one in decoded if one.is_deep)
    if kinds and reading.range:
        counted = ", ".join(f"{count} of {kind}" for kind, count in kinds.items())
        cut = ", what is outside is cut off (data.range)" if reading.clipped else ""
        low, high = reading.range
        others = len(decoded) - sum(kinds.values())
        rest = f"; {others} of 8 bits stay as they are" if others else ""
        parts.append(f"{counted}: {low:g} to {high:g} becomes 0 to 255{cut}{rest}")
    if count := sum(one.orientation != UPRIGHT for one in decoded):
        parts.append(f"{count} are rotated by their EXIF orientation: {DONE[reading.exif]}")
    return "; ".join(parts)


def size_fault(size: tuple[int, int], record: ImageRecord, *, orientation: int = UPRIGHT) -> str:
    """Return that an image of ``size`` (width, height) is not what the annotations say."""
    fault = f"is {size[0]}x{size[1]} pixels, but annotated as {record.width}x{record.height}"
    if size == (record.height, record.width) and orientation > 4:
        option = advice("data.exif", otherwise="--exif")
        fault += f" (its EXIF orientation is {orientation}: see {option})"
    elif size == (record.height, record.width):
        fault += " (annotated on a rotated image? Its own EXIF has no rotation)"
    return fault


def _facts(path: Path) -> ImageFacts:
    try:
        pixels, orientation = stored_image(path, in_channels=3)
    except FileNotFoundError:
        return ImageFacts(fault="does not exist")
    except (OSError, ValueError) as error:
        return ImageFacts(fault=str(error).removeprefix(f"{path} ").rstrip("."))
    return ImageFacts(
        size=(pixels.shape[1], pixels.shape[0]),
        orientation=orientation,
        dtype=str(pixels.dtype),
        extremes=(0.0, 255.0) if pixels.dtype == np.uint8 else extremes(pixels),
        digest="" if pixels.min() == pixels.max() else pixel_digest(pixels),
    )


def _fault(
    record: ImageRecord, facts: ImageFacts, reading: Reading, options: DetectorOptions | None
) -> str:
    if facts.fault:
        return facts.fault
    size = facts.upright_size if reading.exif == "apply" else facts.size
    if size != (record.width, record.height):
        return size_fault(size, record, orientation=facts.orientation)
    fault = depth_fault(facts.dtype, facts.extremes, reading) if facts.is_deep else ""
    return fault or (narrow_fault(record.height, record.width, options) if options else "")


def _missing(annotations: Annotations) -> str:
    """Return a sentence on the first missing file and what is in its place, or an empty string."""
    lost = next((record for record in annotations.images if not is_there(record.path)), None)
    if lost is None:
        return ""
    folder = annotations.image_folder
    place = (lost.path.parent, lost.path.name) if folder is None else (folder, lost.name)
    text = not_found(*place, what="image")
    return f"{text[0].upper()}{text[1:]} "


def _refuse_rotated(annotations: Annotations, facts: Facts) -> None:
    """Raise if EXIF rotates images; say which way of reading their annotated sizes fit."""
    pairs = [(record, facts[record.path]) for record in annotations.images]
    found = [(record, one) for record, one in pairs if one.orientation != UPRIGHT]
    if not found:
        return
    names = [f"{record.name} ({one.orientation})" for record, one in found]
    stored = sum(one.size == (record.width, record.height) for record, one in found)
    shown = sum(one.upright_size == (record.width, record.height) for record, one in found)
    raise UserError(
        f"{annotations.source}: {len(found)} of {len(pairs)} images are rotated by their "
        f"EXIF orientation: {listed(names)}. The annotated sizes of {shown} fit the upright image, "
        f"of {stored} the stored pixels. {exif_advice()}"
    )


def _without(annotations: Annotations, image_ids: Collection[int]) -> Annotations:
    truth = dict(annotations.truth)
    truth["images"] = [entry for entry in truth["images"] if entry["id"] not in image_ids]
    kept = [entry for entry in truth["annotations"] if entry["image_id"] not in image_ids]
    lost = len(truth["annotations"]) - len(kept)
    truth["annotations"] = [{**entry, "id": number} for number, entry in enumerate(kept, start=1)]
    counts = Counter(annotations.cleaned) + Counter({SKIPPED_IMAGES: len(image_ids), SKIPPED: lost})
    images = [record for record in annotations.images if record.image_id not in image_ids]
    return replace(annotations, images=images, truth=truth, cleaned=dict(counts))
