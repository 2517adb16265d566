"""The learning rate over time, as a factor of the highest."""

import math


def warmup_cosine(
    step: int, *, warmup: int, total: int, final: float = 0.0, restarts: int = 0
) -> float:
    """Return the learning-rate factor at ``step``: a linear rise to 1, then a cosine to ``final``.

    At most half of ``total`` is used for the rise; the steps after it are divided evenly by the
    ``restarts``, at each of which the factor jumps back to 1.
    Source: Loshchilov and Hutter, arXiv:1608.03983, equation 5, with periods of one length.

    >>> [round(warmup_cosine(s, warmup=2, total=6), 3) for s in range(7)]
    [0.333, 0.667, 1.0, 0.854, 0.5, 0.146, 0.0]
    >>> [round(warmup_cosine(s, warmup=2, total=6, restarts=1), 3) for s in range(7)]
    [0.333, 0.667, 1.0, 0.5, 1.0, 0.5, 0.0]
    """
    warmup = min(warmup, total // 2)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    length = max(1, total - warmup)
    # In whole numbers, so that a period begins exactly where the one before ends.
    done = (step - warmup) * (restarts + 1)
    progress = 1.0 if step >= total else done % length / length
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
