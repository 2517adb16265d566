"""What becomes of an encoder's state: saved, restored, frozen and unfrozen by smp and others."""

import copy
import json

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from backbones import build_backbone
from backbones.adapters.smp import register_encoder
from backbones.lineage import Step
from tests.backbones.adapters.small import CARD, trained
from tests.backbones.errors import refuses

PLAIN = register_encoder("narrow_resnet18")
FIXED = register_encoder("narrow_resnet18", norm="frozen_batch", encoder_name="keel-fixed")


def unet(name=PLAIN, **options):
    options = {"encoder_weights": None, "decoder_channels": (32, 16, 16, 8, 8), **options}
    return smp.Unet(name, **options)


# Saving and restoring.


def restored_by_state_dict(model, name, folder):
    torch.save(model.state_dict(), folder / "model.pth")
    other = unet(name)
    other.load_state_dict(torch.load(folder / "model.pth"))
    return other


def restored_by_smp(model, name, folder):  # noqa: ARG001
    model.save_pretrained(folder / "model")
    return smp.from_pretrained(folder / "model", encoder_weights=None)


@pytest.mark.parametrize("restore", [restored_by_state_dict, restored_by_smp])
@pytest.mark.parametrize("name", [PLAIN, FIXED])
def test_a_model_comes_back_without_its_weight_file(weights, tmp_path, restore, name):
    model = unet(name, encoder_weights=str(weights)).eval()
    model.encoder.body.freeze(2)
    image = torch.rand(1, 3, 64, 64)
    expected = model(image)
    weights.unlink()
    other = restore(model, name, tmp_path).eval()
    torch.testing.assert_close(other(image), expected, rtol=0, atol=0)
    body = other.encoder.body
    assert body.conventions == model.encoder.body.conventions
    assert body.conventions.mean == tuple(CARD["mean"])
    assert body.frozen == 2
    assert trained(other.train().encoder.body)[0] == [2, 3, 4]
    assert body.provenance == f"a state dict, whose weights were from {weights}"
    assert body.lineage == model.encoder.body.lineage
    assert [step.source for step in body.lineage] == [weights.name]
    norms = [m for m in body.modules() if isinstance(m, nn.BatchNorm2d | FrozenBatchNorm2d)]
    assert {m.eps for m in norms} == {1e-3}


@pytest.mark.parametrize("without", [(), ("encoder.card",)])
def test_a_count_that_was_chosen_stays(without):
    model, other = unet(), unet()
    model.encoder.body.freeze(2)
    other.encoder.body.freeze(3)
    state = {k: v for k, v in model.state_dict().items() if k not in without}
    other.load_state_dict(state)
    assert other.encoder.body.frozen == 3
    assert other.encoder.body.conventions == model.encoder.body.conventions


def test_every_key_is_the_path_of_a_tensor():
    model = unet().eval()
    state, image = model.state_dict(), torch.rand(1, 3, 32, 32)
    for key in state:
        owner, _, name = key.rpartition(".")
        assert isinstance(getattr(model.get_submodule(owner), name), torch.Tensor)
    torch.testing.assert_close(torch.func.functional_call(model, state, image), model(image))


@pytest.mark.parametrize(
    ("change", "channels"),
    [(nn.Module.half, 3), (nn.Module.double, 3), (copy.deepcopy, 3), (nn.Module.eval, 1)],
)
def test_the_card_survives_what_is_done_to_a_model(weights, change, channels):
    model = change(unet(encoder_weights=str(weights), in_channels=channels))
    other = unet(in_channels=channels)
    other.load_state_dict(model.state_dict())
    assert other.encoder.body.conventions == model.encoder.body.conventions
    expected = CARD["mean"] if channels == 3 else [0.2]
    assert other.encoder.body.conventions.mean == pytest.approx(expected)


def test_a_card_of_an_earlier_version_is_read(weights):
    model, other = unet(encoder_weights=str(weights)), unet()
    state = model.state_dict()
    content = json.loads(bytes(state["encoder.card"].tolist()))
    del content["lineage"]
    text = json.dumps(content).encode().ljust(1024)
    other.load_state_dict(state | {"encoder.card": torch.tensor(list(text), dtype=torch.uint8)})
    assert other.encoder.body.conventions == model.encoder.body.conventions
    assert other.encoder.body.lineage == ()
    unet().load_state_dict(other.state_dict())


