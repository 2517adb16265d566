"""What the augmentations of all tasks take."""

from typing import Any

from tasks.common.options.limits import are_numbers, checked, number


def probability(default: float) -> Any:  # noqa: ANN401 - stands for a field's value
    """Declare a field that takes a probability."""
    return number(default, least=0, most=1, noun="probability")


def zoom() -> Any:  # noqa: ANN401 - as above
    """Declare a field that takes the lowest and the highest zoom."""
    return checked(
        (1.0, 1.0),
        "the lowest and the highest zoom, such as [0.8, 1.25]",
        lambda value: are_numbers(value, count=2) and 0 < value[0] <= value[1],
    )
