"""The cases that smp puts its own encoders through, put to ours, and every decoder on top."""

from functools import partial
from unittest.mock import Mock

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from backbones import build_backbone, list_backbones
from backbones.adapters.smp import SmpEncoder, register_encoder
from backbones.resnet.variants import VARIANTS
from tests.backbones.adapters.small import CARD
from tests.backbones.errors import refuses

register_encoder("narrow_resnet18")
register_encoder("short_resnet18")

TIMM = ["timm/convnext_atto", "timm/mobilenetv3_small_050", "timm/regnety_002"]
OURS = (
    "cbam_resnet18 dynamic_resnet18 ecaresnet50d res2net50_26w_4s resnet18d resnet34 resnet50 "
    "resnet50_caffe resnetv2_18 resnext50_32x4d seresnet18 wide_resnet50_2"
)
SLOW = [*TIMM, *OURS.split()]
NAMES = ["short_resnet18", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
DECODERS = [smp.Unet, smp.UnetPlusPlus, smp.FPN, smp.DeepLabV3Plus, smp.Linknet, smp.PAN]
DECODERS += [smp.MAnet, smp.PSPNet, smp.UPerNet]
random_encoder = partial(smp.encoders.get_encoder, weights=None)


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def encoder_name(name):
    return register_encoder(name) if name.startswith(("timm/", "short_")) else f"keel-{name}"


def test_every_registered_name_is_an_encoder():
    assert {f"keel-{name}" for name in VARIANTS} <= set(smp.encoders.get_encoder_names())


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_forward_and_backward(encoder_name, channels):
    encoder = random_encoder(encoder_name, in_channels=channels)
    image = torch.rand(2, channels, 64, 64)
    maps = encoder(image)
    assert len(maps) == 6
    assert maps[0] is image
    assert [x.shape[1] for x in maps] == encoder.out_channels
    assert encoder.out_channels[0] == len(encoder.body.conventions.mean) == channels
    sum(x.square().mean() for x in maps[1:] if x.numel()).backward()
    assert all(p.grad is not None for p in encoder.parameters())


@pytest.mark.parametrize(("depth", "stride"), [(1, 32), (3, 32), (4, 32), (5, 32), (5, 8), (5, 16)])
def test_depth_and_dilation(name, encoder_name, image, depth, stride):
    if depth == 1 and name == "timm/convnext_atto":
        pytest.skip("ConvNeXt has no feature of stride 2")
    encoder = random_encoder(encoder_name, depth=depth, output_stride=stride).eval()
    maps = encoder(image)
    expected = [min(2**k, stride) for k in range(depth + 1)]
    assert [image.shape[2] // x.shape[2] for x in maps] == expected
    assert [image.shape[3] // x.shape[3] for x in maps] == expected
    assert encoder.output_stride == expected[-1]
    assert [x.shape[1] for x in maps] == encoder.out_channels
    assert len(encoder.body.stages()) == depth  # the rest is not even built


@pytest.mark.parametrize("depth", [0, 6])
def test_a_depth_out_of_range_is_refused(encoder_name, depth):
    with refuses(rf"^depth takes 1 to 5 features, got {depth}\.$"):
        random_encoder(encoder_name, depth=depth)


def compiled(encoder, _image):
    torch.compiler.reset()
    return torch.compile(encoder, fullgraph=True, dynamic=True, backend="eager")


def exported(encoder, image):
    return torch.export.export(encoder, args=(image,), strict=True).module()


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's own, of its export
@pytest.mark.parametrize("change", [pytest.param(compiled, marks=pytest.mark.slow), exported])
def test_a_captured_graph_gives_the_same(encoder_name, image, change):
    encoder = random_encoder(encoder_name, depth=3).eval()
    captured = change(encoder, image)
    torch.testing.assert_close(captured(image), encoder(image))


@pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::torch.jit.TracerWarning")
def test_scripting_is_refused_and_tracing_is_not(image):
    encoder = random_encoder("keel-short_resnet18").eval()
    assert not encoder._is_torch_scriptable
    with pytest.raises(RuntimeError, match=r"^torch.jit.script cannot express the code of"):
        torch.jit.script(encoder)
    traced = torch.jit.trace(encoder, image)
    torch.testing.assert_close(traced(image[:1])[5], encoder(image[:1])[5])


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda d: d.__name__)
def test_every_decoder_trains(encoder_name, decoder):
    model = decoder(encoder_name, encoder_weights=None, in_channels=1, classes=2).train()
    logits = model(torch.rand(2, 1, 128, 128))
    assert logits.shape == (2, 2, 128, 128)
    logits.square().mean().backward()
    assert model.encoder.body.first_conv in model.encoder.body.state_dict()
    assert all(p.grad is not None for p in model.encoder.body.stages()[0][0].parameters())


def test_a_unet_of_smp_gives_the_same_with_our_encoder(image):
    theirs = smp.Unet("resnet18", encoder_weights=None).eval()
    ours = smp.Unet("keel-resnet18", encoder_weights=None).eval()
    state = theirs.state_dict()
    ours.load_state_dict({k.replace("encoder.", "encoder.body."): v for k, v in state.items()})
    torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-4)


def test_a_file_is_loaded_and_the_first_convolution_adapted(weights, narrow):
    model = smp.Unet("keel-narrow_resnet18", encoder_weights=str(weights), in_channels=1)
    gray = {**narrow, "conv1.weight": narrow["conv1.weight"].sum(1, keepdim=True)}
    torch.testing.assert_close(dict(model.encoder.body.state_dict()), gray)
    assert str(weights) in model.encoder.body.provenance


def test_dilating_keeps_weights_frozen_stages_and_mode(weights, image):
    encoder = random_encoder("keel-narrow_resnet18", weights=str(weights))
    encoder.body.freeze(2)
    encoder.eval().make_dilated(8)
    expected = build_backbone("narrow_resnet18", weights=weights, output_stride=8).eval()
    torch.testing.assert_close(encoder(image)[1:], [*expected(image).values()])
    assert encoder.body.frozen == 2
    assert not encoder.body.training
    assert str(weights) in encoder.body.provenance
    assert encoder.body.lineage == expected.lineage != ()
    with refuses(r"^output_stride takes 8 or 16, got 4\.$"):
        encoder.make_dilated(4)


def test_weights_that_cannot_be_had_are_never_left_out():
    with pytest.raises(ConnectionError, match="Do one of three things"):
        smp.Unet("keel-resnet18")  # smp's default is encoder_weights="imagenet"
    with refuses(r"did you mean 'imagenet'"):
        smp.Unet("keel-resnet18", encoder_weights="imagnet")


def test_a_tag_goes_to_our_own_resolver(monkeypatch):
    load = Mock()
    monkeypatch.setattr("backbones.weights.load.load_weights", load)
    smp.Unet("keel-narrow_resnet18", encoder_weights="imagenet")
    (_, tag), options = load.call_args
    assert (tag, options["name"]) == ("imagenet", "narrow_resnet18")


def test_other_encoders_of_smp_are_left_alone():
    assert smp.encoders.encoders["resnet18"]["encoder"] is not SmpEncoder
    with pytest.raises(KeyError, match="Wrong pretrained weights `imagnet`"):
        smp.encoders.get_encoder("resnet18", weights="imagnet")


def test_preprocessing_is_that_of_the_weights(weights):
    ours = {"encoder_name": "keel-narrow_resnet18", "pretrained": str(weights)}
    images = {"mean": CARD["mean"], "std": CARD["std"]}
    settings = smp.encoders.get_preprocessing_params(**ours)
    assert settings == {"input_space": "RGB", "input_range": [0, 1], **images}
    smp.encoders.get_preprocessing_fn(**ours)
    with pytest.raises(ValueError, match="Available pretrained options"):
        smp.encoders.get_preprocessing_params("resnet18", pretrained="nothing")


def test_a_norm_is_registered_under_a_name_of_its_own(weights):
    name = register_encoder("narrow_resnet18", norm="frozen_batch", encoder_name="keel-frozen")
    with refuses(r"^norm='frozen_batch' would fix what was never trained"):
        smp.Unet(name, encoder_weights=None)(torch.rand(1, 3, 32, 32))
    model = smp.Unet(name, encoder_weights=str(weights))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.encoder.modules())


def test_strides_that_no_decoder_takes_are_refused():
    message = (
        r"^smp's decoders take features of the strides 2, 4, 8, 16, 32 \(of which the first may be "
        r"missing\); 'resnet20_cifar' has 1, 1, 2, 4\. Take another backbone\.$"
    )
    with refuses(message):
        smp.Unet("keel-resnet20_cifar", encoder_weights=None)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in list_backbones() if "/" not in n])
def test_every_name_is_in_every_decoder_or_refused_by_its_strides(name):
    with torch.device("meta"):
        if list(build_backbone(name).strides.values()) != [2, 4, 8, 16, 32]:
            with refuses("Take another backbone"):
                random_encoder(f"keel-{name}")
            return
        for decoder in DECODERS:
            model = decoder(f"keel-{name}", encoder_weights=None, in_channels=1, classes=2)
            assert model(torch.rand(2, 1, 128, 128)).shape == (2, 2, 128, 128)
