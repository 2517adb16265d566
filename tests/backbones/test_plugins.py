"""A package of somebody else, as pip installs it, whose backbones are built by name."""

import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from backbones import build_backbone, list_backbones, plugins
from tests.backbones.errors import refuses

ROOT = Path(__file__).parents[2]
ENTRY_POINTS = """
[keel.backbones]
somebodys_tiny = somebodys_nets:tiny
somebodys_broken = somebodys_nets_that_are_not_there:tiny
resnet18 = somebodys_nets:tiny

[keel.backbone_families]
somebody = somebodys_nets:member
"""
MODULE = """
from dataclasses import replace

from backbones import Backbone, BackboneOptions
from backbones.resnet.model import build_resnet
from backbones.resnet.variants import VARIANTS


def tiny(options: BackboneOptions) -> Backbone:
    return member("4", options)


def member(name: str, options: BackboneOptions) -> Backbone:
    spec = replace(VARIANTS["resnet20_cifar"], depths=(1,), width=int(name), stem_width=int(name))
    return build_resnet(spec, options)
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path, monkeypatch):
    """Put the package where Python finds it, with the metadata that an installer writes."""
    information = tmp_path / "somebodys_nets-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Name: somebodys-nets\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "somebodys_nets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("somebodys_nets", None)


def test_its_backbones_are_listed_and_not_imported_for_it():
    names = list_backbones()
    assert {"somebodys_tiny", "somebodys_broken", "resnet50"} <= set(names)
    assert names.count("resnet18") == 1
    build_backbone("resnet50", out_features=["c1"])  # a broken package does not disturb it
    assert "somebodys_nets" not in sys.modules


def test_its_backbone_is_built_with_the_options_and_frozen():
    net = build_backbone("somebodys_tiny", weights="random", in_channels=1, freeze=1)
    assert list(net(torch.rand(2, 1, 16, 16))) == ["c1", "c2"]
    fixed = [name for name, p in net.named_parameters() if not p.requires_grad]
    assert fixed == ["conv1.weight", "bn1.weight", "bn1.bias"]


def test_a_member_of_its_family_is_built_by_what_follows_the_prefix():
    assert build_backbone("somebody/12").channels == {"c1": 12, "c2": 12}
    with pytest.raises(ValueError, match=r"^invalid literal for int\(\)"):
        build_backbone("somebody/x")


def test_a_broken_one_is_named_when_it_is_built():
    message = (
        r"^the package somebodys-nets offers 'somebodys_broken' in 'keel\.backbones', but "
        r"'somebodys_nets_that_are_not_there:tiny' cannot be imported \(ModuleNotFoundError\(.*"
        r"Install what it needs, or uninstall somebodys-nets\.$"
    )
    with pytest.raises(ImportError, match=message):
        build_backbone("somebodys_broken")


def test_a_name_of_ours_is_not_taken_over():
    message = (
        r"^the backbone 'resnet18' is registered, and somebodys-nets offers another; uninstall "
        r"that package, or have it choose another name\.$"
    )
    with refuses(message):
        build_backbone("resnet18")


def test_the_nearest_name_to_a_misspelt_one_may_be_theirs():
    with refuses(r"did you mean 'somebodys_tiny'\?"):
        build_backbone("somebodys_tyni")


def test_two_packages_that_offer_the_same_are_both_named(monkeypatch):
    def entries(group, name):
        made = [EntryPoint(name=name, group=group, value=f"{who}:build") for who in ("a", "b")]
        for entry, who in zip(made, ("a-nets", "b-nets"), strict=True):
            vars(entry).update(dist=SimpleNamespace(name=who))
        return made

    monkeypatch.setattr(plugins, "entry_points", entries)
    with refuses(r"^a-nets and b-nets each offer 'x' in 'keel.backbones'; "):
        plugins.import_offered(plugins.BACKBONES, "x")


def test_our_own_family_is_offered_like_theirs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"][plugins.FAMILIES] == {
        "timm": "backbones.adapters.timm:build_timm"
    }
