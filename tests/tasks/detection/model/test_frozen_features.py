"""Training on the kept output of frozen stages has the losses of training on images."""

import json
from dataclasses import replace
from pathlib import Path

import lightning
import pytest
import torch

from tasks.common.data.feature_cache.cache import FeatureCache, FillFeatureCache
from tasks.common.data.feature_cache.entry import Entry
from tasks.common.data.feature_cache.options import CacheOptions
from tasks.common.recipe.recipe import Recipe
from tasks.common.resume.random_state import ExactState
from tasks.common.run.callbacks import LastCheckpoint
from tasks.detection.data.data_module import DetectionDataModule
from tasks.detection.data.images import Reading
from tasks.detection.data.transforms import train_transform
from tasks.detection.model.frozen_features import DetectionEncoder, losses_from
from tasks.detection.options import AugmentOptions
from tests.tasks.detection.conftest import SMALL, small_module, write_coco_below
from tests.training import quiet_trainer

OPTIONS = replace(SMALL, features=("c3", "c4", "c5"), anchor_sizes=(16, 32, 64, 128), min_size=48)
pytestmark = [
    pytest.mark.usefixtures("_tiny"),
    pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training"),
]


@pytest.fixture
def split(write_coco):
    """Three images of 40x30, 30x40 and 32x32."""
    return write_coco("train", count=3)


def module_for(split, *, seed=0):
    torch.manual_seed(seed)
    recipe = Recipe(epochs=3, batch_size=2, lr=0.01, warmup=0)
    module = small_module(split, options=OPTIONS, freeze=4, recipe=recipe)
    module.network.to(memory_format=torch.channels_last).train()
    return module


def data_for(split, module, *, precision="32-true", **cache):
    flip = train_transform(AugmentOptions(flip=0.5))
    data = DetectionDataModule(train=split, val=split, test=None, batch_size=2, transform=flip)
    encoder = DetectionEncoder(module.network, split, decides={})
    options = CacheOptions(**{"views": 2} | cache)
    samples = data.training_set()
    data.cache = FeatureCache(options, encoder, samples, precision=precision, device="cpu")
    return data


class Watch(lightning.Callback):
    """Keeps the losses; stops after the step ``stop_at``, as a crash would."""

    def __init__(self, stop_at=None):
        self.stop_at, self.losses = stop_at, []

    def on_train_batch_start(self, trainer, *_):
        torch.manual_seed(trainer.global_step)  # of the sampling of proposals

    def on_train_batch_end(self, trainer, _module, outputs, *_):
        self.losses.append(outputs["loss"].item())
        if trainer.global_step - 1 == self.stop_at:  # the step after the saved ones is lost
            raise RuntimeError("stopped")


def train(folder, module, data, *, precision="32-true", stop_at=None, resume=None, callbacks=()):
    watch = Watch(stop_at)
    trainer = quiet_trainer(
        folder,
        precision=precision,
        max_epochs=3,
        limit_val_batches=0,
        callbacks=[watch, *callbacks, FillFeatureCache(data.cache, workers=0)],
    )
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    return watch.losses


@pytest.mark.parametrize("index", range(3))
def test_the_losses_are_those_of_torchvisions_forward(split, index):
    module = module_for(split)
    sample = data_for(split, module).training_set()[0, index]
    network = module.network
    torch.manual_seed(1)
    expected = network([sample[0].float() / 255], [sample[1]])
    entry = DetectionEncoder(network, split, decides={}).encode(sample, torch.device("cpu"))
    torch.manual_seed(1)
    torch.empty(1).uniform_()  # torchvision's resizing draws among one size
    found = losses_from(network, DetectionEncoder.collate([entry]))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def losses_of(split, folder, *, precision="32-true", where="none"):
    module = module_for(split)
    data = data_for(split, module, precision=precision, where=where, folder=str(folder / "cache"))
    return train(folder, module, data, precision=precision)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The losses of a run without a cache."""
    folder = tmp_path_factory.mktemp("whole")
    return losses_of(write_coco_below(folder, "train", count=3), folder)


def test_a_run_has_the_same_losses_from_a_cache(split, tmp_path, whole):
    """All ways in all precisions are compared in the tests of the cache."""
    assert len(whole) == 6
    assert losses_of(split, tmp_path, where="disk") == whole
    low = [losses_of(split, tmp_path, precision="bf16-mixed", where=w) for w in ("none", "memory")]
    assert low[0] == low[1] != whole


@pytest.mark.filterwarnings("ignore:.*your dataloader is not resumable")  # ours skips batches
def test_a_resumed_run_goes_on_with_the_prefix_of_its_checkpoint(split, tmp_path, whole):
    """Into a network that was drawn with another seed, and with another way of keeping."""
    last = [LastCheckpoint(tmp_path / "last.ckpt", minutes=0), ExactState()]
    module = module_for(split)
    with pytest.raises(RuntimeError, match="stopped"):
        train(tmp_path, module, data_for(split, module), stop_at=3, callbacks=last)
    module = module_for(split, seed=7)
    data = data_for(split, module, where="disk", folder=str(tmp_path / "cache"))
    resumed = {"resume": tmp_path / "last.ckpt", "callbacks": [ExactState()]}
    assert train(tmp_path, module, data, **resumed) == whole[3:]


def test_a_batch_is_padded_behind_the_frozen_stages(split):
    module = module_for(split)
    dataset = data_for(split, module, where="none").cache.dataset
    batch = DetectionEncoder.collate([dataset[0, 0], dataset[0, 1]])
    # 40x30 pixels become 64x48, padded to 64x64; 30x40 lies across it.
    assert batch.sizes == [(48, 64), (64, 48)]
    assert batch.padded == (64, 64)
    assert [target["image_id"] for target in batch.targets] == [0, 1]
    shapes = {name: tuple(features.shape) for name, features in batch.features.items()}
    assert shapes == {"c3": (2, 16, 8, 8), "c4": (2, 32, 4, 4)}


def test_a_batch_is_as_large_as_its_largest_sides():
    size, number = torch.tensor([30, 30]), torch.tensor(0)
    truth = {"boxes": torch.zeros(0, 4), "labels": size, "size": size, "image_id": number}
    entries = [
        Entry({"c4": torch.zeros(2, 2, 1)}, truth | {"padded": torch.tensor(padded)})
        for padded in [(64, 32), (32, 96)]
    ]
    assert DetectionEncoder.collate(entries).padded == (64, 96)


def test_the_pixels_are_those_of_the_padded_images(split):
    module = module_for(split)
    encoder = DetectionEncoder(module.network, split, decides={})
    samples = data_for(split, module).training_set()
    for index, pixels in enumerate(encoder.pixels()):
        images, _ = module.network.transform([samples[0, index][0].float()])
        assert pixels == images.tensors.shape[-2] * images.tensors.shape[-1]


def test_other_boxes_and_other_files_are_other_entries(split):
    cache = data_for(split, module_for(split)).cache
    key = cache.key()
    split.images[1].boxes[0, 2] += 1
    assert cache.key() != key
    key = cache.key()
    path = Path(split.images[1].path)
    path.write_bytes(path.read_bytes() + b"\0")
    assert cache.key() != key


def test_an_entry_of_another_reading_is_another_entry(split):
    module = module_for(split)
    other = replace(split, reading=Reading(exif="apply"))
    encoders = [DetectionEncoder(module.network, one, decides={}) for one in (split, other)]
    first, second = (encoder.identity() for encoder in encoders)
    assert first != second
    assert json.loads(json.dumps(second))["reading"]["exif"] == "apply"  # keys are made of JSON
