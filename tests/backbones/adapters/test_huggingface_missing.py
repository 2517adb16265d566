"""Tensors that a checkpoint lacks are loaded or initialised, never left as they were in memory."""

from ast import literal_eval
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DetrConfig, DetrForObjectDetection, PreTrainedModel, set_seed

from backbones import build_backbone
from backbones.adapters.huggingface import KeelBackbone, KeelBackboneConfig
from backbones.resnet.variants import VARIANTS
from tests.backbones.adapters.small import CARD, DETR, filled, read_again, same_tensors, trained
from tests.backbones.adapters.test_huggingface import config
from tests.backbones.errors import refuses

NAMES = ["resnet18", "dynamic_resnet18", "cbam_resnet18", "res2net50_26w_4s", "resnetv2_18"]
OPTIONS = [
    {"deformable": ["c4", "c5"]},
    {"norm": "group"},
    {"norm": "none"},
    {"norm": "frozen_batch", "weights": "random"},
    {"init": "scaled"},
    {"init": "zero_last"},
    {"out_features": ["c2"]},
    {"in_channels": 4},
]
TIMM = ["timm/test_convnext", "timm/test_coatnet", "timm/test_efficientnet"]
SWIN = "timm/swin_tiny_patch4_window7_224"
LARGER = [SWIN, "timm/convnext_atto", "timm/mobilenetv3_small_050"]
CONFIGS = [{"name": f"short_{name}"} for name in NAMES]
CONFIGS += [{"name": "short_resnet18", **options} for options in OPTIONS]
slow = partial(pytest.param, marks=pytest.mark.slow)
SLOW = [slow({"name": name}) for name in VARIANTS]


def emptied(model_class, made):
    """Return a model made on the meta device, filled with NaN, and then initialised."""
    with torch.device("meta"):
        model = model_class(made)
    model.to_empty(device="cpu")
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data.fill_(float("nan") if tensor.is_floating_point() else 99)
    model.init_weights()
    return model


def detr():
    return DetrConfig(backbone_config=config(), num_labels=3, **DETR)


def backbone(options, *, marks=()):
    make = partial(KeelBackboneConfig, **options)
    return pytest.param(KeelBackbone, make, id=str(options), marks=marks)


OTHERS = [
    pytest.param(DetrForObjectDetection, detr, id="detr"),
    *(backbone({"name": name, "out_features": ["c4"]}) for name in TIMM),
    *(backbone({"name": n, "out_features": ["c2"]}, marks=pytest.mark.slow) for n in LARGER),
]


# After transformers' tests `test_can_init_all_missing_weights` and
# `test_init_weights_can_init_buffers`: they seed every call of this, or skip it.
INITIALISE = PreTrainedModel._initialize_weights


FEW = [{"name": "short_resnet18", "norm": "group"}, {"name": "short_resnet18"}]
EMPTY = [*map(backbone, FEW), *OTHERS[:1], backbone({"name": TIMM[2], "out_features": ["c4"]})]
EMPTY += [backbone(o, marks=pytest.mark.slow) for o in CONFIGS if o not in FEW]
EMPTY += [backbone({"name": n, "out_features": ["c4"]}, marks=pytest.mark.slow) for n in TIMM[:2]]
EMPTY += OTHERS[-len(LARGER) :]


@pytest.mark.parametrize(("model_class", "make"), EMPTY)
def test_an_empty_checkpoint_gives_what_the_constructor_gives(model_class, make, monkeypatch):
    def seeded(*args, **options):
        set_seed(0)
        INITIALISE(*args, **options)

    monkeypatch.setattr(PreTrainedModel, "_initialize_weights", seeded)
    expected = model_class(make())
    same_tensors(model_class.from_pretrained(None, config=make(), state_dict={}), expected)


