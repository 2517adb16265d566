"""Other people's state dicts, renamed to ours: pure functions on dictionaries."""

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

_WRAPPERS: Final = ("state_dict", "model", "model_state_dict")
"""Keys under which training frameworks keep the state dict in a checkpoint."""

_HEAD: Final = ("fc.",)
"""Prefixes of a classifier, which a backbone does not have."""


def unwrap(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, whatever a framework wrapped around them.

    Args:
        checkpoint: A state dict, or a checkpoint that holds one under ``state_dict``, ``model`` or
            ``model_state_dict``.

    Raises:
        ValueError: If there is no state dict in it.
    """
    for key in _WRAPPERS:
        if isinstance(inner := checkpoint.get(key), Mapping):
            return unwrap(inner)
    tensors = {key: value for key, value in checkpoint.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(
            "expected a state dict (names and tensors, bare or under "
            f"{', '.join(_WRAPPERS)}), got the keys {sorted(map(str, checkpoint))[:8]}."
        )
    return tensors


def backbone_state(state: Mapping[str, Tensor], *, first_conv: str) -> dict[str, Tensor]:
    """Return the backbone's part of a state dict, under the backbone's own names.

    Whatever stands before ``first_conv`` is the prefix: nothing in a classifier's file, ``module.``
    after DataParallel, ``network.backbone.body.`` in a Keel detector. What has another prefix
    belongs to another part of the model and is left out, as is the classifier ``fc``.

    Args:
        state: Names and tensors.
        first_conv: The backbone's own name of its first convolution, such as ``conv1.weight``.

    Raises:
        ValueError: If no key, or more than one, can be the first convolution.

    Example:
        >>> import torch
        >>> x = torch.zeros(1)
        >>> list(backbone_state({"module.conv1.weight": x, "module.fc.bias": x},
        ...                     first_conv="conv1.weight"))
        ['conv1.weight']
    """
    found = [k for k in state if k == first_conv or k.endswith(f".{first_conv}")]
    shortest = min((len(k) for k in found), default=0)
    starts = [k for k in found if len(k) == shortest]
    if len(starts) != 1:
        raise ValueError(
            f"expected one key that ends in {first_conv!r} (torchvision's or Keel's names), found "
            f"{len(starts)} among {len(state)} keys such as {list(state)[:3]}."
        )
    prefix = starts[0].removesuffix(first_conv)
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    return {k: v for k, v in own.items() if not k.startswith(_HEAD)}
