from types import SimpleNamespace

import cv2
import pytest
import torch

from tasks.detection.data import data_module
from tasks.detection.data.data_module import DetectionDataModule
from tasks.detection.data.transforms import train_transform
from tasks.detection.options import AugmentOptions
from tests.backbones.errors import refuses
from tests.training import OneWeight, quiet_trainer


@pytest.fixture
def train(write_coco):
    return write_coco("train", count=11)


@pytest.fixture
def val(write_coco):
    return write_coco("val", count=5)


def module(train, val, *, test=None, batch_size=4, **options):
    return DetectionDataModule(train=train, val=val, test=test, batch_size=batch_size, **options)


def epoch_of(loader, epoch=0):
    loader.batch_sampler.sampler.set_epoch(epoch)
    return [
        (target["image_id"], image.numpy().tobytes(), target["boxes"].tolist())
        for images, targets in loader
        for image, target in zip(images, targets, strict=True)
    ]


def ids(loader, epoch=0):
    return [sample[0] for sample in epoch_of(loader, epoch)]


def test_an_epoch_of_training_holds_every_image_once_in_random_order(train, val):
    loader = module(train, val).train_dataloader()
    before = torch.get_rng_state()
    first = ids(loader)
    assert torch.equal(torch.get_rng_state(), before)
    assert sorted(first) == list(range(11))
    assert first != sorted(first)
    assert ids(loader, epoch=1) != first
    assert len(loader) == 3


def test_validation_and_test_come_in_order_without_augmentation(train, val):
    data = module(train, val, test=train, transform=train_transform(AugmentOptions(flip=1.0)))
    for loader, split in ((data.val_dataloader(), val), (data.test_dataloader(), train)):
        for epoch in (0, 1):
            samples = epoch_of(loader, epoch)
            assert [sample[0] for sample in samples] == list(range(len(split.images)))
            assert [sample[2] for sample in samples] == [r.boxes.tolist() for r in split.images]


def test_workers_change_no_sample_and_epochs_do(train, val):
    transform = train_transform(AugmentOptions(color_jitter=0.3, scale=(0.8, 1.2)))
    alone, helped, other = (
        module(train, val, transform=transform, **options).train_dataloader()
        for options in ({"seed": 3}, {"seed": 3, "workers": 2}, {"seed": 4})
    )
    first, second = epoch_of(alone, 0), epoch_of(alone, 1)
    assert [epoch_of(helped, 0), epoch_of(helped, 1)] == [first, second]
    pixels = {sample[0]: sample[1] for sample in first}
    assert all(pixels[sample[0]] != sample[1] for sample in second)
    assert epoch_of(other, 0) != first


def test_training_batches_are_grouped_by_shape(train, val):
    loader = module(train, val, batch_size=2).train_dataloader()
    shapes = [{tuple(image.shape) for image in images} for images, _ in loader]
    assert len(shapes) == 6
    assert sum(len(shape) > 1 for shape in shapes) <= 2


@pytest.mark.parametrize(("workers", "in_channels"), [(0, 1), (2, 3)])
def test_a_cache_changes_no_sample_and_reads_each_image_once(train, val, workers, in_channels):
    transform = train_transform(AugmentOptions(color_jitter=0.3))
    plain, cached = (
        module(train, val, transform=transform, in_channels=in_channels, **options)
        for options in ({}, {"workers": workers, "decoded": True})
    )
    images, _ = next(iter(plain.val_dataloader()))
    assert {image.shape[0] for image in images} == {in_channels}
    for kind, split in (("train_dataloader", train), ("val_dataloader", val)):
        ours, theirs = getattr(cached, kind)(), getattr(plain, kind)()
        expected = [epoch_of(theirs, epoch) for epoch in (0, 1)]
        assert epoch_of(ours, 0) == expected[0]
        for record in split.images:
            record.path.unlink()
        assert epoch_of(ours, 1) == expected[1]


