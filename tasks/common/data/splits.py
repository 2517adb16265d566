"""Divide a data set into train, val and test; groups, such as patients, stay together."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, Final, Generic, TypeVar

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from backbones.errors import UserError
from tasks.common.files.paths import listed
from tasks.common.options.limits import are_numbers, with_tuples

SIDES: Final = ("train", "val", "test")

PartT = TypeVar("PartT")
OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True, kw_only=True)
class Splits(Generic[PartT]):
    """A data set in its parts."""

    train: PartT  # to learn from
    val: PartT  # to choose the checkpoint with
    test: PartT | None  # for the final figure; None if there is none
    warnings: tuple[str, ...] = ()  # what a user should know of them, a sentence each
    images: str = ""  # what the check of the image files saw; empty before it

    @property
    def tested(self) -> PartT:
        """The part that the final figure is of: validation where there is no test split."""
        return self.val if self.test is None else self.test

    def by_name(self) -> dict[str, PartT]:
        """Return the parts that there are."""
        test = {} if self.test is None else {"test": self.test}
        return {"train": self.train, "val": self.val, **test}


def read_data(
    node: DictConfig, kind: type[OptionsT], *, lists: Collection[str] = ()
) -> tuple[OptionsT, Any]:
    """Return the options of the ``data`` group, and what the function in ``_target_`` returns.

    Options that ``kind`` lacks are for the function. ``lists`` are options that are lists of names;
    one name alone may be given, and be a number.
    """
    values: Mapping[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    chosen = {key: value for key, value in values.items() if key in names}
    for name in chosen.keys() & lists:
        value = chosen[name]
        chosen[name] = [str(item) for item in (value if isinstance(value, list) else [value])]
    options = kind(**with_tuples(chosen))
    source = {key: value for key, value in values.items() if key not in names}
    return options, instantiate(source, _convert_="all")


def check_fractions(shares: Any) -> tuple[float, float, float]:  # noqa: ANN401 - a user's option
    """Return ``data.fractions``; raise UserError unless they are shares of train, val and test."""
    given = list(shares) if isinstance(shares, Sequence) else shares
    if (
        not are_numbers(given, count=3)
        or not min(given[:2]) > 0 <= given[2]
        or not math.isclose(sum(given), 1, abs_tol=1e-6)
    ):
        raise UserError(
            "data.fractions takes the shares of train, val and test with the sum 1, the first "
            f"two above 0, such as [0.7, 0.1, 0.2], got {given!r}."
        )
    train, val, test = given
    return train, val, test


def group_of(name: str, pattern: str | None, *, option: str, what: str) -> str:
    r"""Return the group of a name, such as the patient of a case.

    ``pattern`` is a regular expression with one group in parentheses; with None every name is its
    own group. Messages name the ``option`` of the pattern and ``what`` is named. A pattern that is
    no such expression, or that does not match in the name, is refused.

    >>> group_of("site_a/p07_2", r"(p\d+)_\d", option="patient", what="case")
    'p07'
    """
    if pattern is None:
        return name
    if not isinstance(pattern, str):
        raise UserError(
            rf"{option} is {pattern!r}; expected a regular expression such as '(\w+)_\d+'."
        )
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"{option} is {pattern!r}, no regular expression: {error}.") from None
    if expression.groups != 1:
        raise UserError(
            f"{option} is {pattern!r} with {expression.groups} groups; expected one group in "
            rf"parentheses, the {option}, such as '(\w+)_\d+'. Write (?:...) for the others."
        )
    found = expression.search(name)
    if not found or not found[1]:
        raise UserError(
            f"{option} is {pattern!r}, which finds no {option} in the {what} name {name!r}; "
            f"expected one in every name. Change the expression, or rename the {what}."
        )
    return found[1]


def refuse_leaks(members: Iterable[tuple[str, str, str]], *, option: str, what: str) -> None:
    """Raise UserError if a group is on two sides; ``members`` are (name, group, side)."""
    first: dict[str, tuple[str, str]] = {}
    for name, group, side in members:
        other, its = first.setdefault(group, (name, side))
        if side != its:
            raise UserError(
                f"{option} {group!r} would be on two sides: {what} {other!r} in {its}, {what} "
                f"{name!r} in {side}. Put all {what}s of a {option} on one side."
            )


def draw_sides(
    groups: Mapping[str, int],
    labels: Mapping[str, Collection[str]],
    *,
    fractions: tuple[float, float, float],
    seed: int,
) -> dict[str, str]:
    """Return the side of each group, drawn at random and stratified by label.

    ``groups`` have a number of images, ``labels`` those of each group, such as classes of boxes; a
    side whose fraction is 0 gets nothing. Groups are ordered by a hash of seed and name, so that
    the split depends on nothing else. From the rarest label on, each label that train lacks gives
    it its first group; then val and test get a labelled group each; the other groups go where most
    of their label's share is missing. Fewer groups than sides are refused.

    >>> sides = draw_sides(dict.fromkeys("abcd", 1), {}, fractions=(0.5, 0.25, 0.25), seed=0)
    >>> sorted(sides.values())
    ['test', 'train', 'train', 'val']
    """
    order = sorted(groups, key=lambda name: sha256(f"{seed}/{name}".encode()).digest())
    sides = {side: share for side, share in zip(SIDES, fractions, strict=True) if share > 0}
    if len(order) < len(sides):
        raise UserError(
            f"{len(order)} cannot be split into {', '.join(sides)}; expected at least "
            f"{len(sides)}: {listed(order)}."
        )
    holders: dict[str, list[str]] = {}
    for name in order:
        for label in labels.get(name, ()):
            holders.setdefault(label, []).append(name)
    rarest = sorted(holders, key=lambda label: (len(holders[label]), label))
    draw = _Draw(groups, sides)
    for label in rarest:
        if not any(name in draw.homes for name in holders[label]):
            draw.put(holders[label][0], "train")
    for side in list(sides)[1:]:
        draw.begin(side, order, labels)
    for label in rarest:
        draw.share_out(holders[label])
    draw.fill(order)
    return draw.homes


class _Draw:
    """The sides of the groups while they are drawn."""

    def __init__(self, sizes: Mapping[str, int], shares: Mapping[str, float]) -> None:
        self.homes: dict[str, str] = {}
        self._sizes = sizes
        self._shares = shares
        self._room = {side: share * sum(sizes.values()) for side, share in shares.items()}

    def put(self, name: str, side: str) -> None:
        before = self.homes.get(name)
        if before is not None:
            self._room[before] += self._sizes[name]
        self.homes[name] = side
        self._room[side] -= self._sizes[name]

    def begin(self, side: str, order: Sequence[str], labels: Mapping[str, Collection[str]]) -> None:
        """Give a side its first group, a labelled one if possible, of the size that fits best."""
        free = [name for name in order if name not in self.homes]
        learnt = [name for name, home in self.homes.items() if home == "train"]
        # If every labelled group went to train, the one with the commonest label comes back.
        spare = learnt[-1:] if len(learnt) > 1 else []
        best = [name for name in free if labels.get(name)] or spare or free
        self.put(min(best, key=lambda name: abs(self._sizes[name] - self._room[side])), side)

    def share_out(self, names: Sequence[str]) -> None:
        """Put each group without a side where most of the label's share is missing."""
        wanted = {side: share * len(names) for side, share in self._shares.items()}
        for name in names:
            if name in self.homes:
                wanted[self.homes[name]] -= 1
        for name in names:
            if name in self.homes:
                continue
            fitting = [side for side in wanted if self._room[side] >= self._sizes[name] / 2]
            side = max(fitting or [self._roomiest()], key=lambda s: (wanted[s], self._room[s]))
            wanted[side] -= 1
            self.put(name, side)

    def fill(self, names: Sequence[str]) -> None:
        """Put each group without a side where there is most room."""
        for name in names:
            if name not in self.homes:
                self.put(name, self._roomiest())

    def _roomiest(self) -> str:
        return max(self._room, key=lambda side: self._room[side])
