"""Find the state dict in a checkpoint, and the backbone in the state dict."""

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from backbones.errors import UserError

WRAPPERS: Final = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict"),
    *("ema_model_state_dict", "ema_model", "ema", "teacher", "state_dict", "model"),
    *("model_state_dict", "model_state", "net", "network", "module", "backbone", "encoder"),
    *("blobs", "online_network_state_dict", "student"),
)
"""Keys under which frameworks keep state dicts, averaged ones first, as timm does."""

_DEEPEST: Final = 4  # nested wrappers
_HEADS: Final = ("fc.", "head.", "classifier.", "projection_head.", "prototypes.", "n_averaged")
"""Prefixes of classifiers, projections and counters, which a backbone does not have."""


def unwrap(checkpoint: Mapping[str, Any]) -> tuple[str, dict[str, Tensor]]:
    """Return the path to the state dict in a checkpoint, joined by dots, and its tensors.

    It is the checkpoint itself, or the value of one of `WRAPPERS` or of the only key with one. No
    state dict, or several under unknown keys, are refused.
    """
    path: list[str] = []
    while len(path) < _DEEPEST and (key := _wrapper(checkpoint)) is not None:
        path.append(key)
        checkpoint = checkpoint[key]
    tensors = {str(key): value for key, value in checkpoint.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(
            "expected a state dict (names and tensors, bare or under "
            f"{', '.join(WRAPPERS)}, or under a key of its own), got the keys "
            f"{sorted(map(str, checkpoint))[:8]}."
        )
    return ".".join(path), tensors


def _wrapper(checkpoint: Mapping[str, Any]) -> str | None:
    """Return the key that leads to the weights; None if they are here, or nowhere."""
    if (known := next((key for key in WRAPPERS if _leads(checkpoint.get(key))), None)) is not None:
        return known
    if _is_whole(checkpoint):
        return None
    found = [key for key, value in checkpoint.items() if isinstance(key, str) and _leads(value)]
    averaged = [key for key in found if "ema" in key.lower().split("_")]
    found = averaged if len(averaged) == 1 else found
    if len(found) > 1:
        raise UserError(
            f"several keys hold a state dict, {', '.join(map(repr, found))}; expected one. Save "
            "the one that is meant by itself: torch.save(checkpoint[key], path)."
        )
    # Names without a dot, as Caffe2's, are a state dict under a known key only.
    loose = (key for key in WRAPPERS if _has_tensors(checkpoint.get(key)))
    return found[0] if found else next(loose, None)


def bare_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict without the prefixes of torch.compile and DataParallel."""
    names = {key: key.replace("_orig_mod.", "") for key in state}
    while any(name.startswith("module.") for name in names.values()):
        names = {key: name.removeprefix("module.") for key, name in names.items()}
    if len(set(names.values())) < len(names):  # two models side by side, not a wrapper
        return dict(state)
    return {names[key]: value for key, value in state.items()}


def prefixes(state: Mapping[str, Tensor], name: str) -> list[str]:
    """Return the prefixes of ``name`` in the shortest keys that end in it."""
    found = [k for k in state if k == name or k.endswith(f".{name}")]
    shortest = min((len(k) for k in found), default=0)
    return [k.removesuffix(name) for k in found if len(k) == shortest]


def backbone_state(state: Mapping[str, Tensor], *, first_conv: str) -> dict[str, Tensor]:
    """Return the backbone's part of a state dict, under the backbone's own names.

    The prefix is that of ``first_conv``, such as ``conv1.weight``: nothing in a classifier's file,
    ``module.`` after DataParallel, ``network.backbone.body.`` in a Keel detector. Keys with another
    prefix belong to other parts of the model and are left out, and so are heads. A state dict in
    which no key, or more than one, can be the first convolution is refused.
    """
    starts = prefixes(state, first_conv)
    if len(starts) != 1:
        raise UserError(
            f"expected one key that ends in {first_conv!r}, found "
            f"{len(starts)} among {len(state)} keys such as {list(state)[:3]}."
        )
    return below(state, starts[0], without=_HEADS)


def below(
    state: Mapping[str, Tensor], prefix: str, *, without: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """Return the tensors below ``prefix``, by the rest of their names; not those in ``without``."""
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    return {k: v for k, v in own.items() if not k.startswith(without)}


def _has_tensors(value: object, *, depth: int = _DEEPEST) -> bool:
    """Return whether a mapping holds a tensor, or a state dict at some depth."""
    if not isinstance(value, Mapping) or not depth:
        return False
    if any(isinstance(item, Tensor) for item in value.values()):
        return True
    known = any(_has_tensors(value.get(key), depth=depth - 1) for key in WRAPPERS)
    return known or any(_leads(item, depth=depth - 1) for item in value.values())


def _is_whole(value: Mapping[Any, Any]) -> bool:
    """Return whether a mapping is a state dict: tensors by dotted names, unlike an optimiser's."""
    return any(
        isinstance(key, str) and "." in key and isinstance(item, Tensor)
        for key, item in value.items()
    )


def _leads(value: object, *, depth: int = _DEEPEST) -> bool:
    """Return whether a mapping is a whole state dict, or has one below its keys."""
    if not isinstance(value, Mapping) or not depth:
        return False
    return _is_whole(value) or any(
        isinstance(key, str) and _leads(item, depth=depth - 1) for key, item in value.items()
    )
