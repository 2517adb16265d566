"""docs/backbones.md: up to date, the same everywhere, every figure with its source."""

from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from backbones import Backbone, UserError, build_backbone, list_backbones
from backbones.registry import BUILDERS
from backbones.resnet.variants import VARIANTS
from benchmarks.study import page as module
from benchmarks.study.costs import Facts, facts
from benchmarks.study.page import check_page, page, write_page
from benchmarks.study.published import CANNOT, SOURCES, TIMM_AND_PAPERS, Published, published

OTHER_KINDS = ["resnet18d", "cbam_resnet18", "resnetv2_18", "resnet20_cifar", "dynamic_resnet18"]
PAGE = Path(__file__).parents[3] / "docs" / "backbones.md"


class Cifar(Backbone):
    """Three stages behind a stem that keeps the resolution; an image decides in eval mode."""

    def __init__(self, *, dynamic=False):
        super().__init__()
        self.dynamic = dynamic
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.layer1 = nn.Conv2d(4, 8, 1, stride=2, bias=False)
        self.channels = {"c1": 4, "c2": 8}
        self.strides = {"c1": 1, "c2": 2}

    def stages(self):
        return [[self.conv1], [self.layer1]]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        c1 = self.conv1(x)
        if self.dynamic and not self.training:
            c1 = c1[c1.mean(dim=(1, 2, 3)).nonzero().flatten()]
        return {"c1": c1, "c2": self.layer1(c1)}


@pytest.fixture
def few(monkeypatch, counted):
    """The page of five backbones, quickly; somebody else's is not on it."""
    monkeypatch.setattr(module, "list_backbones", lambda: [*counted, "theirs"])
    monkeypatch.setattr(module, "facts", lambda name: counted[name])


def cells(text, name):
    row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.slow
def test_every_figure_of_the_page_is_up_to_date():
    check_page(PAGE)


def test_the_page_is_up_to_date(monkeypatch, counted):
    """GFLOPs, strides and channels are counted for some of each kind, and read for the others."""
    counted = counted | {name: facts(name) for name in OTHER_KINDS}

    def quoted(name):
        if name in counted:
            return counted[name]
        _, _, millions, work, strides, channels, *_ = cells(PAGE.read_text(), name)
        spec = VARIANTS[name]
        features = [f"c{number}" for number, _ in enumerate(strides.split(), start=1)]
        return Facts(
            name=name,
            # The table's are of the last feature alone: each feature of v2 has a norm of its own.
            parameters=float(millions) * 1e6 if "preact" in spec.block else spec.parameters,
            multiply_adds=float(work.rstrip("*")) * 1e9,
            size=32 if work.endswith("*") else 224,
            strides=dict(zip(features, map(int, strides.split()), strict=True)),
            channels=dict(zip(features, map(int, channels.split()), strict=True)),
        )

    monkeypatch.setattr(module, "facts", quoted)
    check_page(PAGE)


def test_it_has_every_built_in_backbone_once_in_the_registrys_order():
    rows = [line.split("`")[1] for line in PAGE.read_text().splitlines() if "| `" in line[:3]]
    built_in = [name for name in list_backbones() if name in VARIANTS]
    assert rows[: len(built_in)] == built_in


@pytest.mark.usefixtures("few")
def test_a_row_says_what_torchvision_publishes():
    entries = get_model_weights("resnet50")
    tops = [entry.meta["_metrics"]["ImageNet-1K"]["acc@1"] for entry in entries]
    assert cells(page(), "resnet50") == [
        "`resnet50`",
        "[arXiv:1512.03385](https://arxiv.org/abs/1512.03385), table 1",
        "23.51",
        "4.09",
        "2 4 8 16 32",
        "64 256 512 1024 2048",
        "`imagenet_v1`, `imagenet_v2`",
        ", ".join(f"{top:.2f}" for top in tops),
        "torchvision",
    ]
    assert tops == [76.13, 80.858]


@pytest.mark.usefixtures("few")
def test_a_stale_page_names_the_line_and_the_command(tmp_path):
    path = tmp_path / "docs" / "backbones.md"
    with pytest.raises(UserError, match=r"backbones\.md is missing; write it with: python scr"):
        check_page(path)
    write_page(path)
    check_page(path)
    text = path.read_text()
    path.write_text(text.replace("| 23.51 |", "| 23.52 |"))
    line = text[: text.index("| 23.51 |")].count("\n") + 1
    with pytest.raises(UserError, match=rf"stale, first in line {line}: .*inspect_backbone\.py do"):
        check_page(path)
    path.write_text(text + "more\n")
    with pytest.raises(UserError, match=r"stale, first in line .*'more' is written, '' is expec"):
        check_page(path)


@pytest.mark.usefixtures("few")
def test_limits_are_listed_with_the_rows_that_they_hold_for(monkeypatch):
    reasons = {"resnet1*": "cannot be exported: it is too deep.", "wrn*": "of no row."}
    monkeypatch.setattr(module, "CANNOT", reasons)
    section = page().partition("## What does not work\n\n")[2].partition("\n\n")[0]
    assert section == f"- `resnet18`, `resnet101`, `resnet152`: {reasons['resnet1*']}"
    monkeypatch.setattr(module, "CANNOT", {"*": "no wings."})
    assert "## What does not work\n\n- all: no wings." in page()
    monkeypatch.setattr(module, "CANNOT", {})
    assert "What does not work" not in page()


def test_every_limit_has_a_row_and_every_source_a_result():
    assert all(any(fnmatch(name, pattern) for name in VARIANTS) for pattern in CANNOT)
    entries = [entry for results in TIMM_AND_PAPERS.values() for entry in results]
    assert {entry.source for entry in entries} | {"torchvision"} == set(SOURCES)
    assert all(60 < entry.top1 < 90 and entry.size >= 224 for entry in entries)
    assert set(TIMM_AND_PAPERS) <= set(VARIANTS)


def test_a_name_without_a_publication_stays_empty():
    assert published("none_such") == []
    assert published("resnet34_zero_pad") == [Published(top1=74.97, source="He")]


@pytest.mark.usefixtures("few")
def test_a_result_without_weights_keeps_its_digits(monkeypatch):
    result = Published(top1=77.0, size=320, source="MSRA")
    monkeypatch.setattr(module, "published", lambda _: [result])
    assert cells(page(), "resnet152")[-3:] == ["none", "77.0 (at 320)", "MSRA"]
    assert "Sources of top-1:\n\n- MSRA: [the authors' Caffe models](" in page()


def test_the_tags_are_those_that_load(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    tags = [e.weights for e in published("resnet50") if e.source == "torchvision"]
    assert tags == ["imagenet_v1", "imagenet_v2"]
    for tag in tags:  # known, and not fetched: the tests are offline
        with pytest.raises(ConnectionError, match="cannot download"):
            build_backbone("resnet50", weights=tag, out_features=["c1"])


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_stem_without_a_stride_is_counted_at_32x32(monkeypatch, dynamic):
    monkeypatch.setitem(BUILDERS, "tiny", lambda _: Cifar(dynamic=dynamic))
    row = facts("tiny")
    assert row == Facts(
        name="tiny",
        parameters=3 * 4 * 9 + 4 * 8,
        multiply_adds=3 * 4 * 9 * 32 * 32 + 4 * 8 * 16 * 16,
        size=32,
        strides={"c1": 1, "c2": 2},
        channels={"c1": 4, "c2": 8},
    )
    assert row.cells() == ("tiny", "0.00", "0.00*", "1 2", "4 8")


def test_counting_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    facts("resnet18")
    assert torch.equal(torch.get_rng_state(), before)
