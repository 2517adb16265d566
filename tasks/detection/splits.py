"""A detection data set in its parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

from tasks.common.splits import check_fractions, group_of, refuse_leaks
from tasks.detection.annotations import Annotations
from tasks.detection.dataset import check_images
from tasks.detection.findings import findings
from tasks.detection.labelled import LabelledSet


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A data set in its parts, all with the classes of the training split.

    Attributes:
        train: To learn from.
        val: To choose the checkpoint with.
        test: For the final figure; None if there is none.
        notes: What a user should know of how they were read, a sentence each.
        warnings: That, and what was found in them by `checked`.
    """

    train: Annotations
    val: Annotations
    test: Annotations | None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def tested(self) -> Annotations:
        """What the final figure is of: validation where there is no test split."""
        return self.test or self.val

    def digests(self) -> dict[str, str]:
        """Return a digest of the images' names and boxes that a resumed run must find again."""
        return {name: _digest(split) for name, split in (("train", self.train), ("val", self.val))}

    def checked(self, policy: Literal["error", "skip"]) -> "Splits":
        """Return the splits after `check_images` of each.

        Args:
            policy: What to do about image files that are missing, truncated or of another size.
        """
        train, val = check_images(self.train, policy=policy), check_images(self.val, policy=policy)
        test = None if self.test is None else check_images(self.test, policy=policy)
        sides = {"train": train, "val": val} | ({} if test is None else {"test": test})
        said = (*self.notes, *findings(sides))
        return replace(self, train=train, val=val, test=test, warnings=said)


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
    if "val" not in given:
        shares = check_fractions(fractions)
        if given:
            both = sum(shares[:2])
            shares = (shares[0] / both, shares[1] / both, 0.0)
        parts = learnt.divided(fractions=shares, seed=seed, group=group)
        sides |= {side: prepare(part) for side, part in parts.items()}
        notes = tuple(learnt.warnings)
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
    )


def _digest(split: Annotations) -> str:
    found = sha256()
    for record in split.images:
        about = record.image_id, record.path.name, record.height, record.width
        found.update(repr(about).encode())
        found.update(record.boxes.tobytes() + record.labels.tobytes())
    return found.hexdigest()[:16]
