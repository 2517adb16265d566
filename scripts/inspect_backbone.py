"""List the registered backbones: ``python scripts/inspect_backbone.py [NAME ...]``."""

import argparse
import sys

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from backbones import build_backbone, list_backbones


def describe(name: str) -> tuple[str, ...]:
    """Return a row: parameters, multiply-adds at 224x224, strides and channels.

    A multiply-add counts as one operation, as in the papers and in torchvision's tables.
    """
    with torch.device("meta"):  # shapes only
        backbone = build_backbone(name).eval()
        counter = FlopCounterMode(display=False)
        with counter:
            backbone(torch.empty(1, 3, 224, 224))
    parameters = sum(p.numel() for p in backbone.parameters())
    return (
        name,
        f"{parameters / 1e6:.2f}",
        f"{counter.get_total_flops() / 2 / 1e9:.2f}",
        " ".join(str(stride) for stride in backbone.strides.values()),
        " ".join(str(channels) for channels in backbone.channels.values()),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Parameters, GFLOPs, strides and channels.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all registered ones by default")
    names = parser.parse_args().names or list_backbones()
    title = "Backbones without classifier; GFLOPs = 1e9 multiply-adds at 224x224"
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    table.add_column("name", no_wrap=True)
    for column in ("params (M)", "GFLOPs", "strides", "channels of c1..c5"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in names:
        table.add_row(*describe(name))
    Console().print(table)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
