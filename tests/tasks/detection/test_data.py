import json
from pathlib import Path

import cv2
import lightning
import numpy as np
import pytest
import torch
from PIL import Image

from tasks.detection.coco import read_coco
from tasks.detection.data import DetectionDataModule, Splits, coco_splits, voc_splits
from tasks.detection.transforms import train_transform

SIZES = [(40, 30), (30, 40), (32, 32)]


def write_coco(root, name, *, count, classes=("cat", "dog"), boxes=True):
    """Write a COCO file and its images, of three shapes; the box of image n is n+1 wide."""
    (root / "images").mkdir(exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    images, annotations = [], []
    for number in range(count):
        width, height = SIZES[number % 3]
        pixels = np.random.default_rng(number).integers(0, 255, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{name}{number}.png")
        images.append(
            {"id": number, "file_name": f"{name}{number}.png", "height": height, "width": width}
        )
        box = {"id": number, "image_id": number, "category_id": 1, "bbox": [0, 0, number + 1, 9]}
        annotations += [box] if boxes else []
    categories = [{"id": number, "name": text} for number, text in enumerate(classes, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    file = root / "annotations" / f"{name}.json"
    file.write_text(json.dumps(content))
    return read_coco(file, root / "images")


@pytest.fixture
def train(tmp_path):
    return write_coco(tmp_path, "train", count=11)


@pytest.fixture
def val(tmp_path):
    return write_coco(tmp_path, "val", count=5)


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
    data = module(train, val, test=train, transform=train_transform(flip=1.0))

    for loader, split in ((data.val_dataloader(), val), (data.test_dataloader(), train)):
        for epoch in (0, 1):
            samples = epoch_of(loader, epoch)
            assert [sample[0] for sample in samples] == list(range(len(split.images)))
            assert [sample[2] for sample in samples] == [r.boxes.tolist() for r in split.images]


def test_workers_change_no_sample_and_epochs_do(train, val):
    options = {"transform": train_transform(color_jitter=0.3, scale=(0.8, 1.2)), "seed": 3}
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
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        default_root_dir=tmp_path,
        **options,
    )
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
        ({"batch_size": 0}, "batch_size is 0 and workers 0; expected at least 1 and 0"),
        ({"workers": -1}, "batch_size is 4 and workers -1"),
    ],
)
def test_impossible_settings_are_refused(train, val, options, message):
    with pytest.raises(ValueError, match=message):
        module(train, val, **options)


def test_splits_with_other_classes_are_refused(train, val, tmp_path):
    other = write_coco(tmp_path, "other", count=1, classes=("dog", "cat"))

    message = r"other.json has the classes 'dog', 'cat', but .*train.json has 'cat', 'dog'"
    with pytest.raises(ValueError, match=message):
        module(train, other)
    with pytest.raises(ValueError, match=message):
        module(train, val, test=other)


def test_a_training_split_without_boxes_is_refused(val, tmp_path):
    empty = write_coco(tmp_path, "empty", count=2, boxes=False)

    with pytest.raises(ValueError, match=r"empty.json: no boxes in 2 images to learn from"):
        module(empty, val)


def test_a_test_without_a_test_split_is_refused(train, val):
    with pytest.raises(ValueError, match="there is no test split; give test"):
        module(train, val).test_dataloader()


def test_coco_splits_read_each_file_with_the_classes_of_training(tmp_path):
    write_coco(tmp_path, "train", count=4)
    write_coco(tmp_path, "val", count=3, classes=("dog", "cat"))

    splits = coco_splits(
        root=str(tmp_path), train="annotations/train.json", val="annotations/val.json"
    )

    assert (len(splits.train.images), len(splits.val.images), splits.test) == (4, 3, None)
    assert list(splits.val.classes) == ["cat", "dog"]
    assert splits.val.images[0].labels.tolist() == [2]  # category 1 is a dog there


def test_coco_splits_find_images_in_folders_of_their_own(tmp_path):
    for name in ("train", "val", "test"):
        write_coco(tmp_path, name, count=2)
        (tmp_path / "images").rename(tmp_path / f"{name}_images")
    files = {name: f"annotations/{name}.json" for name in ("train", "val", "test")}
    folders = {f"{name}_images": f"{name}_images" for name in ("train", "val", "test")}

    splits = coco_splits(root=tmp_path, **files, **folders, classes=["dog", "cat"])

    assert splits.test is not None
    for split, name in ((splits.train, "train"), (splits.val, "val"), (splits.test, "test")):
        assert split.images[0].path == tmp_path / f"{name}_images" / f"{name}0.png"
        assert list(split.classes) == ["dog", "cat"]


def test_coco_splits_with_other_classes_in_validation_are_refused(tmp_path):
    write_coco(tmp_path, "train", count=2)
    write_coco(tmp_path, "val", count=2, classes=("cat", "dgo"))

    with pytest.raises(ValueError, match=r"val.json: no category 'dog' \(nearest: 'dgo'\)"):
        coco_splits(root=tmp_path, train="annotations/train.json", val="annotations/val.json")
    with pytest.raises(FileNotFoundError, match=r"root .*does not exist"):
        coco_splits(root=tmp_path / "no", train="a.json", val="b.json")


def test_checked_splits_leave_out_damaged_images_everywhere(tmp_path):
    for name in ("train", "val", "test"):
        write_coco(tmp_path, name, count=3)
        (tmp_path / "images" / f"{name}1.png").write_bytes(b"")
    files = {name: f"annotations/{name}.json" for name in ("train", "val", "test")}
    splits = coco_splits(root=tmp_path, **files)

    kept = splits.checked("skip")

    for split in (kept.train, kept.val, kept.test):
        assert [record.image_id for record in split.images] == [0, 2]
    with pytest.raises(ValueError, match=r"train.json: 1 of 3 images .*train1.png cannot be read"):
        splits.checked("error")
    without = Splits(train=splits.train, val=splits.val, test=None)
    assert without.checked("skip").test is None


def write_voc(root, names, label="cat"):
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(exist_ok=True)
    box = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    for name in names:
        (root / "Annotations" / f"{name}.xml").write_text(
            "<annotation><size><width>20</width><height>10</height></size>"
            f"<object><name>{label}</name><bndbox>{box}</bndbox></object></annotation>"
        )
        (root / "JPEGImages" / f"{name}.jpg").touch()


def stems(split):
    return [record.path.stem for record in split.images]


def test_voc_splits_follow_the_image_sets(tmp_path):
    write_voc(tmp_path, "ad")
    write_voc(tmp_path, "bc", label="dog")
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in (("train", "a\nb"), ("val", "c"), ("test", "d")):
        (tmp_path / "ImageSets" / "Main" / f"{split}.txt").write_text(names)

    splits = voc_splits(root=str(tmp_path), fractions=(1.0, 0.0, 0.0))

    assert splits.test is not None
    assert [stems(part) for part in (splits.train, splits.val, splits.test)] == [
        ["a", "b"],
        ["c"],
        ["d"],
    ]
    assert list(splits.val.classes) == ["cat", "dog"]
    assert splits.val.images[0].labels.tolist() == [2]
    (tmp_path / "ImageSets" / "Main" / "val.txt").unlink()
    with pytest.raises(ValueError, match="names for 'train', 'test' only; expected train and val"):
        voc_splits(root=tmp_path)


def test_voc_splits_without_image_sets_are_drawn_by_the_seed(tmp_path):
    write_voc(tmp_path, [f"{n:02d}" for n in range(20)])

    splits = voc_splits(root=tmp_path, fractions=(0.8, 0.2, 0.0), seed=1)
    again = voc_splits(root=tmp_path, fractions=(0.8, 0.2, 0.0), seed=1)
    other = voc_splits(root=tmp_path, fractions=(0.8, 0.2, 0.0), seed=2)

    assert (len(splits.train.images), len(splits.val.images), splits.test) == (16, 4, None)
    assert not set(stems(splits.train)) & set(stems(splits.val))
    assert stems(again.val) == stems(splits.val) != stems(other.val)


def test_voc_splits_pass_their_options_on(tmp_path):
    write_voc(tmp_path, "abc")
    for old, new in (("Annotations", "xml"), ("JPEGImages", "images")):
        (tmp_path / old).rename(tmp_path / new)

    splits = voc_splits(
        root=tmp_path,
        annotations="xml",
        images="images",
        classes=["dog", "cat"],
        one_based=False,
    )

    assert splits.train.images[0].boxes.tolist() == [[1, 1, 9, 9]]
    assert splits.val.images[0].labels.tolist() == [2]


@pytest.mark.skipif(
    not (Path(__file__).parents[3] / ".." / "shared" / "data" / "bccd").is_dir(),
    reason="needs bccd in ../shared/data",
)
def test_bccd_is_read_split_by_split():
    splits = coco_splits(
        root=Path(__file__).parents[3] / ".." / "shared" / "data" / "bccd",
        train="annotations/instances_train.json",
        val="annotations/instances_val.json",
        test="annotations/instances_test.json",
    ).checked("error")

    # Counts as the data's README gives them.
    assert splits.test is not None
    parts = (splits.train, splits.val, splits.test)
    assert [len(part.images) for part in parts] == [205, 87, 72]
    assert [part.num_boxes for part in parts] == [2804, 1137, 945]
