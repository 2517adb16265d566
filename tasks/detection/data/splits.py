"""A detection data set in its parts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

from omegaconf import DictConfig

from backbones.errors import UserError
from tasks.common.data import splits
from tasks.common.data.splits import SIDES, check_fractions, draw_sides, group_of, refuse_leaks
from tasks.detection.data.annotations import Annotations
from tasks.detection.data.boxes import cleaned
from tasks.detection.data.check import check_images, choose_reading, images_facts, scan
from tasks.detection.data.findings import findings
from tasks.detection.data.images import checked_range
from tasks.detection.data.raw_annotations import LabelledSet, Parts
from tasks.detection.options import DataOptions, DetectorOptions


@dataclass(frozen=True, kw_only=True)
class Splits(splits.Splits[Annotations]):
    """A detection data set in its parts, all with the classes of the training split."""

    notes: tuple[str, ...] = ()
    drawn: str = ""
    group: str | None = None  # the expression that finds an image's group in its name, if given

    def digests(self) -> dict[str, str]:
        """Return a digest of the images' names and boxes that a resumed run must find again."""
        return {name: _digest(split) for name, split in (("train", self.train), ("val", self.val))}

    def checked(
        self,
        policy: Literal["error", "skip"],
        *,
        exif: str = "refuse",
        range_: Sequence[float] = (),
        detector: DetectorOptions | None = None,
    ) -> "Splits":
        """Return the splits after every image file was decoded; see `check_images`."""
        started = time.monotonic()
        sides = self.by_name()
        facts = scan([record for side in sides.values() for record in side.images])
        seconds = time.monotonic() - started
        reading = choose_reading(facts.values(), exif=exif, range_=range_)
        found = {
            name: check_images(side, facts, policy=policy, reading=reading, options=detector)
            for name, side in sides.items()
        }
        digests = {path: one.digest for path, one in facts.items()}
        return replace(
            self,
            train=found["train"],
            val=found["val"],
            test=found.get("test"),
            warnings=(*self.notes, *findings(found, digests)),
            images=images_facts(facts.values(), reading, seconds=seconds),
        )


def read_splits(
    node: DictConfig,
    *,
    policy: Literal["error", "skip"],
    detector: DetectorOptions | None = None,
) -> Splits:
    """Return the data set that the ``data`` group names, checked; see `check_images`."""
    options, parts = splits.read_data(node, DataOptions)
    given = checked_range(options.range)
    divided = divide(parts, options)
    return divided.checked(policy, exif=options.exif, range_=given, detector=detector)


def divide(parts: Parts, options: DataOptions) -> Splits:
    """Return the cleaned splits of a data set, after dividing ``train`` if there is no ``val``."""
    train, group = parts["train"], options.group
    notes: tuple[str, ...] = ()
    drawn = ""
    if "val" not in parts:
        fractions = check_fractions(options.fractions)
        if "test" in parts:
            both = sum(fractions[:2])
            fractions = (fractions[0] / both, fractions[1] / both, 0.0)
        drawn_parts = _draw(train, fractions, options)
        parts = parts | drawn_parts
        notes = tuple(train.warnings)
        together = f", by groups (data.group={group})" if group is not None else ""
        drawn = (
            f"{', '.join(drawn_parts)} are drawn from {len(train.images)} images by "
            f"data.seed={options.seed}, stratified by class{together}"
        )
    if group is not None:
        members = [(i.file_name, side) for side, part in parts.items() for i in part.images]
        refuse_leaks(
            [(name, _group(name, group), side) for name, side in members],
            option="group",
            what="image",
        )
    clean = {side: cleaned(part) for side, part in parts.items()}
    return Splits(
        train=clean["train"],
        val=clean["val"],
        test=clean.get("test"),
        notes=notes,
        drawn=drawn,
        group=group,
    )


def _group(name: str, group: str | None) -> str:
    return group_of(name, group, option="group", what="image")


def _draw(whole: LabelledSet, fractions: tuple[float, float, float], options: DataOptions) -> Parts:
    """Return the parts of a set, whose images keep their order, without its warnings."""
    groups = [_group(image.file_name, options.group) for image in whole.images]
    sizes: dict[str, int] = {}
    labels: dict[str, set[str]] = {}
    for group, image in zip(groups, whole.images, strict=True):
        sizes[group] = sizes.get(group, 0) + 1
        labels.setdefault(group, set()).update(
            whole.classes[region.label - 1] for region in image.regions if not region.ignored
        )
    try:
        sides = draw_sides(sizes, labels, fractions=fractions, seed=options.seed)
    except ValueError as error:
        what, more = "images", "Add images"
        if options.group is not None:
            what, more = f"groups that data.group={options.group!r} finds", "Add groups, change it"
        raise UserError(
            f"{whole.source}: the {what} are too few: {error} {more}, or set a fraction of 0 "
            "for the test."
        ) from error
    members = {
        side: [i for i, group in zip(whole.images, groups, strict=True) if sides[group] == side]
        for side in SIDES
    }
    return {
        side: replace(whole, images=images, warnings=())
        for side, images in members.items()
        if images
    }


def _digest(split: Annotations) -> str:
    found = sha256()
    if split.reading.exif == "apply":
        found.update(b"turned by EXIF")
    if split.reading.range:
        found.update(repr(split.reading.range).encode())
    for record in split.images:
        about = record.image_id, record.path.name, record.height, record.width
        found.update(repr(about).encode())
        found.update(record.boxes.tobytes() + record.labels.tobytes())
    return found.hexdigest()[:16]
