"""Each view is computed once, with the weights of the time of filling, and kept as configured."""

import re

import pytest
import torch
from torch.utils.data import Dataset

from backbones import build_backbone
from tasks.common.data.feature_cache import cache as module
from tasks.common.data.feature_cache import key, store
from tasks.common.data.feature_cache.cache import FeatureCache, FillFeatureCache
from tasks.common.data.feature_cache.entry import Entry, batch_maps, keep_maps, same_entry
from tasks.common.data.feature_cache.options import CacheOptions
from tasks.common.machine.options import PRECISIONS
from tasks.common.options.limits import limits_of

SIDES = (32, 64, 96)
BODY = {"weights": "random", "out_features": ["c4", "c5"], "freeze": 4}


class Noise(Dataset):
    """An image per view and index; index i has sides of SIDES[i]."""

    def __getitem__(self, place):
        view, index = place
        generator = torch.Generator().manual_seed(100 * view + index)
        return torch.rand(3, SIDES[index], SIDES[index], generator=generator)


class Encoder(module.Encoder):
    """Counts the samples that it encodes, and draws numbers as torchvision's resizing does."""

    def __init__(self):
        self.body = build_backbone("resnet18", **BODY).train()
        self.calls, self.augmentation, self.dtype = 0, "flip", None

    @property
    def backbone(self):
        return self.body

    @staticmethod
    def collate(entries):
        return entries

    def encode(self, sample, device):
        self.calls += 1
        torch.rand(3)
        features = keep_maps(self.backbone.frozen_features(sample[None].to(device)))
        features = {name: x.to(self.dtype or x.dtype) for name, x in features.items()}
        return Entry(features, {"sum": sample.sum()})

    def pixels(self):
        return [side * side for side in SIDES]

    def identity(self):
        return {"augmentation": self.augmentation}


@pytest.fixture
def encoder():
    return Encoder()


@pytest.fixture
def cache_for(encoder, tmp_path):
    """Make a cache of two views, by default in memory."""

    def make(where="memory", *, precision="32-true", device="cpu", **options):
        options = CacheOptions(**{"views": 2, "folder": str(tmp_path)} | options, where=where)
        return FeatureCache(options, encoder, Noise(), precision=precision, device=device)

    return make


@pytest.fixture
def filled(encoder, cache_for):
    """A cache on disk that has been filled."""
    cache = cache_for("disk")
    cache.fill(workers=0)
    encoder.calls = 0
    return cache


BF16_ON_DISK = pytest.param("disk", "bf16-mixed", marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("where", "precision"),
    [("memory", "32-true"), ("disk", "32-true"), ("memory", "bf16-mixed"), BF16_ON_DISK],
)
def test_every_epoch_gets_what_would_be_computed_anew(encoder, cache_for, where, precision):
    cache = cache_for(where, precision=precision)
    dataset, anew = cache.dataset, cache_for("none", precision=precision).dataset
    cache.fill(workers=0)
    encoder.calls = 0
    found = {key: dataset[key] for key in [(0, 0), (1, 0), (2, 0), (3, 2)]}
    assert encoder.calls == 0
    assert all(same_entry(entry, anew[key]) for key, entry in found.items())
    assert encoder.calls == 4
    assert same_entry(found[0, 0], found[2, 0])  # the view 0 again
    assert not same_entry(found[0, 0], found[1, 0])
    dtype = torch.float32 if precision == "32-true" else torch.bfloat16
    assert {x.dtype for entry in found.values() for x in entry.features.values()} == {dtype}
    assert list(found[0, 0].features) == ["c4"]


