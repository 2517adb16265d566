"""Training behind the frozen stages is training."""

from dataclasses import replace

import pytest
import torch

from backbones import build_backbone
from tasks.common.data.feature_cache.entry import batch_maps
from tasks.segmentation.data.cases import class_table
from tasks.segmentation.model.frozen_features import PatchEncoder, check_views, logits_from
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import InputOptions, UNetOptions
from tests.tasks.segmentation.conftest import refuses, set_of

CASES = set_of({}, class_table({0: "background", 1: "square"}))


def encoder_of(patch=(32, 32), cases=CASES, freeze=3, **options):
    backbone = build_backbone("resnet18", weights="random", freeze=freeze)
    options = UNetOptions(norm="group", channels=(16,) * 5, **options)
    network = ResNetUNet(backbone, num_classes=2, in_channels=3, options=options)
    inputs = InputOptions(patch=patch, patches=2)
    return PatchEncoder(network, cases, options=inputs, decides={})


@pytest.mark.parametrize("skip", [False, True], ids=["plain", "image_skip"])
@pytest.mark.parametrize("patch", [(64, 64), (50, 70)])
def test_the_logits_are_those_of_forward(skip, patch):
    encoder = encoder_of(patch, freeze=4, deep_supervision=True, image_skip=skip)
    network = encoder.network.train()
    image, labels = torch.rand(3, *patch), torch.zeros(patch, dtype=torch.uint8)
    with torch.no_grad():
        entry = encoder.encode((image, labels), torch.device("cpu"))
        found = logits_from(network, PatchEncoder.collate([entry]))
        expected = network(image[None].contiguous(memory_format=torch.channels_last))
    assert len(found) == len(expected) == 5
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert list(batch_maps([entry])) == [*(["c0"] if skip else []), "c1", "c2", "c3", "c4"]


def test_a_batch_has_every_patch_in_its_place():
    encoder = encoder_of()
    network = encoder.network.eval()
    images = torch.rand(2, 3, 32, 32)
    labels = torch.stack([torch.full((32, 32), k, dtype=torch.uint8) for k in (3, 4)])
    device = torch.device("cpu")
    with torch.no_grad():
        entries = [encoder.encode(pair, device) for pair in zip(images, labels, strict=True)]
        batch = PatchEncoder.collate(entries)
        found, expected = logits_from(network, batch), network(images)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(batch.labels, labels)


def test_views_that_leave_slices_out_are_refused():
    check_views(2, InputOptions(patches=5), slices=10)
    with refuses(r"feature_cache.views=2 of input.patches=5 show 10 of 11 slices"):
        check_views(2, InputOptions(patches=5), slices=11)


def test_an_entry_of_another_orientation_is_another_entry():
    turned = encoder_of(cases=replace(CASES, exif="apply"))
    assert encoder_of().identity() == encoder_of().identity() != turned.identity()
