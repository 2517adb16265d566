from types import SimpleNamespace

import cv2
import lightning
import pytest
import torch

from tasks.detection.data import data_module
from tasks.detection.data.data_module import DetectionDataModule
from tasks.detection.data.transforms import train_transform
from tasks.detection.options import AugmentOptions
from tests.trainer import quiet_trainer


@pytest.fixture
def train(write_coco):
    return write_coco("train", count=11)


@pytest.fixture
def val(write_coco):
    return write_coco("val", count=5)


def module(train, val, **options):
    return DetectionDataModule(
        **{"train": train, "val": val, "test": None, "batch_size": 4, **options}
    )


def epoch_of(loader, epoch=0):
    loader.batch_sampler.sampler.set_epoch(epoch)
    return [
        (target["image_id"], image.numpy().tobytes(), target["boxes"].tolist())
        for images, targets in loader
        for image, target in zip(images, targets, strict=True)
    ]


def test_an_epoch_of_training_holds_every_image_once_in_random_order(train, val):
    loader = module(train, val).train_dataloader()
    ids = [sample[0] for sample in epoch_of(loader)]
    assert sorted(ids) == list(range(11))
    assert ids != sorted(ids)
    assert [sample[0] for sample in epoch_of(loader, epoch=1)] != ids
    assert len(loader) == 3


def test_validation_and_test_come_in_order_without_augmentation(train, val):
    data = module(train, val, test=train, transform=train_transform(AugmentOptions(flip=1.0)))
    for loader, split in ((data.val_dataloader(), val), (data.test_dataloader(), train)):
        for epoch in (0, 1):
            samples = epoch_of(loader, epoch)
            assert [sample[0] for sample in samples] == list(range(len(split.images)))
            assert [sample[2] for sample in samples] == [r.boxes.tolist() for r in split.images]


def test_workers_change_no_sample_and_epochs_do(train, val):
    options = {
        "transform": train_transform(AugmentOptions(color_jitter=0.3, scale=(0.8, 1.2))),
        "seed": 3,
    }
    alone = module(train, val, **options).train_dataloader()
    helped = module(train, val, workers=2, **options).train_dataloader()
    first, second = epoch_of(alone, 0), epoch_of(alone, 1)
    assert epoch_of(helped, 0) == first
    assert epoch_of(helped, 1) == second
    pixels = {sample[0]: sample[1] for sample in first}
    assert all(pixels[sample[0]] != sample[1] for sample in second)
    other = module(train, val, **{**options, "seed": 4}).train_dataloader()
    assert epoch_of(other, 0) != first


def test_training_batches_are_grouped_by_shape(train, val):
    loader = module(train, val, batch_size=2).train_dataloader()
    shapes = [{tuple(image.shape) for image in images} for images, _ in loader]
    assert len(shapes) == 6
    assert sum(len(shape) > 1 for shape in shapes) <= 2


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_a_cache_changes_no_sample(train, val, workers, in_channels):
    options = {
        "transform": train_transform(AugmentOptions(color_jitter=0.3)),
        "in_channels": in_channels,
    }
    plain = module(train, val, **options)
    cached = module(train, val, workers=workers, decoded=True, **options)
    for kind in ("train_dataloader", "val_dataloader"):
        ours, theirs = getattr(cached, kind)(), getattr(plain, kind)()
        for epoch in (0, 1, 2):
            assert epoch_of(ours, epoch) == epoch_of(theirs, epoch)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cached_image_is_read_once_by_all_workers(train, val, workers):
    """After the first epoch the files may go."""
    loader = module(train, val, workers=workers, decoded=True).train_dataloader()
    first = epoch_of(loader)
    for record in train.images:
        record.path.unlink()
    for epoch in (1, 2):
        assert sorted(epoch_of(loader, epoch)) == sorted(first)


def test_a_split_has_one_memory_however_many_loaders(train, val, monkeypatch):
    made = []
    monkeypatch.setattr(data_module, "decoded_images", lambda split, **_: made.append(split))
    data = module(train, val, test=val, decoded=True)
    data.training_set()
    assert made == []
    for _ in range(2):
        data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert made == [train, val]


def test_no_training_image_is_kept_beside_a_prefix_cache(train, val, monkeypatch):
    made = []
    monkeypatch.setattr(data_module, "decoded_images", lambda split, **_: made.append(split))
    data = module(train, val, decoded=True)
    data.cache = SimpleNamespace(workers=int, dataset=[], encoder=SimpleNamespace(collate=None))
    data.train_dataloader(), data.val_dataloader()
    assert made == [val]