def test_the_reported_size_is_what_is_kept(filled):
    # c4 of ResNet-18: 256 channels at stride 16, float32, for three images in two views.
    assert filled.bytes == 2 * sum(256 * (side // 16) ** 2 * 4 for side in SIDES)
    kept = [filled.store[view, i].features["c4"].nbytes for view in (0, 1) for i in range(3)]
    assert sum(kept) == filled.bytes
    fact = r"2 views of 3 images: 0\.115 MB in float32 in /.* \(.* GB free, 6 of 6 there"
    assert re.match(fact, filled.fact())


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_what_does_not_fit_is_refused_with_both_numbers(cache_for, monkeypatch, where):
    monkeypatch.setattr(store, "free_memory", lambda: 1000)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    free = r"0\.001 MB are free in .*: 2 views of 3 images\. Take fewer"
    with pytest.raises(ValueError, match=rf"needs 0\.115 MB more, and {free}"):
        cache_for(where)


def test_files_are_found_again_by_the_same_run_only(encoder, cache_for):
    def computed(**options):
        cache = cache_for("disk", **options)
        encoder.calls = 0
        cache.fill(workers=0)
        return encoder.calls

    assert computed() == 6
    assert computed() == 2  # one of each view is compared
    assert computed(views=3) == 3 + 2
    assert computed(dtype="bf16") == 6
    assert computed(precision="bf16-mixed") == 6
    encoder.augmentation = "none"
    assert computed() == 6
    encoder.backbone.layer4[0].conv1.weight.data.add_(1)  # is not frozen
    assert computed() == 2
    encoder.backbone.bn1.running_mean.add_(1)
    assert computed() == 6


def test_another_device_version_or_number_of_threads_has_files_of_its_own(cache_for, monkeypatch):
    cache = cache_for("none")
    found = [cache.key()]
    cache.device = "cuda"
    found.append(cache.key())
    cache.device = "cpu"
    names = ("albumentations", "keel", "numpy", "opencv", "torch", "torchvision")
    for name in names:
        with monkeypatch.context() as patch:
            patch.setitem(key.VERSIONS, name, "0")
            found.append(cache.key())
    with monkeypatch.context() as patch:  # by which a CPU's sums differ
        patch.setattr(torch, "get_num_threads", lambda: 5)
        found.append(cache.key())
    assert len(set(found)) == 3 + len(names)
    assert cache.key() == found[0]


@pytest.mark.parametrize("where", ["memory", "disk", "none"])
def test_what_is_computed_in_training_decides_the_dtype(encoder, cache_for, where):
    """Autocast has other lists on a GPU: what a CPU rounds to bfloat16 may be float32 there."""
    encoder.dtype = torch.bfloat16
    cache = cache_for(where)
    dataset, estimated = cache.dataset, cache.bytes
    encoder.dtype = torch.float32
    cache.fill(workers=0)
    found = dataset[1, 1].features["c4"]
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())
    if where != "none":
        assert cache.bytes == 2 * estimated
        assert "in float32" in cache.fact()


def test_what_turns_out_larger_than_the_room_is_refused(encoder, cache_for, monkeypatch):
    encoder.dtype = torch.bfloat16
    cache = cache_for()
    room = cache.bytes * 3 // 2
    monkeypatch.setattr(store, "free_memory", lambda: room)
    encoder.dtype = torch.float32
    with pytest.raises(ValueError, match=r"the feature cache needs 0\.115 MB more"):
        cache.fill(workers=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_reported_size_is_that_of_the_gpu(encoder, cache_for):
    """There autocast leaves group norms in float32."""
    encoder.body = build_backbone("resnet18", **BODY, norm="group").train()
    cache = cache_for(precision="bf16-mixed", device="cuda")
    estimated = cache.bytes
    assert next(encoder.backbone.parameters()).device.type == "cpu"
    encoder.backbone.cuda()
    cache.fill(workers=0)
    assert cache.bytes == estimated
    assert cache.store[0, 0].features["c4"].dtype == torch.float32


def test_a_filling_that_was_interrupted_goes_on(encoder, filled, tmp_path):
    next(tmp_path.glob("*/1/1.safetensors")).unlink()
    filled.fill(workers=0)
    assert encoder.calls == 1 + 2  # one of each view is compared


@pytest.mark.parametrize("view", [0, 1])
def test_files_that_hold_something_else_are_refused(filled, view):
    filled.store.put((view, 0), filled.store[view, 1])
    with pytest.raises(ValueError, match=r"holds other features than this run computes.*delete it"):
        filled.fill(workers=0)


def test_a_damaged_file_is_named(filled, tmp_path):
    path = next(tmp_path.glob("*/0/2.safetensors"))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"0/2\.safetensors is damaged .*; delete it and resume"):
        filled.dataset[0, 2]


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_loader_made_before_the_filling_reads_what_was_filled(encoder, cache_for, where):
    """Lightning makes it before; a resumed run then loads other weights."""
    cache = cache_for(where)
    dataset = cache.dataset
    cache.fill(workers=0)
    encoder.backbone.conv1.weight.data.mul_(2)
    cache.fill(workers=0)
    assert same_entry(dataset[0, 1], cache_for("none").dataset[0, 1])


def test_no_random_number_of_the_training_is_drawn(cache_for):
    before = torch.get_rng_state()
    cache_for().fill(workers=0)
    cache_for("none").dataset[0, 0]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_rounded_cache_is_rounded_in_every_way(encoder, cache_for):
    exact, cache = cache_for("none"), cache_for(dtype="bf16")
    cache.fill(workers=0)
    found, true = (c.dataset[0, 0].features["c4"] for c in (cache, exact))
    assert cache.bytes == exact.bytes // 2
    assert found.dtype == torch.float32
    assert torch.equal(found, true.bfloat16().float())
    assert not torch.equal(found, true)
    encoder.backbone.conv1.weight.data.mul_(1e6)
    message = r"feature_cache.dtype=fp16 cannot hold c4, which reaches \d"
    with pytest.raises(ValueError, match=message):
        cache_for(dtype="fp16")


@pytest.mark.parametrize(("where", "workers"), [("memory", 0), ("none", 0), ("disk", 3)])
def test_only_files_are_read_by_workers(cache_for, where, workers):
    assert cache_for(where).workers(3) == workers


def test_unfreezing_the_prefix_stops_the_run(encoder, cache_for):
    callback = FillFeatureCache(cache_for(), workers=0)
    callback.on_train_epoch_start(None, None)
    encoder.backbone.freeze(3)
    with pytest.raises(ValueError, match="holds what 4 frozen stages return, and now 3 are frozen"):
        callback.on_train_epoch_start(None, None)


def test_maps_come_back_channels_last_and_smaller_ones_filled_up_with_zeros():
    features = torch.rand(1, 3, 4, 5)
    batch = batch_maps([Entry(keep_maps({"c2": features}), {})])["c2"]
    assert torch.equal(batch, features)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    maps = [torch.ones(1, 2, 1), torch.full((2, 1, 1), 2.0)]
    batch = batch_maps([Entry({"c4": m}, {}) for m in maps])["c4"]
    assert batch.tolist() == [[[[1.0, 1.0], [0.0, 0.0]]], [[[2.0, 0.0], [2.0, 0.0]]]]


def test_what_the_options_take():
    assert limits_of(CacheOptions) == {
        "views": "an integer of at least 0",
        "where": "memory, disk or none",
        "dtype": "auto, bf16 or fp16",
    }
    assert set(module.AUTOCAST) == set(PRECISIONS.values()) - {""}
