"""Gradient checkpointing: activations that are computed twice in place of being kept."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(
    function: Callable[..., Tensor], *inputs: Tensor | None, modules: Sequence[nn.Module]
) -> Tensor:
    """Return ``function(*inputs)``, of which only the inputs and the result are kept.

    The backward pass calls the function again, with the random numbers and the precision of the
    first call, so that gradients are the same bit for bit. ``modules`` are all whose buffers it
    updates, such as running statistics: those of the first call stay. Hooks may run twice.

    Source: Chen et al., arXiv:1604.06174.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    # torch.compile takes no context, and needs none: its graph updates the statistics once.
    own: dict[str, Any] = (
        {} if torch.compiler.is_compiling() else {"context_fn": partial(_contexts, modules)}
    )
    out: Tensor = checkpoint(function, *inputs, use_reentrant=False, **own)
    return out


def _contexts(
    modules: Sequence[nn.Module],
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what is around the first call, and around the second."""
    return nullcontext(), _still(modules)


@contextmanager
def _still(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Let the modules update copies of their buffers, and give them their own back."""
    found = [inner for module in modules for inner in module.modules() if inner._buffers]
    own = [(inner, dict(inner._buffers)) for inner in found]
    for inner, buffers in own:
        copies = {name: None if b is None else b.clone() for name, b in buffers.items()}
        inner._buffers.update(copies)
    try:
        yield
    finally:
        for inner, buffers in own:
            inner._buffers.update(buffers)
