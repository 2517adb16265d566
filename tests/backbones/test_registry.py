"""Backbones by name: ours, and those that others register."""

import pytest
import torch
from torch import nn

from backbones import (
    FPN,
    Backbone,
    BackboneOptions,
    BackboneWithFPN,
    build_backbone,
    list_backbones,
    norm_factory,
    register_backbone,
    registry,
)
from backbones.resnet.variants import VARIANTS
from tests.backbones.errors import refuses


class TwoStages(Backbone):
    """The smallest backbone that keeps the contract: two strided convolutions with a norm each."""

    first_conv = "stem.0.weight"

    def __init__(self, options):
        super().__init__()
        self.options = options
        norm = norm_factory(options.norm)
        self.stem = nn.Sequential(nn.Conv2d(options.in_channels, 4, 3, 2, 1), norm(4))
        self.body = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), norm(8))
        self.channels, self.strides = {"c1": 4, "c2": 8}, {"c1": 2, "c2": 4}

    def stages(self):
        return [[self.stem], [self.body]]

    def forward(self, x):
        c1 = self.stem(x)
        return {"c1": c1, "c2": self.body(c1)}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Register `TwoStages` as ``two_stages`` for each test."""
    monkeypatch.setattr(registry, "BUILDERS", dict(registry.BUILDERS))
    return register_backbone("two_stages")(TwoStages)


def test_every_built_in_variant_is_listed_first():
    assert list_backbones()[: len(VARIANTS)] == list(VARIANTS)


def test_a_registered_builder_is_listed_and_returned_unchanged(registered):
    assert registered is TwoStages
    assert list_backbones()[-1] == "two_stages"


def test_a_registered_builder_is_built_with_its_options():
    given = {"in_channels": 1, "norm": "group", "out_features": ["c2"], "output_stride": 16}
    backbone = build_backbone("two_stages", **given)
    assert isinstance(backbone, TwoStages)
    assert backbone.options == BackboneOptions(**given)
    assert build_backbone("two_stages").options == BackboneOptions()


def test_a_registered_backbone_freezes_and_carries_a_pyramid():
    body = build_backbone("two_stages", weights="random", freeze=1).train()
    model = BackboneWithFPN(body, FPN(body.channels, out_channels=6)).train()
    before = {k: v.clone() for k, v in body.state_dict().items()}
    levels = model(torch.rand(2, 3, 16, 24))
    sizes = {k: tuple(v.shape[1:]) for k, v in levels.items()}
    assert sizes == {"p1": (6, 8, 12), "p2": (6, 4, 6), "p3": (6, 2, 3)}
    sum(x.square().mean() for x in levels.values()).backward()
    assert all((p.grad is None) == n.startswith("stem.") for n, p in body.named_parameters())
    moved = {k for k, v in body.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked"}


def test_a_registered_backbone_loads_weights_by_its_own_first_convolution(save):
    state = build_backbone("two_stages").state_dict()
    path = save({f"module.{k}": v for k, v in state.items()})
    gray = build_backbone("two_stages", weights=path, in_channels=1, conventions="none")
    torch.testing.assert_close(gray.stem[0].weight, state["stem.0.weight"].sum(1, keepdim=True))
    torch.testing.assert_close(gray.body[0].weight, state["body.0.weight"])


@pytest.mark.parametrize("name", ["resnet50", "two_stages"])
def test_a_name_that_is_taken_is_refused(name):
    before = list_backbones()
    with refuses(rf"^a backbone '{name}' is registered already; choose an"):
        register_backbone(name)
    assert list_backbones() == before


def test_a_misspelt_name_is_answered_with_the_nearest_one():
    with refuses(r"^unknown backbone 'resnet5O'; did you mean 'resnet50'\?"):
        build_backbone("resnet5O")
    with refuses(r"^unknown backbone 'tim/resnet18';"):
        build_backbone("tim/resnet18")


@pytest.mark.parametrize("keyword", ["wieghts", "pretrained", "freeze_at"])
def test_a_misspelt_keyword_is_refused(keyword):
    with pytest.raises(TypeError, match=rf"unexpected keyword argument '{keyword}'"):
        build_backbone("resnet18", **{keyword: "imagenet"})


def test_options_are_given_by_keyword():
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        build_backbone("resnet18", "imagenet")


@pytest.mark.parametrize(("channels", "mean"), [(1, [0.449]), (4, [0.485, 0.456, 0.406, 0.485])])
def test_random_weights_expect_as_many_channels_as_they_were_built_for(channels, mean):
    conventions = build_backbone("resnet18", in_channels=channels).conventions
    assert conventions.mean == pytest.approx(mean, abs=1e-3)
    assert len(conventions.std) == channels