def test_a_transform_cannot_spoil_the_cache(train, val):
    def blacken(*, image, bboxes, index):
        image[...] = 0
        return {"image": image, "bboxes": bboxes, "index": index}

    blacken.set_random_seed = lambda _seed: None
    dataset = module(train, val, decoded=True, transform=blacken).train_dataloader().dataset
    dataset[0], dataset[0]
    dataset.transform = None
    assert dataset[0][0].any()


def test_workers_live_on_from_epoch_to_epoch(train, val):
    assert module(train, val, workers=2).train_dataloader().persistent_workers
    assert not module(train, val).train_dataloader().persistent_workers


def test_opencv_runs_single_threaded_in_a_worker(train, val, monkeypatch):
    loader = module(train, val, workers=1).train_dataloader()
    threads = []
    monkeypatch.setattr(cv2, "setNumThreads", threads.append)
    loader.worker_init_fn(0)
    assert threads == [0]


def test_loading_leaves_the_global_random_numbers_alone(train, val):
    data = module(train, val)
    before = torch.get_rng_state()
    epoch_of(data.train_dataloader())
    epoch_of(data.val_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


def test_images_of_one_channel_are_loaded_on_request(train, val):
    images, _ = next(iter(module(train, val, in_channels=1).val_dataloader()))
    assert {image.shape[0] for image in images} == {1}


class Recorder(lightning.LightningModule):
    """Notes the order of the images that it is trained and validated with."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = {"train": [], "val": []}

    def training_step(self, batch, _index):
        self.seen["train"].append([target["image_id"] for target in batch[1]])
        return self.weight * 1.0

    def validation_step(self, batch, _index):
        self.seen["val"].append([target["image_id"] for target in batch[1]])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(train, val, tmp_path, **options):
    trainer = quiet_trainer(tmp_path, max_epochs=2, **options)
    recorder = Recorder()
    trainer.fit(recorder, datamodule=module(train, val))
    return recorder.seen


# Lightning wants more workers than a test needs, and calls torch by a name it has deprecated.
quiet = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers:UserWarning",
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning",
)


@quiet
def test_lightning_sets_the_epoch_of_the_training_order(train, val, tmp_path):
    seen = fit(train, val, tmp_path)
    loader = module(train, val).train_dataloader()
    for epoch, batches in enumerate((seen["train"][:3], seen["train"][3:])):
        flat = [image_id for batch in batches for image_id in batch]
        assert flat == [sample[0] for sample in epoch_of(loader, epoch)]
    assert seen["val"] == [[0, 1, 2, 3], [4]] * 2


@quiet
def test_overfitting_repeats_the_same_batches(train, val, tmp_path):
    seen = fit(train, val, tmp_path, overfit_batches=1)
    assert len(seen["train"]) == 2
    assert seen["train"][0] == seen["train"][1]


def test_ranks_of_a_distributed_run_share_the_images(train, val):
    class Rank:
        world_size = 2
        overfit_batches = 0

        def __init__(self, rank):
            self.global_rank = rank

    ids = []
    for rank in (0, 1):
        data = module(train, val)
        data.trainer = Rank(rank)
        ids.append(
            [
                [s[0] for s in epoch_of(load())]
                for load in (data.train_dataloader, data.val_dataloader)
            ]
        )
    assert [len(train_ids) for train_ids, _ in ids] == [6, 6]
    assert set(ids[0][0]) | set(ids[1][0]) == set(range(11))
    assert [val_ids for _, val_ids in ids] == [[0, 2, 4], [1, 3, 0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"workers": -1}, "workers is -1; expected at least 0"),
    ],
)
def test_impossible_settings_are_refused(train, val, options, message):
    with pytest.raises(ValueError, match=message):
        module(train, val, **options)


def test_splits_with_other_classes_are_refused(train, val, write_coco):
    other = write_coco("other", count=1, classes=("dog", "cat"))
    message = r"other.json has the classes 'dog', 'cat', but .*train.json has 'cat', 'dog'"
    with pytest.raises(ValueError, match=message):
        module(train, other)
    with pytest.raises(ValueError, match=message):
        module(train, val, test=other)


def test_a_training_split_without_boxes_is_refused(val, write_coco):
    empty = write_coco("empty", count=2, boxes=False)
    with pytest.raises(ValueError, match=r"empty.json: no boxes in 2 images to learn from"):
        module(empty, val)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_without_boxes_cannot_be_scored_and_is_refused(train, val, write_coco, split):
    empty = write_coco("empty", count=2, boxes=False)
    splits = {"val": val, "test": val, split: empty}
    with pytest.raises(ValueError, match=r"empty.json: no boxes in 2 images to "):
        module(train, splits["val"], test=splits["test"])


def test_a_test_without_a_test_split_is_refused(train, val):
    with pytest.raises(ValueError, match="there is no test split; give test"):
        module(train, val).test_dataloader()
