"""Small data sets on disk, and pycocotools as the oracle of all scores of detection."""

import copy
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from backbones import BackboneOptions, Conventions
from backbones.registry import BUILDERS
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.recipe import Recipe
from tasks.detection.assemble import assemble
from tasks.detection.config import DETECTION
from tasks.detection.data.boxes import cleaned
from tasks.detection.data.layouts.coco import read_coco
from tasks.detection.data.raw_annotations import LabelledSet
from tasks.detection.model.build import new_detector
from tasks.detection.model.card import DetectorCard
from tasks.detection.module import DetectionModule
from tasks.detection.options import DetectorOptions
from tests.backbones.networks import tiny

SMALL = DetectorOptions(
    features=("c3", "c4"),
    fpn_channels=16,
    head_width=16,
    anchor_sizes=(16, 32, 64),
    min_size=64,
    max_size=96,
    rois_per_image=16,
    score_threshold=0.0,
)
CARD = DetectorCard(
    backbone="resnet18",
    backbone_options=BackboneOptions(),
    options=SMALL,
    classes=("cat", "dog"),
    category_ids=(3, 90),
    conventions=Conventions(mean=(0.0,) * 3, std=(1.0,) * 3),
    provenance="none",
)


@pytest.fixture(scope="module")
def _tiny():
    """Build a resnet18 of an eighth of the channels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUILDERS, "resnet18", tiny)
        yield


class Knows(nn.Module):
    """Finds the boxes of a split in its order, or what ``answer`` makes of a record."""

    def __init__(self, split, answer=lambda record: record.boxes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.records, self.answer = iter(split.images), answer

    def forward(self, images):
        answers = []
        for image in images:
            record = next(self.records)
            assert image.shape[1:] == (record.height, record.width)
            boxes = torch.from_numpy(self.answer(record))
            labels = torch.from_numpy(record.labels[: len(boxes)])
            answers.append({"boxes": boxes, "labels": labels, "scores": torch.ones(len(boxes))})
        return answers


def small_module(train, *, val=None, options=SMALL, freeze=0, recipe=None):
    """The training of a small detector with random weights, scored on ``val`` or on ``train``."""
    choice = BackboneChoice(name="resnet18", weights="random")
    network, card = new_detector(choice, options, data=train, norm="batch", freeze=freeze)
    recipe = recipe or Recipe(batch_size=2, lr=0.1, weight_decay=0.1, warmup=0)
    truths = dict.fromkeys(("val", "test"), (val or train).truth)
    return DetectionModule(network, recipe=recipe, card=card, settings={}, truths=truths)


def assembled(root, *overrides):
    """The parts of a run on the sample set in ``root``."""
    usual = ["backbone=resnet18", "backbone.weights=random", "data=coco", "model=small"]
    usual += [f"data.root={root}", "trainer.accelerator=cpu", "trainer.precision=32"]
    return assemble(DETECTION.compose([*usual, *overrides]))


@pytest.fixture
def save(tmp_path):
    def write(name, pixels, **options):
        mode = options.pop("mode", None)
        image = Image.fromarray(pixels)
        (image.convert(mode) if mode else image).save(tmp_path / name, **options)
        return tmp_path / name

    return write


def cleaned_set(images, *, folder="images", category_ids=(1, 2), ignored_reason=""):
    """What becomes of labelled images of cats and dogs in ``folder``."""
    about = {"classes": ["cat", "dog"], "category_ids": [*category_ids], "images": images}
    place = {"source": Path("instances.json"), "image_folder": Path(folder)}
    return cleaned(LabelledSet(**about, **place, ignored_reason=ignored_reason))


WIDTH, HEIGHT = 48, 32


def picture(width=WIDTH, height=HEIGHT):
    """Return red on the left and blue on the right, with a green upper edge."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = (250, 10, 20)
    pixels[:, width // 2 :] = (30, 20, 240)
    pixels[: height // 4] = (10, 200, 10)
    return pixels


def noise(width=WIDTH, height=HEIGHT):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


SIZES = [(40, 30), (30, 40), (32, 32)]


def coco_file(root, file, boxes, *, classes=("cat", "dog"), sizes=SIZES, first=1):
    """Write a COCO file and its images of noise, and return its path.

    ``boxes`` has those of each image by its name: (category id, x, y, width, height). The classes
    are numbered from ``first``, the images from 0.
    """
    images, annotations = [], []
    for n, (name, rows) in enumerate(boxes.items()):
        width, height = sizes[n % len(sizes)]
        rng, path = np.random.default_rng([*name.encode()]), root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(path)
        images.append({"id": n, "file_name": name, "height": height, "width": width})
        annotations += [{"image_id": n, "category_id": label, "bbox": box} for label, *box in rows]
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, first)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text(json.dumps(content))
    return root / file


def write_coco_below(root, name, *, count, classes=("cat", "dog"), boxes=True):
    """Write a COCO file of images of three shapes and read it; the box of image n is n+1 wide."""
    images = {f"{name}{n}.png": [(1, 0, 0, n + 1, 9)] * boxes for n in range(count)}
    file = coco_file(root, f"annotations/{name}.json", images, classes=classes)
    return read_coco(file, root / "images")


@pytest.fixture
def write_coco(tmp_path):
    """Write a COCO file with its images below ``tmp_path`` and read it."""
    return partial(write_coco_below, tmp_path)


def voc_object(name="cat", box=(1, 2, 10, 20), extra="", keys=("xmin", "ymin", "xmax", "ymax")):
    sides = "".join(f"<{key}>{side}</{key}>" for key, side in zip(keys, box, strict=True))
    # A part has a box of its own, as the people of VOC2012 have.
    part = "<part><name>head</name><bndbox><xmin>3</xmin></bndbox></part>"
    return f"<object><name>{name}</name>{extra}{part}<bndbox>{sides}</bndbox></object>"


def voc_document(*objects, width="200", height="100"):
    """A Pascal-VOC file of an image with these objects."""
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{size}{''.join(objects)}</annotation>"


def one_class(boxes, *, crowd=()):
    """The truth of one image and one class, boxes as xywh."""
    annotations = [
        {"id": i, "image_id": 5, "category_id": 3, "bbox": box, "iscrowd": int(box in crowd)}
        | {"area": box[2] * box[3]}
        for i, box in enumerate([*boxes, *crowd], start=1)
    ]
    categories = [{"id": 3, "name": "cell"}]
    return {"images": [{"id": 5}], "annotations": annotations, "categories": categories}


def coco_of(content):
    """pycocotools's view of a COCO dictionary."""
    coco = COCO()
    coco.dataset = copy.deepcopy(content)
    coco.createIndex()
    return coco


def by_pycocotools(truth, results, *, limit=100, category=None):
    """Return pycocotools's evaluation, of one category if given; `stats` only with its limit."""
    coco = coco_of(truth)
    evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), "bbox")
    evaluation.params.maxDets = [1, 10, limit]
    if category is not None:
        evaluation.params.catIds = [category]
    evaluation.evaluate()
    evaluation.accumulate()
    if limit == 100:  # with others it would take AP from a limit of 100
        evaluation.summarize()
    return evaluation
