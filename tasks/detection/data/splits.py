"""A detection data set in its parts."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

from tasks.common.data.splits import check_fractions, group_of, refuse_leaks
from tasks.detection.data.annotations import Annotations
from tasks.detection.data.check import check_images, images_facts, look, settle
from tasks.detection.data.findings import findings
from tasks.detection.data.labelled import LabelledSet


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A data set in its parts, all with the classes of the training split.

    Attributes:
        train: To learn from.
        val: To choose the checkpoint with.
        test: For the final figure; None if there is none.
        notes: What a user should know of how they were read, a sentence each.
        warnings: That, and what was found in them by `checked`.
        images: What it saw of the image files.
        drawn: How they were divided; empty for splits that the data set has itself.
    """

    train: Annotations
    val: Annotations
    test: Annotations | None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    images: str = ""
    drawn: str = ""

    @property
    def tested(self) -> Annotations:
        """What the final figure is of: validation where there is no test split."""
        return self.test or self.val

    def digests(self) -> dict[str, str]:
        """Return a digest of the images' names and boxes that a resumed run must find again."""
        return {name: _digest(split) for name, split in (("train", self.train), ("val", self.val))}

    def checked(
        self,
        policy: Literal["error", "skip"],
        *,
        exif: str = "refuse",
        range_: Sequence[float] = (),
    ) -> "Splits":
        """Return the splits after a look at every image file, all read in one way.

        Args:
            policy: What to do about image files that are missing, damaged or of another size; see
                `check_images`.
            exif: See `tasks.detection.data.images.Reading`.
            range_: See `settle`.
        """
        started = time.monotonic()
        sides = {"train": self.train, "val": self.val}
        sides |= {} if self.test is None else {"test": self.test}
        looked = {name: look(side) for name, side in sides.items()}
        seconds = time.monotonic() - started
        every = [facts for side in looked.values() for facts in side]
        digests = {
            record.path: facts.digest
            for name, side in sides.items()
            for record, facts in zip(side.images, looked[name], strict=True)
        }
        reading = settle(every, exif=exif, range_=range_)
        found = {
            name: check_images(side, policy=policy, reading=reading, looked=looked[name])
            for name, side in sides.items()
        }
        return replace(
            self,
            train=found["train"],
            val=found["val"],
            test=found.get("test"),
            warnings=(*self.notes, *findings(found, digests)),
            images=images_facts(looked, reading, seconds=seconds),
        )


def with_given(
    learnt: LabelledSet,
    given: Mapping[str, LabelledSet],
    *,
    fractions: Sequence[float],
    seed: int,
    group: str | None,
    prepare: Callable[[LabelledSet], LabelledSet] = lambda part: part,
) -> Splits:
    """Return the splits of a data set, dividing what is to learn from where val is not given.

    Args:
        learnt: The training split, or the whole that is divided.
        given: The other splits that the data set has, by their names ``val`` and ``test``.
        fractions: See `LabelledSet.divided`. Where test is given, train and val share the rest.
        seed: See `LabelledSet.divided`.
        group: See `LabelledSet.divided`; no group may lie on two sides.
        prepare: Done to each part of a division.

    Raises:
        ValueError: See `check_fractions` and `LabelledSet.divided`; if a group lies on two sides.
    """
    sides = {"train": learnt, **given}
    notes: tuple[str, ...] = ()
    drawn = ""
    if "val" not in given:
        shares = check_fractions(fractions)
        if given:
            both = sum(shares[:2])
            shares = (shares[0] / both, shares[1] / both, 0.0)
        parts = learnt.divided(fractions=shares, seed=seed, group=group)
        sides |= {side: prepare(part) for side, part in parts.items()}
        notes = tuple(learnt.warnings)
        together = f", by groups (data.group={group})" if group is not None else ""
        drawn = (
            f"{', '.join(parts)} are drawn from {len(learnt.images)} images by data.seed={seed}, "
            f"stratified by class{together}"
        )
    if group is not None:
        refuse_leaks(
            (
                (image.file_name, group_of(image.file_name, group, option="group", what="image"), k)
                for k, side in sides.items()
                for image in side.images
            ),
            option="group",
            what="image",
        )
    test = sides.get("test")
    return Splits(
        train=sides["train"].annotations(),
        val=sides["val"].annotations(),
        test=None if test is None else test.annotations(),
        notes=notes,
        drawn=drawn,
    )


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
