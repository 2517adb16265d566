"""What the banner shows of the data set."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from tasks.detection.banner import facts
from tasks.detection.data.layouts.sample import write_sample
from tests.backbones.errors import refuses
from tests.tasks.detection.conftest import assembled


@pytest.fixture
def parts(tmp_path):
    """Give a function that returns the parts of a run on 8, 2 and 1 images."""
    root = write_sample(tmp_path / "data", images={"train": 8, "val": 2, "test": 1}, size=64)
    return lambda *overrides: assembled(root, *overrides)


def test_a_split_that_is_drawn_is_shown_with_its_seed(parts):
    shown = facts(parts("data.val=null", "data.seed=7"))
    drawn = "train, val, test are drawn from 8 images by data.seed=7, stratified by class"
    assert shown["split"] == drawn
    counts = [shown[side].split(",")[0] for side in ("train", "val", "test")]
    assert counts == ["6 images", "1 images", "1 images"]
    divided = "data.val=null", "data.test=annotations/instances_test.json"
    groups = r"data.group='(t\w+_\d+)'", "data.fractions=[0.5,0.5,0]"
    split = facts(parts(*divided, *groups))["split"]
    assert split.startswith("train, val are drawn from 8 images by data.seed=0")
    assert split.endswith(r", by groups (data.group=(t\w+_\d+))")
    assert "split" not in facts(parts())  # the data set's own splits


def test_an_image_too_narrow_for_the_detector_is_refused(parts, tmp_path):
    file = tmp_path / "data" / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    content["images"][0] |= {"width": 900, "height": 2}
    others = [
        one for one in content["annotations"] if one["image_id"] != content["images"][0]["id"]
    ]
    content["annotations"] = others
    Image.new("RGB", (900, 2)).save(tmp_path / "data/images" / content["images"][0]["file_name"])
    file.write_text(json.dumps(content))
    with refuses(r"1 of 2 images cannot be used: val_0000\.png is 900x2 pixels, too narrow to be"):
        parts()


def test_images_with_more_boxes_than_the_detector_returns_are_warned_of(parts):
    found = parts("model.detections_per_image=1")
    for count, warned in ((1, {"train", "val"}), (100, set())):
        card = found.module.card
        options = replace(card.options, detections_per_image=count)
        found.module.card = replace(card, options=options)
        warnings = [text for name, text in facts(found).items() if "warning" in name]
        raised = [text for text in warnings if "set model.detections_per_image=" in text]
        assert {text.partition(":")[0] for text in raised} >= warned
        assert bool(raised) == bool(warned)
