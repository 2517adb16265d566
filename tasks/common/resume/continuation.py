"""When a run may go on from a checkpoint: if nothing has changed that its losses depend on."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from backbones.errors import UserError
from tasks.common.recipe.recipe import Recipe
from tasks.common.resume.card import CardT, plain, read_trainable

# The data's digests depend on how it was read.
_NOT_COMPARED: Final = ("provenance", "lineage", "one_based", "exif", "reading")


def check_resume(
    path: Path,
    card: CardT,
    *,
    settings: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
) -> CardT:
    """Return the card of a run that goes on from a checkpoint; raise if that is of another run.

    Where the first weights came from may differ: provenance and lineage are those of the checkpoint
    then. What the weights expect of an image may not. ``defaults`` are for the task's options that
    a checkpoint of an earlier version does not name.
    """
    now = card.to_dict()
    checkpoint, trained = read_trainable(path, type(card))
    saved = trained.to_dict()
    before = plain(checkpoint.get("keel_run", {}))
    pairs = [(key, now[key], saved[key]) for key in now if key not in _NOT_COMPARED]
    usual = plain({"recipe": asdict(Recipe()), **(defaults or {})})
    pairs += [
        (key, plain(value), _completed(before.get(key), value, usual.get(key, {})))
        for key, value in settings.items()
    ]
    differ = [text for pair in pairs for text in _differences(*pair)]
    if differ:
        raise UserError(
            f"cannot resume from {path}: {'; '.join(differ)}. Use the command of that run, and "
            "name what was auto there if this machine decides otherwise; to train on in another "
            "way start a new run with init_from set to the checkpoint."
        )
    # One is saved within the last validation, before Lightning counts the epoch as completed.
    done: int = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    steps, most = checkpoint["global_step"], settings["trainer"]["max_steps"]
    epochs = settings["recipe"]["epochs"]
    if done >= epochs or steps == most:
        raise UserError(
            f"{path} has {done} of {epochs} epochs behind it, {steps} steps"
            f"{f' of {most}' if steps == most else ''}: nothing is left to train. "
            "Score it with scripts/evaluate.py, or start a new run with init_from set to it."
        )
    return replace(card, provenance=trained.provenance, lineage=trained.lineage)


def _completed(saved: Any, now: Any, defaults: Mapping[str, Any]) -> Any:  # noqa: ANN401 (JSON values)
    """Return a group's saved options, with defaults for newer ones, without ``_target_``."""
    if not isinstance(saved, Mapping) or not isinstance(now, Mapping):
        return saved
    new = {key: value for key, value in defaults.items() if key in now and key not in saved}
    return {**new, **{key: value for key, value in saved.items() if key != "_target_"}}


def _differences(name: str, now: Any, saved: Any) -> Iterator[str]:  # noqa: ANN401 (JSON values)
    """Yield a phrase for every value that differs, however deep it lies."""
    if isinstance(now, Mapping) and isinstance(saved, Mapping):
        for key in dict.fromkeys([*now, *saved]):
            yield from _differences(f"{name}.{key}", now.get(key), saved.get(key))
    elif now != saved:
        yield f"{name} is {now!r}, the checkpoint's is {saved!r}"
