"""transformers' contract of a backbone, and two of its models that stand on ours."""

import copy

import pytest
import torch
from transformers import (
    AutoBackbone,
    AutoConfig,
    DetrConfig,
    DetrForObjectDetection,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
)
from transformers.backbone_utils import BackboneType

from backbones.adapters.huggingface import KeelBackbone, KeelBackboneConfig
from tests.backbones.adapters.small import CARD, DETR, read_again, trained
from tests.backbones.errors import refuses

STAGES = ["c1", "c2", "c3", "c4", "c5"]
WIDTHS = [16, 16, 32, 64, 128]


def config(**options):
    return KeelBackboneConfig(name="narrow_resnet18", **options)


# The configuration.


@pytest.mark.parametrize(
    ("asked", "features", "indices"),
    [
        ({}, ["c5"], [4]),
        ({"out_features": None, "out_indices": None}, ["c5"], [4]),
        ({"out_features": ["c2", "c4"]}, ["c2", "c4"], [1, 3]),
        ({"out_indices": [0, 2]}, ["c1", "c3"], [0, 2]),
        ({"out_features": ["c1", "c2"], "out_indices": [0, 1]}, ["c1", "c2"], [0, 1]),
    ],
)
def test_features_and_indices_follow_from_each_other(asked, features, indices):
    made = config(**asked)
    assert made.stage_names == STAGES
    assert (made.out_features, made.out_indices) == (features, indices)


def test_features_and_indices_that_disagree_are_refused():
    with pytest.raises(ValueError, match="out_features and out_indices should correspond"):
        config(out_features=["c1", "c2"], out_indices=[0, 2])
    with pytest.raises(ValueError, match="out_features must be a subset of stage_names"):
        config(out_features=["stage1"])


def test_a_model_without_a_stem_feature_has_fewer_stages():
    made = KeelBackboneConfig(name="timm/test_convnext")
    assert made.stage_names == STAGES[1:]
    assert KeelBackbone(made).num_features == [24, 32, 48, 64]


def test_it_is_known_by_its_type():
    made = AutoConfig.for_model("keel_backbone", name="narrow_resnet18", out_features=["c2"])
    model = AutoBackbone.from_config(made)
    assert isinstance(model, KeelBackbone)
    assert model.channels == [16]
    assert len(model.body.stages()) == 2


# The model.


def test_it_has_what_every_backbone_has():
    model = KeelBackbone(config(out_features=["c2", "c5"]))
    assert model.backbone_type is BackboneType.TRANSFORMERS
    assert model.stage_names == STAGES
    assert model.num_features == WIDTHS
    assert model.out_feature_channels == dict(zip(STAGES, WIDTHS, strict=True))
    assert model.channels == [16, 128]
    assert model.out_indices == [1, 4]
    model.out_features = ["c3"]
    assert model.channels == [32]


def test_its_outputs_are_the_features(image):
    model = KeelBackbone(config(out_features=["c3", "c4"])).eval()
    expected = model.body(image)
    output = model(image)
    assert isinstance(output.feature_maps, tuple)
    torch.testing.assert_close(output.feature_maps, (expected["c3"], expected["c4"]))
    assert [x.shape[1] for x in output.feature_maps] == model.channels
    assert output.hidden_states is None
    assert output.attentions is None
    states = model(image, output_hidden_states=True, output_attentions=True).hidden_states
    torch.testing.assert_close(states, tuple(expected[name] for name in STAGES[:4]))
    torch.testing.assert_close(model(image, return_dict=False)[0], output.feature_maps)


@pytest.mark.parametrize("option", ["out_features", "out_indices"])
def test_taking_the_choice_back_leaves_the_last_stage(option, image):
    made = copy.deepcopy(config(out_features=["c2", "c3"]))
    setattr(made, option, None)
    model = KeelBackbone(made)
    assert model.channels == [128]
    assert len(model(image).feature_maps) == 1


def test_weights_conventions_and_frozen_stages_are_as_asked_for(weights, narrow):
    model = KeelBackbone(config(weights=str(weights), in_channels=1, freeze=2)).train()
    gray = narrow["conv1.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(model.body.conv1.weight.data, gray)
    assert model.body.frozen == 2
    assert model.config.image_mean == pytest.approx([sum(CARD["mean"]) / 3])
    with refuses("freeze=2 would fix what was never trained"):
        KeelBackbone(config(freeze=2))


def test_saving_and_reading_gives_the_same(tmp_path, image, weights):
    options = {"deformable": ["c4"], "deformable_version": 1, "drop_path": 0.1}
    made = config(weights=str(weights), freeze=2, out_features=["c2", "c4"], **options)
    model = KeelBackbone(made)
    model.body.adopt(model.body.conventions)
    model(image)  # moves the statistics of the stages that are not frozen
    weights.unlink()  # saving and reading need no other file
    other = read_again(model.eval(), tmp_path)
    torch.testing.assert_close(other(image).feature_maps, model(image).feature_maps, rtol=0, atol=0)
    assert other.out_features == ["c2", "c4"]
    assert other.body.conventions == model.body.conventions
    assert trained(other.train().body) == ([2, 3], [2, 3])


# Models on top.


def test_detr_trains_and_its_backbone_stays_frozen(tmp_path, image):
    made = config(weights="random", norm="frozen_batch", freeze=2)
    detr = DetrForObjectDetection(DetrConfig(backbone_config=made, num_labels=3, **DETR))
    boxes = {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]])}
    detr.train()(pixel_values=image, labels=[boxes] * 2).loss.backward()
    body = detr.model.backbone.model.body
    learns = {key.split(".")[0] for key, p in body.named_parameters() if p.grad is not None}
    assert learns == {"layer2", "layer3", "layer4"}
    other = read_again(detr.eval(), tmp_path)
    torch.testing.assert_close(other(image).logits, detr(image).logits, rtol=0, atol=0)
    assert trained(other.model.backbone.model.train().body)[0] == [2, 3, 4]


def test_maskformer_trains(image):
    made = MaskFormerConfig(
        backbone_config=config(out_features=STAGES[1:]),
        decoder_config={"model_type": "detr", **DETR},
        fpn_feature_size=32,
        mask_feature_size=32,
        num_labels=3,
    )
    model = MaskFormerForInstanceSegmentation(made)
    masks, classes = [torch.ones(1, 64, 64)] * 2, [torch.tensor([1])] * 2
    model(pixel_values=image, mask_labels=masks, class_labels=classes).loss.backward()
    body = model.model.pixel_level_module.encoder.body
    assert all(p.grad is not None for p in body.parameters())
