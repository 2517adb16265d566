"""The figures that residual networks are known by, and what exactly they count."""

from collections.abc import Mapping
from typing import Final

from benchmarks.study.catalogue import Facts

CLASSES: Final = 1000

FOUNDING: Final = {
    "resnet18": (11.7, 1.8),
    "resnet34": (21.8, 3.6),
    "resnet50": (25.6, 4.1),
    "resnet101": (44.5, 7.9),
    "resnet152": (60.2, 11.6),
}
"""Parameters in millions with the classifier, and GFLOPs: the founding documents' figures."""

_TEXT: Final = """\
## The figures, and what they count

With a classifier of 1000 classes (C + 1 weights each, C the channels of c5):

{table}

*Convolutions and classifier* is the count of the table above plus the classifier, and
torchvision's. The founding documents' 1.8, 4.1, 7.9 and 11.6 are what comes out if every
elementwise operation is counted as well: 1.82, 4.13, 7.86 and 11.59, with two operations for each
value that a batch norm scales and shifts, and one for each value into a ReLU, an addition or a
pooling. Their 3.6 for ResNet-34 is the paper's (arXiv:1512.03385, table 1): its shortcuts have no
convolution (option A), which leaves 3.64; with the projections of torchvision and Keel it is 3.66.

**A basic block of C channels** has two 3x3 convolutions without bias and two norms:
`2 * 9 C^2 + 2 * 2 C` = **18 C^2 + 4 C** parameters, {basic:,} at C = 64. The often-quoted
18 C^2 + 2 C counts a scale and a shift for one norm only, or a scale alone for both; each of the
two norms learns a scale *and* a shift. Running mean and variance, another 4 C, are no parameters.

**A bottleneck** at 256 channels (1x1 to 64, 3x3 at 64, 1x1 to 256) has
`256 * 64 + 9 * 64^2 + 64 * 256` = **{bottleneck:,}** weights; two 3x3 convolutions at 256 channels
have `2 * 9 * 256^2` = **{two:,}**, {times:.1f} times as many.

What depth does to plain and to residual networks is measured by `python scripts/inspect_backbone.py
gradients`; a run of it is kept in [benchmarks/RESULTS.md](../benchmarks/RESULTS.md)."""


def classifier(row: Facts) -> int:
    """Return the weights of a classifier of 1000 classes, its biases not included.

    Args:
        row: The backbone under it.
    """
    return CLASSES * list(row.channels.values())[-1]


def formulas(measured: Mapping[str, Facts]) -> str:
    """Return the section of the page on the founding figures.

    Args:
        measured: By name; has ResNet-18 to 152.
    """
    head = ["", "params (M)", "founding documents", "convolutions and classifier (GFLOPs)", ""]
    head[-1] = "founding documents"
    rows = [head, ["---"] * len(head)]
    for name, (parameters, gflops) in FOUNDING.items():
        row = measured[name]
        own = (row.parameters + classifier(row) + CLASSES) / 1e6
        work = (row.multiply_adds + classifier(row)) / 1e9
        rows.append([f"`{name}`", f"{own:.2f}", str(parameters), f"{work:.2f}", str(gflops)])
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    two = 2 * 9 * 256**2
    bottleneck = 256 * 64 + 9 * 64**2 + 64 * 256
    return _TEXT.format(
        table=table,
        basic=18 * 64**2 + 4 * 64,
        bottleneck=bottleneck,
        two=two,
        times=two / bottleneck,
    )
