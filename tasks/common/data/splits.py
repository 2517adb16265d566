"""Divide what a data set holds into train, val and test; what belongs together stays together."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from backbones.errors import UserError
from tasks.common.files.paths import listed

SIDES: Final = ("train", "val", "test")


def check_fractions(shares: Any) -> tuple[float, float, float]:  # noqa: ANN401 - a user's option
    """Return the shares of train, val and test.

    Args:
        shares: What the option ``data.fractions`` holds.

    Raises:
        ValueError: Unless they are three numbers with the sum 1, the first two above 0 and the
            last, that of test, at least 0.
    """
    given = list(shares) if isinstance(shares, Sequence) else shares
    numbers = isinstance(given, list) and all(isinstance(share, int | float) for share in given)
    if (
        not numbers
        or len(given) != 3
        or not (min(given[:2]) > 0 <= given[2] and math.isclose(sum(given), 1, abs_tol=1e-6))
    ):
        raise UserError(
            "data.fractions takes the shares of train, val and test with the sum 1, the first "
            f"two above 0, such as [0.7, 0.1, 0.2], got {given!r}."
        )
    train, val, test = given
    return train, val, test


def group_of(name: str, pattern: str | None, *, option: str, what: str) -> str:
    r"""Return which group a name belongs to, such as the patient of a case.

    Args:
        name: Of a case or an image.
        pattern: A regular expression with one group in parentheses that is found anywhere in the
            name. None if every name is its own group.
        option: What the groups are, which is the option's name as well, for messages.
        what: What is named, for messages.

    Raises:
        ValueError: If ``pattern`` is no such expression, or is not found in the name.

    Example:
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
    """Raise an error if a group lies on two sides.

    Args:
        members: The name, the group and the side of each.
        option: What the groups are.
        what: What is named.

    Raises:
        ValueError: With the group, two of its members and their sides.
    """
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
    """Return the side of each group, drawn by the seed alone and stratified by label.

    Groups are ordered by a hash of the seed and the name, so neither their order nor the version
    of any random number generator matters. In that order every label, the rarest first, gives its
    first group to train where train lacks it; then val and test get a group with labels each; the
    others go, label by label, where most of the label's share is missing, and where there is room.

    Args:
        groups: How many images each has.
        labels: The labels of each, such as the classes of its boxes; none for a group that is not
            named.
        fractions: Of train, val and test; those of 0 get nothing.
        seed: Another seed gives another split.

    Raises:
        ValueError: If there are fewer groups than sides.

    Example:
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
    """Which group lies on which side, while it is drawn."""

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
        """Give a side its first group: with labels if there is one, of the size that fits best."""
        free = [name for name in order if name not in self.homes]
        learnt = [name for name, home in self.homes.items() if home == "train"]
        # Where each label went to train with a group of its own, the commonest comes back.
        spare = learnt[-1:] if len(learnt) > 1 else []
        best = [name for name in free if labels.get(name)] or spare or free
        self.put(min(best, key=lambda name: abs(self._sizes[name] - self._room[side])), side)

    def share_out(self, names: Sequence[str]) -> None:
        """Put those of ``names`` that have no side yet where the most of them are missing."""
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
        """Put those of ``names`` that have no side yet where there is the most room."""
        for name in names:
            if name not in self.homes:
                self.put(name, self._roomiest())

    def _roomiest(self) -> str:
        return max(self._room, key=lambda side: self._room[side])
