"""Backbones that installed packages offer by entry points, imported when they are built."""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from backbones.errors import UserError

BACKBONES: Final = "keel.backbones"
"""Group of builders: each takes a `BackboneOptions` and returns a `Backbone`."""

FAMILIES: Final = "keel.backbone_families"
"""Group of families: ``timm`` takes what follows in ``timm/<name>``, and a `BackboneOptions`."""


def timms_name(name: str) -> str:
    """Return what timm calls a backbone: its name without ``timm/`` and without a tag.

    >>> timms_name("timm/resnet18.a1_in1k"), timms_name("resnet50")
    ('resnet18', 'resnet50')
    """
    return name.removeprefix("timm/").partition(".")[0]


def offered(group: str) -> list[str]:
    """Return the names that installed packages offer in a group, sorted."""
    return sorted({entry.name for entry in entry_points(group=group)})


def import_offered(group: str, name: str) -> Callable[..., Any]:
    """Import what a package offers under a name of `offered`; refuse two packages' offers."""
    entries = list(entry_points(group=group, name=name))
    if len({entry.value for entry in entries}) > 1:
        packages = " and ".join(sorted(_owner(entry) for entry in entries))
        raise UserError(
            f"{packages} each offer {name!r} in {group!r}; expected one. Uninstall the others."
        )
    entry = entries[0]
    try:
        loaded: Callable[..., Any] = entry.load()
    except Exception as error:  # importing runs another's code, which may fail in any way
        raise ImportError(
            f"the package {_owner(entry)} offers {name!r} in {group!r}, but {entry.value!r} cannot "
            f"be imported ({error!r}). Install what it needs, or uninstall {_owner(entry)}."
        ) from error
    return loaded


def offering(group: str, name: str) -> str:
    """Return the packages that offer a name, for a message."""
    return ", ".join(sorted({_owner(entry) for entry in entry_points(group=group, name=name)}))


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unnamed package"