@pytest.mark.parametrize(("steps", "kept"), [(20, 20), (60, 0)])
def test_a_lineage_is_kept_whole_or_not_at_all(steps, kept):
    model, other = unet(), unet()
    model.encoder.body.lineage = (Step(source="a.pth", sha256="0" * 64),) * steps
    other.load_state_dict(model.state_dict())
    assert other.encoder.body.lineage == model.encoder.body.lineage[:kept]
    assert other.encoder.body.conventions == model.encoder.body.conventions


def test_half_a_state_dict_does_not_make_an_encoder_fit(weights):
    model = unet(FIXED)
    state = unet(FIXED, encoder_weights=str(weights)).state_dict()
    del state["encoder.body.bn1.running_var"]
    model.load_state_dict(state, strict=False)
    with refuses(r"never trained: 'narrow_resnet18' .* or load a state dict\.$"):
        model(torch.rand(1, 3, 32, 32))


def test_a_file_that_is_gone_says_what_helps(tmp_path):
    with pytest.raises(FileNotFoundError, match="encoder_weights=None builds a model whose state"):
        unet(encoder_weights=str(tmp_path / "gone.pth"))


# Freezing and unfreezing: `frozen` and what is trained agree.


def test_smp_freezes_the_rest_and_unfreezes_everything():
    model = unet().train()
    body = model.encoder.body.freeze(2)
    model.freeze_encoder()
    model.train()  # changes nothing
    assert trained(body)[0] == []
    assert not any(m.training for m in model.encoder.modules() if isinstance(m, nn.BatchNorm2d))
    assert body.frozen == 2
    model.unfreeze_encoder()
    assert body.frozen == 0
    assert trained(body)[0] == trained(model.train().encoder.body)[1] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("unfreeze", "frozen", "grads"),
    [
        (lambda b: b.requires_grad_(True), 0, [0, 1, 2, 3, 4]),
        (lambda b: b.layer2.requires_grad_(True), 2, [2, 3, 4]),
        (lambda b: b.layer2[1].bn1.weight.requires_grad_(True), 2, [2, 3, 4]),
        (lambda b: b.conv1.requires_grad_(True), 0, [0, 3, 4]),
        (lambda b: BackboneFinetuning.make_trainable(b), 0, [0, 1, 2, 3, 4]),
        (lambda b: BackboneFinetuning.make_trainable(b.layer2), 2, [2, 3, 4]),
        (lambda b: b.freeze(1), 1, [1, 2, 3, 4]),
    ],
)
def test_what_others_unfreeze_is_not_called_frozen(unfreeze, frozen, grads):
    body = build_backbone("narrow_resnet18", weights="random", freeze=3).train()
    assert trained(body) == ([3, 4], [3, 4])
    unfreeze(body)
    assert body.frozen == frozen
    assert trained(body.train()) == (grads, grads)
    assert trained(body.eval()) == (grads, [])
    body.freeze(3)
    assert trained(body.train()) == ([3, 4], [3, 4])


def test_lightning_freezes_and_unfreezes():
    body = build_backbone("narrow_resnet18", weights="random", freeze=2).train()
    BackboneFinetuning.freeze(body, train_bn=False)
    assert body.frozen == 2
    BackboneFinetuning.make_trainable(body)
    assert body.train().frozen == 0
    assert trained(body) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])


# Preprocessing.


@pytest.mark.parametrize("pretrained", [None, "random", "imagenet", "imagenet_v1", "IMAGENET1K_V1"])
def test_the_numbers_of_no_weights_and_of_a_tag_need_no_download(pretrained):
    found = smp.encoders.get_preprocessing_params("keel-resnet18", pretrained=pretrained)
    assert (found["mean"], found["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("name", "tag", "model"),
    [
        ("resnet18", "timm:resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("timm/vit_tiny_patch16_224", "imagenet", "vit_tiny_patch16_224"),
        ("timm/resnet18", "a1_in1k", "resnet18.a1_in1k"),
        ("timm/resnet18.tv_in1k", "imagenet", "resnet18.tv_in1k"),
    ],
)
def test_the_numbers_of_timm_need_no_download(name, tag, model):
    found = smp.encoders.get_preprocessing_params(register_encoder(name), pretrained=tag)
    expected = timm.get_pretrained_cfg(model)
    assert (found["mean"], found["std"]) == (list(expected.mean), list(expected.std))


def test_a_tag_that_is_unknown_is_refused():
    with refuses("did you mean 'imagenet'"):
        smp.encoders.get_preprocessing_params("keel-resnet18", pretrained="imagnet")
    with refuses(r"timm has no weights 'resnet18\.nothing'"):
        smp.encoders.get_preprocessing_params("keel-resnet18", pretrained="timm:resnet18.nothing")