@pytest.mark.parametrize(("model_class", "make"), OTHERS)
def test_buffers_are_those_of_the_modules_themselves(model_class, make, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedModel, "_initialize_weights", lambda *_, **__: None)
        expected = dict(model_class(make()).named_buffers())
    found = dict(emptied(model_class, make()).named_buffers())
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("options", [*CONFIGS, *SLOW], ids=str)
def test_everything_is_initialised_as_build_backbone_does(options):
    found = emptied(KeelBackbone, KeelBackboneConfig(**options)).body.state_dict()
    reference = build_backbone(**{"weights": "random", **options}).state_dict()
    assert all(x.isfinite().all() for x in found.values())
    for key, expected in reference.items():
        if expected.numel() == 1 or expected.std() == 0:  # statistics, norms, offsets, gates
            torch.testing.assert_close(found[key], expected, rtol=0, atol=0)
        elif expected.numel() > 1000:
            torch.testing.assert_close(found[key].std(), expected.std(), rtol=0.2, atol=0)
    for key, value in found.items():
        kind = key.rpartition(".")[2]
        if kind in ("running_mean", "running_var", "num_batches_tracked"):
            assert (value == (kind == "running_var")).all()


SAVED = [(TIMM[1], "batch"), (TIMM[2], "frozen_batch"), slow("timm/test_byobnet", "frozen_batch")]
SAVED += [slow(name, "batch") for name in ("timm/test_byobnet", TIMM[0], TIMM[2], *LARGER)]


@pytest.mark.parametrize(("name", "norm"), SAVED)
def test_a_model_of_timm_is_saved_and_read(tmp_path, name, norm):
    """The position indices of CoAtNet and Swin are in no checkpoint."""
    made = KeelBackboneConfig(name=name, norm=norm, weights="random", freeze=1, out_features=["c4"])
    model = KeelBackbone(made)
    filled(model.body)
    other = read_again(model.eval(), tmp_path)
    same_tensors(other, model)
    size = {TIMM[1]: 160, SWIN: 224}.get(name, 64)
    image = torch.rand(1, 3, size, size)
    expected = model(image).feature_maps
    torch.testing.assert_close(other(image).feature_maps, expected)
    assert other.body.frozen == 1
    further = KeelBackbone.from_pretrained(tmp_path, out_features=["c4", "c5"])
    found = further(image).feature_maps
    torch.testing.assert_close(found[0], expected[0])
    assert found[1].isfinite().all()


def test_a_model_of_timm_with_the_names_of_earlier_versions(tmp_path):
    model = KeelBackbone(KeelBackboneConfig(name=TIMM[-1], out_features=["c2"])).eval()
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    old = {key.replace("body.net.", "body."): value for key, value in state.items()}
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    message = r"holds no tensor of 'timm/test_efficientnet' by its name; .*key_mapping="
    with refuses(message) as error:
        KeelBackbone.from_pretrained(tmp_path)
    mapping = literal_eval(str(error.value).partition("key_mapping=")[2].rstrip("."))
    same_tensors(KeelBackbone.from_pretrained(tmp_path, key_mapping=mapping), model)


# Checkpoints that lack something.


def test_a_saved_detr_with_another_backbone_loads_its_weights(tmp_path, weights, narrow):
    """Its own backbone was narrower in every stage but the stem."""
    other = KeelBackboneConfig(name="narrow_resnet50", norm="frozen_batch", weights="random")
    detr = DetrForObjectDetection(DetrConfig(backbone_config=other, num_labels=3, **DETR))
    made = config(weights=str(weights), norm="frozen_batch", freeze=2)
    loaded = read_again(detr, tmp_path, backbone_config=made, ignore_mismatched_sizes=True)
    body = loaded.model.backbone.model.body
    own, saved = body.state_dict(), detr.model.backbone.model.body.state_dict()
    shared = {k: saved[k] for k in own.keys() & saved if own[k].shape == saved[k].shape}
    assert "conv1.weight" in shared
    expected = {key: narrow[key] for key in own} | shared
    torch.testing.assert_close(dict(own), expected, rtol=0, atol=0)
    assert str(weights) in body.provenance
    lacks = f"it lacks {len(own) - len(shared)} of {len(own)} tensors, such as layer"
    assert lacks in body.provenance
    assert body.conventions.mean == tuple(CARD["mean"])
    assert loaded.config.backbone_config.image_std == CARD["std"]
    assert body.frozen == 2
    assert trained(body)[0] == [2, 3, 4]


