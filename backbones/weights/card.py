"""What a file of Keel states of itself, its card: checked, because files come from others."""

import json
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, Final

from backbones.errors import UserError
from backbones.names import WEIGHTS
from backbones.weights.read import read_metadata

FORMAT: Final = 1
CONFIG: Final = "config.json"


def read_notes(path: Path) -> dict[str, Any]:
    """Return `read_metadata` of a file, and refuse a folder in which ``config.json`` was edited.

    Only the card in ``model.safetensors`` counts; `save_pretrained` writes the same to
    ``config.json`` for people to read.
    """
    notes = read_metadata(path)
    card, beside = notes.get("keel"), notes.get(CONFIG, {}).get("keel")
    broken = CONFIG not in notes and path.with_name(CONFIG).is_file()
    if path.name != WEIGHTS or card is None or (beside in (None, card) and not broken):
        return notes
    differ = "everything"
    if isinstance(beside, Mapping):
        texts = [{k: json.dumps(v) for k, v in each.items()} for each in (beside, card)]
        names = sorted(beside.keys() | card.keys())
        differ = ", ".join(name for name in names if texts[0].get(name) != texts[1].get(name))
    raise UserError(
        f"{path.with_name(CONFIG)} differs from what {path.name} states of itself in {differ}; "
        "expected the same. Restore it: changes are not read from there."
    )


def check_card(card: Mapping[str, Any], *, of: str, needed: Collection[str] = ()) -> None:
    """Raise UserError, with the field and its value, if a card cannot be that of a backbone.

    Fields that are not ``needed`` may be missing; a network's card has further fields. ``of`` is
    the file, for the message.
    """
    if ("format" in card or "format" in needed) and card.get("format") != FORMAT:
        raise UserError(
            f"{of} has the format {card.get('format')!r}, this version of Keel reads {FORMAT}; use "
            "the version that wrote it."
        )
    for name, (text, fits) in _FIELDS.items():
        if name in card and not fits(card[name]):
            raise _wrong(of, f"{name}={shortened(card[name])}", text)
        if name in needed and name not in card:
            raise _wrong(of, f"no {name}", text)
    counts = {name: len(card[name]) for name in ("mean", "std") if name in card}
    if "in_channels" in card:
        counts["in_channels"] = card["in_channels"]
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} for {count}" for name, count in counts.items())
        raise _wrong(of, shown, "the same number of channels")


def _wrong(of: str, found: str, expected: str) -> UserError:
    return UserError(
        f"{of} has {found} in its card; expected {expected}. Save it again with such values, or "
        "use another file."
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_name, value))


def _is_integer(value: object, *among: int) -> bool:
    is_one = isinstance(value, int) and not isinstance(value, bool)
    return is_one and (value in among or not among)


def _is_number(value: object) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _are_numbers(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_number, value))


def _are_steps(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(step, Mapping) and all(isinstance(text, str) for text in step.values())
        for step in value
    )


_FIELDS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "backbone": ("the name of a backbone", _is_name),
    "norm": ("the name of a norm", _is_name),
    "in_channels": ("an integer of at least 1", lambda v: _is_integer(v) and v >= 1),
    "out_features": ("names of features, or null", lambda v: v is None or _are_names(v)),
    "output_stride": ("8, 16 or 32", lambda v: _is_integer(v, 8, 16, 32)),
    "deformable": ("names of stages", _are_names),
    "deformable_version": ("1 or 2", lambda v: _is_integer(v, 1, 2)),
    "mean": ("finite numbers, one per channel", _are_numbers),
    "std": (
        "finite numbers above 0, one per channel",
        lambda v: _are_numbers(v) and min(v) > 0,
    ),
    "epsilon": ("a number of at least 0", lambda v: _is_number(v) and v >= 0),
    "stride_in_1x1": ("true, false or null", lambda v: v is None or isinstance(v, bool)),
    "provenance": ("a text", lambda v: isinstance(v, str)),
    "lineage": ("a list of files and runs", _are_steps),
}
