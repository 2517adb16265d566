"""A package of somebody else, really installed, whose backbones are built by name."""

import json
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from backbones import plugins

ROOT = Path(__file__).parents[2]
PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "somebodys-nets"
version = "1.0"

[tool.setuptools]
py-modules = ["somebodys_nets"]

[project.entry-points."keel.backbones"]
somebodys_tiny = "somebodys_nets:tiny"
somebodys_broken = "somebodys_nets_that_are_not_there:tiny"
resnet18 = "somebodys_nets:tiny"

[project.entry-points."keel.backbone_families"]
somebody = "somebodys_nets:member"
"""
MODULE = '''
from torch import nn

from backbones import Backbone, BackboneOptions, norm_factory


class Tiny(Backbone):
    """Two strided convolutions."""

    first_conv = "stem.0.weight"

    def __init__(self, width: int, options: BackboneOptions) -> None:
        super().__init__()
        norm = norm_factory(options.norm)
        self.stem = nn.Sequential(
            nn.Conv2d(options.in_channels, width, 3, stride=2, padding=1), norm(width)
        )
        self.body = nn.Sequential(nn.Conv2d(width, 8, 3, stride=2, padding=1), norm(8))
        self.channels, self.strides = {"c1": width, "c2": 8}, {"c1": 2, "c2": 4}

    def stages(self):
        return [[self.stem], [self.body]]

    def forward(self, x):
        c1 = self.stem(x)
        return {"c1": c1, "c2": self.body(c1)}


def tiny(options: BackboneOptions) -> Tiny:
    return Tiny(4, options)


def member(name: str, options: BackboneOptions) -> Tiny:
    return Tiny(int(name), options)
'''


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which the package was installed by the tool at hand."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    (source / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (source / "somebodys_nets.py").write_text(MODULE, encoding="utf-8")
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    tool = [uv, "pip", "install", "--python", sys.executable, "--offline"]
    if uv is None:
        tool = [sys.executable, "-m", "pip", "install", "--no-index"]
    subprocess.run(
        [*tool, "--no-deps", "--no-build-isolation", "--target", str(target), str(source)],
        check=True,
        capture_output=True,
    )
    return target


PROGRAM = """
import json, torch
from backbones import FPN, BackboneWithFPN, build_backbone, list_backbones

def message(name):
    try:
        build_backbone(name, out_features=["c1"])
    except Exception as error:
        return f"{type(error).__name__}: {error}"

listed = list_backbones()
imported = "somebodys_nets" in sys.modules
net = build_backbone("somebodys_tiny", weights="random", in_channels=1, freeze=1).train()
model = BackboneWithFPN(net, FPN(net.channels, out_channels=6))
sum(x.sum() for x in model(torch.rand(2, 1, 16, 16)).values()).backward()
print(json.dumps({
    "listed": listed,
    "imported by listing": imported,
    "frozen": [n for n, p in net.named_parameters() if p.grad is None],
    "member": build_backbone("somebody/12").channels,
    "messages": {
        name: message(name)
        for name in ["resnet50", "resnet18", "somebodys_broken", "somebodys_tyni", "somebody/x"]
    },
}))
"""


@pytest.fixture(scope="module")
def said(installed):
    """What a process has to say that has the package."""
    path = [str(ROOT), str(installed), *filter(None, sys.path)]
    program = f"import sys; sys.path[:0] = {path!r}\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return json.loads(done.stdout)


def test_its_backbones_are_listed_and_not_imported_for_it(said):
    assert {"somebodys_tiny", "somebodys_broken", "resnet50"} <= set(said["listed"])
    assert said["listed"].count("resnet18") == 1
    assert said["imported by listing"] is False


def test_its_backbone_is_built_frozen_and_carries_a_pyramid(said):
    assert said["frozen"] == ["stem.0.weight", "stem.0.bias", "stem.1.weight", "stem.1.bias"]


def test_a_member_of_its_family_is_built_by_what_follows_the_prefix(said):
    assert said["member"] == {"c1": 12, "c2": 8}
    assert said["messages"]["somebody/x"].startswith("ValueError: invalid literal for int()")


def test_a_broken_one_is_named_when_it_is_asked_for_and_no_sooner(said):
    assert said["messages"]["resnet50"] is None
    message = said["messages"]["somebodys_broken"]
    assert message.startswith(
        "ImportError: the package somebodys-nets offers 'somebodys_broken' in 'keel.backbones', "
        "but 'somebodys_nets_that_are_not_there:tiny' cannot be imported (ModuleNotFoundError("
    )
    assert message.endswith("Install what it needs, or uninstall somebodys-nets.")


def test_a_name_of_ours_is_not_taken_over(said):
    assert said["messages"]["resnet18"] == (
        "ValueError: the backbone 'resnet18' is registered, and somebodys-nets offers another; "
        "uninstall that package, or have it choose another name."
    )


def test_a_misspelt_name_is_answered_with_one_of_its(said):
    assert "did you mean 'somebodys_tiny'?" in said["messages"]["somebodys_tyni"]


def test_two_packages_that_offer_the_same_are_both_named(monkeypatch):
    def entries(group, name):
        made = [EntryPoint(name=name, group=group, value=f"{who}:build") for who in ("a", "b")]
        for entry, who in zip(made, ("a-nets", "b-nets"), strict=True):
            vars(entry).update(dist=SimpleNamespace(name=who))
        return made

    monkeypatch.setattr(plugins, "entry_points", entries)
    with pytest.raises(
        ValueError, match=r"^a-nets and b-nets each offer 'x' in 'keel.backbones'; "
    ):
        plugins.import_offered(plugins.BACKBONES, "x")


def test_our_own_family_is_offered_like_theirs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"][plugins.FAMILIES] == {
        "timm": "backbones.adapters.timm:build_timm"
    }