def test_further_features_come_from_the_weights(tmp_path, weights, narrow):
    model = KeelBackbone(config(weights=str(weights), out_features=["c4"]))
    kept = model.body.layer1[0].conv1.weight
    kept.data.zero_()  # stands for what was trained since
    other = read_again(model, tmp_path, out_features=["c3", "c5"])
    expected = {**narrow, "layer1.0.conv1.weight": kept.data}
    torch.testing.assert_close(dict(other.body.state_dict()), expected, rtol=0, atol=0)
    assert other.channels == [32, 128]
    assert "it lacks 30 of 120 tensors, such as layer4" in other.body.provenance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_another_number_of_channels_adapts_the_weights(tmp_path, weights, dtype):
    model = KeelBackbone(config(weights=str(weights)))
    other = read_again(model, tmp_path, in_channels=4, ignore_mismatched_sizes=True, dtype=dtype)
    expected = build_backbone("narrow_resnet18", weights=weights, in_channels=4)
    same_tensors(other.body, expected.to(dtype))
    assert other.body.conventions == expected.conventions
    assert other.config.image_mean == [0.1, 0.2, 0.3, 0.1]


def test_another_number_of_channels_draws_a_random_first_convolution(tmp_path):
    model = KeelBackbone(config())
    body = read_again(model, tmp_path, in_channels=1, ignore_mismatched_sizes=True).body
    assert body.conv1.weight.shape == (16, 1, 7, 7)
    spread = (2 / (16 * 49)) ** 0.5  # 2 / fan-out
    assert body.conv1.weight.std().item() == pytest.approx(spread, rel=0.1)
    assert "it lacks 1 of 120 tensors, such as conv1.weight" in body.provenance
    assert body.provenance.endswith("which are of random initialisation")


def test_an_empty_checkpoint_takes_the_weights_and_their_conventions(weights):
    model = KeelBackbone.from_pretrained(None, config=config(weights=str(weights)), state_dict={})
    expected = build_backbone("narrow_resnet18", weights=weights)
    same_tensors(model.body, expected)
    assert model.body.conventions == expected.conventions
    assert model.config.epsilon == model.body.bn1.eps == 1e-3
    assert model.body.provenance == expected.provenance


def test_a_complete_checkpoint_is_the_provenance(tmp_path, weights):
    model = KeelBackbone(config(weights=str(weights)))
    weights.unlink()
    body = read_again(model, tmp_path).body
    assert body.provenance == f"from_pretrained {tmp_path}"
    assert body.conventions.mean == tuple(CARD["mean"])
    assert body.bn1.eps == 1e-3


def test_weights_that_are_gone_are_not_replaced_by_random_ones(tmp_path, weights):
    model = KeelBackbone(config(weights=str(weights), out_features=["c4"]))
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"no weight file[\s\S]*weights='random' draws"):
        read_again(model, tmp_path, out_features=["c5"])
    drawn = read_again(model, tmp_path, out_features=["c5"], weights="random").body
    assert drawn.layer4[0].bn1.running_var.eq(1).all()
    assert "such as layer4.0.conv1.weight, which are of random" in drawn.provenance


@pytest.mark.parametrize("options", [{"freeze": 2}, {"norm": "frozen_batch"}], ids=str)
def test_fixing_what_was_never_trained_is_refused(tmp_path, options):
    options |= {"in_channels": 1, "ignore_mismatched_sizes": True}
    with refuses(r"would fix what was never trained[\s\S]*weights=None are"):
        read_again(KeelBackbone(config()), tmp_path, **options)


def test_frozen_stages_of_a_checkpoint_stand_beside_drawn_ones(tmp_path):
    model = KeelBackbone(config(out_features=["c2"]))
    body = read_again(model, tmp_path, out_features=["c3"], freeze=2).body
    assert body.frozen == 2
    assert body.layer2[0].conv1.weight.std() > 0
