"""Whether two runs ended in the same: to the last bit of every value in their checkpoints."""

import torch

_PATHS = "best_model_path", "dirpath", "kth_best_model_path", "best_k_models"


def differences(there, here):
    """The names of what differs between the checkpoints of two finished runs, but for paths."""
    found = []
    for name in ("last.ckpt", "best.ckpt"):
        a, b = (dict(_leaves(torch.load(f / name, weights_only=True))) for f in (there, here))
        assert len(a) > 50, "a whole checkpoint has more in it"
        found += [f"{name}: {key}" for key in a.keys() | b.keys() if not _equal(a, b, key)]
    return found


def _leaves(value, name=""):
    """Every number, string and tensor with its place."""
    if isinstance(value, dict):
        value = value.items()
    elif isinstance(value, list | tuple):
        value = enumerate(value)
    else:
        yield name, value
        return
    for key, item in value:
        if key not in _PATHS:
            yield from _leaves(item, f"{name}.{key}")


def _equal(a, b, key):
    there, here = a.get(key), b.get(key)
    if isinstance(there, torch.Tensor) and isinstance(here, torch.Tensor):
        return there.dtype == here.dtype and there.numpy().tobytes() == here.numpy().tobytes()
    both_nan = there != there and here != here
    return type(there) is type(here) and (there == here or both_nan)