def test_a_split_has_one_memory_however_many_loaders(train, val, monkeypatch):
    made = []
    monkeypatch.setattr(data_module, "decoded_images", lambda split, **_: made.append(split))
    cached = module(train, val, decoded=True)
    encoder = SimpleNamespace(collate=None)
    cached.cache = SimpleNamespace(workers=int, dataset=[], encoder=encoder)
    cached.train_dataloader(), cached.val_dataloader()
    assert made == [val]  # no training image beside a feature cache
    made.clear()
    data = module(train, val, test=val, decoded=True)
    data.training_set()
    assert made == []
    for _ in range(2):
        data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert made == [train, val]


def test_a_transform_cannot_spoil_the_cache(train, val):
    def blacken(*, image, bboxes, index):
        image[...] = 0
        return {"image": image, "bboxes": bboxes, "index": index}

    blacken.set_random_seed = lambda _seed: None
    dataset = module(train, val, decoded=True, transform=blacken).train_dataloader().dataset
    dataset[0], dataset[0]
    dataset.transform = None
    assert dataset[0][0].any()


def test_workers_live_on_and_opencv_runs_single_threaded_in_them(train, val, monkeypatch):
    loader = module(train, val, workers=1).train_dataloader()
    assert loader.persistent_workers
    assert not module(train, val).train_dataloader().persistent_workers
    threads = []
    monkeypatch.setattr(cv2, "setNumThreads", threads.append)
    loader.worker_init_fn(0)
    assert threads == [0]


class Recorder(OneWeight):
    """Notes the order of the images that it is trained and validated with."""

    def __init__(self):
        super().__init__()
        self.trained, self.validated = [], []

    def training_step(self, batch, batch_idx):
        self.trained += [target["image_id"] for target in batch[1]]
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, _index):
        self.validated.append([target["image_id"] for target in batch[1]])


# Lightning wants more workers than a test needs, and calls torch by a name it has deprecated.
@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers:UserWarning",
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning",
)
@pytest.mark.parametrize("overfit", [0, 1])
def test_lightning_sets_the_epoch_of_the_order_unless_it_overfits(train, val, tmp_path, overfit):
    recorder = Recorder()
    trainer = quiet_trainer(tmp_path, max_epochs=2, overfit_batches=overfit)
    trainer.fit(recorder, datamodule=module(train, val))
    if overfit:
        first, second = recorder.trained[:4], recorder.trained[4:]
        assert first == second
        return
    loader = module(train, val).train_dataloader()
    assert recorder.trained == [*ids(loader, 0), *ids(loader, 1)]
    assert recorder.validated == [[0, 1, 2, 3], [4]] * 2


def test_ranks_of_a_distributed_run_share_the_images(train, val):
    ranks = [module(train, val), module(train, val)]
    for rank, data in enumerate(ranks):
        data.trainer = SimpleNamespace(world_size=2, overfit_batches=0, global_rank=rank)
    first, second = (ids(data.train_dataloader()) for data in ranks)
    assert len(first) == len(second) == 6
    assert {*first, *second} == set(range(11))
    assert [ids(data.val_dataloader()) for data in ranks] == [[0, 2, 4], [1, 3, 0]]


def test_what_no_run_can_use_is_refused(train, val, write_coco):
    other = write_coco("other", count=1, classes=("dog", "cat"))
    empty = write_coco("empty", count=2, boxes=False)
    classes = r"other.json has the classes 'dog', 'cat', but .*train.json has 'cat', 'dog'"
    boxes = r"empty.json: no boxes in 2 images to "
    for splits, message in (
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"val": other}, classes),
        ({"test": other}, classes),
        ({"train": empty}, boxes + "learn from"),
        ({"val": empty}, boxes + "choose the checkpoint with"),
        ({"test": empty}, boxes + "test with"),
    ):
        with refuses(message):
            module(**{"train": train, "val": val} | splits)
    with refuses("there is no test split; give test"):
        module(train, val).test_dataloader()
