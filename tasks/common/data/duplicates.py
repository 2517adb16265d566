"""Find images that occur twice, in one split or in two."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_PAIRS: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """The name of an image, the digest of its pixels, and that of its labels."""

    name: str
    digest: str
    label_digest: str


def pixel_digest(pixels: NDArray[Any]) -> str:
    """Return a text that is equal for arrays of one shape, type and content alone.

    >>> pixel_digest(np.zeros((2, 3))) == pixel_digest(np.zeros((3, 2)))
    False
    """
    about = repr((pixels.shape, pixels.dtype)).encode()
    return blake2b(about + np.ascontiguousarray(pixels).tobytes(), digest_size=16).hexdigest()


def duplicates(sides: Mapping[str, Sequence[Seen]], *, labels: str) -> list[str]:
    """Return sentences on images that are in two splits, then on those that are twice in one.

    The first pairs of each kind are named, the rest is counted.

    >>> cell = Seen(name="a", digest="5f", label_digest="1")
    >>> duplicates({"train": [cell], "val": [cell]}, labels="masks")
    ['a in train and a in val are the same image']
    """
    places: dict[str, list[tuple[str, Seen]]] = defaultdict(list)
    for side, images in sides.items():
        for seen in images:
            places[seen.digest].append((side, seen))
    across, within = [], []
    for same in places.values():
        for (side, one), (other_side, other) in pairwise(same):
            differ = "" if one.label_digest == other.label_digest else f" with different {labels}"
            if side == other_side:
                within.append(f"{one.name} and {other.name} in {side} are the same image{differ}")
            else:
                where = f"{one.name} in {side} and {other.name} in {other_side}"
                across.append(f"{where} are the same image{differ}")
    return [*_first(across, "two splits"), *_first(within, "one split")]


def _first(said: list[str], where: str) -> list[str]:
    more = len(said) - _PAIRS
    rest = [f"{more} more pairs in {where} are the same image"] if more > 0 else []
    return [*said[:_PAIRS], *rest]
