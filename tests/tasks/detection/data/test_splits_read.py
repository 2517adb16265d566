"""The data group of the configuration, whose images are all read in one way."""

import numpy as np
import pytest
import tifffile
from omegaconf import OmegaConf

from tasks.detection.data.images import Reading
from tasks.detection.data.splits import read_splits
from tests.backbones.errors import refuses
from tests.tasks.detection.conftest import coco_file


@pytest.fixture
def read(tmp_path):
    """Read a split each to learn from and to choose with, of 12 bits in 16; the last has most."""
    for side, top in (("train", 1000), ("val", 4000)):
        boxes = {f"{side}.tif": [(1, 2, 3, 10, 8)]}
        coco_file(tmp_path, f"{side}.json", boxes, classes=["x"], sizes=[(30, 20)])
        deep = np.linspace(0, top, 20 * 30).reshape(20, 30).astype(np.uint16)
        tifffile.imwrite(tmp_path / "images" / f"{side}.tif", deep)
    node = {"_target_": "tasks.detection.data.layouts.coco.coco_parts", "root": str(tmp_path)}
    node |= {"train": "train.json", "val": "val.json"}
    return lambda **options: read_splits(OmegaConf.create(node | options), policy="error")


def test_all_splits_are_read_in_one_way_that_the_banner_shows(read):
    splits = read()
    assert splits.train.reading == splits.val.reading == Reading(range=(0, 4095))
    assert splits.images.startswith("2 decoded in ")
    assert "2 of uint16: 0 to 4095 becomes 0 to 255" in splits.images


def test_what_is_given_rules(read):
    splits = read(range=[100, 900], exif="ignore")
    assert splits.train.reading == Reading(exif="ignore", range=(100, 900), clipped=True)
    assert "100 to 900 becomes 0 to 255, what is outside is cut off (data.range)" in splits.images
    assert splits.digests() != read().digests()
    for options, message in (
        ({"range": [1]}, r"data.range takes .*got \[1\]"),
        ({"range": 255}, "data.range takes .*got 255"),
        ({"exif": "aply"}, "unknown data.exif 'aply'"),
    ):
        with refuses(message):
            read(**options)
