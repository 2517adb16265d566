"""The limits of options: declared beside each field, checked when the options are made.

>>> @dataclass(frozen=True, kw_only=True)
... class Example(Options, group="recipe"):
...     lr: float = number(0.02, least=0)
...     optimizer: str = choice("sgd", ("sgd", "adamw"))
>>> Example(lr=-1)
Traceback (most recent call last):
    ...
backbones.errors.UserError: recipe.lr takes a number of at least 0, got -1.
>>> limits_of(Example)
{'lr': 'a number of at least 0', 'optimizer': 'sgd or adamw'}
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, TypeGuard

from backbones.choose import choose
from backbones.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a field takes: in words that follow "takes", as a test, and as names if any."""

    text: str
    fits: Callable[[Any], bool]
    names: tuple[str, ...] = ()


class Options:
    """Base of the dataclasses of options. It checks the fields; ``group`` is for the messages."""

    GROUP: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init_subclass__(cls, *, group: str | None = None) -> None:
        super().__init_subclass__()
        if group is not None:
            cls.GROUP = group

    def __post_init__(self) -> None:
        """Raise UserError with the option and the limit if the value of a field does not fit."""
        for name, limit in _limits(type(self)).items():
            value = getattr(self, name)
            option = f"{self.GROUP}.{name}".removeprefix(".")
            if limit.fits(value):
                continue
            if limit.names and isinstance(value, str):
                choose(dict.fromkeys(limit.names), value, what=option)
            shown = list(value) if isinstance(value, tuple) else value
            raise UserError(f"{option} takes {limit.text}, got {shown!r}.")


def limits_of(options: type[Options]) -> dict[str, str]:
    """Return what each limited field takes, in words, by the field's name."""
    return {name: limit.text for name, limit in _limits(options).items()}


def _limits(options: type[Options]) -> dict[str, Limit]:
    found = {f.name: f.metadata.get("limit") for f in fields(options)}
    return {name: limit for name, limit in found.items() if limit is not None}


def integer(default: object, *, least: int, also: Mapping[Any, str] | None = None) -> Any:  # noqa: ANN401 - stands for a value of the field's type
    """Declare a field that takes an integer, or one of ``also``; see `checked`."""
    return checked(
        default,
        f"an integer of at least {least}",
        lambda value: is_integer(value) and value >= least,
        also=also,
    )


def number(
    default: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    noun: str = "number",
    also: Mapping[Any, str] | None = None,
) -> Any:  # noqa: ANN401 - as above
    """Declare a field of a finite number; ``above`` and ``below`` are open bounds."""
    if most is None and below is None:
        text = f"above {above:g}" if least is None else f"of at least {least:g}"
    else:
        low = f"above {above:g} and up" if least is None else f"from {least:g}"
        text = f"{low} to {f'below {below:g}' if most is None else f'{most:g}'}"

    def fits(value: object) -> bool:
        return (
            is_finite(value)
            and (least is None or value >= least)
            and (above is None or value > above)
            and (most is None or value <= most)
            and (below is None or value < below)
        )

    return checked(default, f"a {noun} {text}", fits, also=also)


def choice(default: object, names: Collection[str]) -> Any:  # noqa: ANN401 - as above
    """Declare a field that takes one of a few names, in the order of ``names``."""
    known = tuple(names)
    text = " or ".join([", ".join(known[:-1]), known[-1]])
    limit = Limit(text=text, fits=known.__contains__, names=known)
    return field(default=default, metadata={"limit": limit})


def checked(
    default: object,
    text: str,
    fits: Callable[[Any], bool],
    *,
    also: Mapping[Any, str] | None = None,
) -> Any:  # noqa: ANN401 - as above
    """Declare a field of what ``fits``, which ``text`` puts into words, or of ``also``."""
    others = also or {}
    limit = Limit(
        text=", or ".join([text, *others.values()]),
        fits=lambda value: fits(value) or any(value == other for other in others),
    )
    return field(default=default, metadata={"limit": limit})


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether a value is an integer; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number, NaN and infinity included; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: object) -> TypeGuard[float]:
    """Return whether a value is a number that is neither NaN nor infinite."""
    return is_number(value) and math.isfinite(value)


def are_numbers(values: object, *, count: int | None = None) -> TypeGuard[Sequence[float]]:
    """Return whether values are a list or tuple of finite numbers, as many as given by count."""
    return (
        isinstance(values, list | tuple)
        and all(map(is_finite, values))
        and count in (None, len(values))
    )


def with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with tuples for lists, as dataclasses of options have them."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
