"""Small data sets on disk, and pycocotools as the oracle of all scores of detection."""

import contextlib
import copy
import io
import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from backbones import BackboneOptions, Conventions
from tasks.detection.assemble import assemble
from tasks.detection.config import DETECTION
from tasks.detection.data.layouts.coco import read_coco
from tasks.detection.model.card import DetectorCard
from tasks.detection.options import DetectorOptions

CARD = DetectorCard(
    backbone="resnet18",
    backbone_options=BackboneOptions(),
    options=DetectorOptions(),
    classes=("cat", "dog"),
    category_ids=(3, 90),
    conventions=Conventions(mean=(0.0,) * 3, std=(1.0,) * 3),
    provenance="none",
)


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


def assembled(root, *overrides):
    """The parts of a run on the sample set in ``root``."""
    usual = ["backbone=resnet18", "backbone.weights=random", "data=coco", "model=small"]
    usual += [f"data.root={root}", "trainer.accelerator=cpu", "trainer.precision=32"]
    return assemble(DETECTION.compose([*usual, *overrides]))


@pytest.fixture
def save(tmp_path):
    """Write an image by Pillow and return its path."""

    def write(name, pixels, **options):
        mode = options.pop("mode", None)
        image = Image.fromarray(pixels)
        (image.convert(mode) if mode else image).save(tmp_path / name, **options)
        return tmp_path / name

    return write


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


@pytest.fixture
def write_coco(tmp_path):
    """Write a COCO file with its images below ``tmp_path`` and read it."""
    return partial(write_coco_below, tmp_path)


def write_coco_below(root, name, *, count, classes=("cat", "dog"), boxes=True):
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


def evaluated(truth, results, *, limit=100, category=None):
    """Return pycocotools's evaluation, of one category if given; `stats` only with its limit."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), "bbox")
        evaluation.params.maxDets = [1, 10, limit]
        if category is not None:
            evaluation.params.catIds = [category]
        evaluation.evaluate()
        evaluation.accumulate()
        if limit == 100:  # with others it would take AP from a limit of 100
            evaluation.summarize()
    return evaluation


@pytest.fixture(scope="session")
def by_pycocotools():
    """Give the function that evaluates results in COCO's format."""
    return evaluated
