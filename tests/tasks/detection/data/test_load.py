"""The data group of the configuration, whose images are all read in one way."""

import json

import numpy as np
import pytest
import tifffile
from omegaconf import OmegaConf

from tasks.detection.data.images import Reading
from tasks.detection.data.load import read_splits


@pytest.fixture
def root(tmp_path):
    """A split each to learn from and to choose with, of 12 bits in 16; the last has most."""
    for side, top in (("train", 1000), ("val", 4000)):
        deep = np.linspace(0, top, 20 * 30).reshape(20, 30).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{side}.tif", deep)
        image = {"id": 1, "file_name": f"{side}.tif", "width": 30, "height": 20}
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 10, 8]}
        content = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "x"}]}
        (tmp_path / f"{side}.json").write_text(json.dumps(content))
    return tmp_path


def read(root, **options):
    files = {"train": "train.json", "val": "val.json", "train_images": "."}
    node = {"_target_": "tasks.detection.data.layouts.coco.coco_parts", "root": str(root), **files}
    return read_splits(OmegaConf.create(node | options), policy="error")


def test_all_splits_are_read_in_one_way_that_the_banner_shows(root):
    splits = read(root)
    assert splits.train.reading == splits.val.reading == Reading(range=(0, 4095))
    assert splits.images.startswith("2 decoded in ")
    assert "2 of uint16: 0 to 4095 becomes 0 to 255" in splits.images


def test_what_is_given_rules(root):
    splits = read(root, range=[100, 900], exif="ignore")
    assert splits.train.reading == Reading(exif="ignore", range=(100, 900), clipped=True)
    assert "100 to 900 becomes 0 to 255, what is outside is cut off (data.range)" in splits.images
    assert splits.digests() != read(root).digests()
    for options, message in (
        ({"range": [1]}, r"data.range takes .*got \[1\]"),
        ({"range": 255}, "data.range takes .*got 255"),
        ({"exif": "aply"}, "unknown data.exif 'aply'"),
    ):
        with pytest.raises(ValueError, match=message):
            read(root, **options)
