"""Results of all processes, scored once; and whether all found the same."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

Key = TypeVar("Key")
Result = TypeVar("Result")
Scores = TypeVar("Scores", bound=dict[str, Any])


def score_together(
    results: dict[Key, Result], score: Callable[[dict[Key, Result]], Scores]
) -> Scores:
    """Return ``score`` of what all processes found, each key once; only the first one calls it."""
    if not torch.distributed.is_initialized():
        return score(results)
    first = torch.distributed.get_rank() == 0
    shares: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.gather_object(results, shares if first else None)
    shared: list[Any] = [None]
    if first:
        shared = [score({key: found for share in shares for key, found in share.items()})]
    torch.distributed.broadcast_object_list(shared, src=0)
    scores: Scores = shared[0]
    return scores


def alike(found: object) -> bool:
    """Return whether all processes found the same."""
    if not torch.distributed.is_initialized():
        return True
    shares: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, found)
    return all(share == shares[0] for share in shares)
