"""Which images have more boxes than can be found, by hand."""

from dataclasses import replace

from tasks.detection.banner import facts
from tasks.detection.data.layouts.sample import write_sample
from tasks.detection.scores.limits import crowded, needed
from tests.tasks.detection.conftest import assembled


def truth(*counts, crowds=0):
    """Images with so many boxes of class 3, and as many of class 4; the first has the crowds."""
    annotations = [
        {"image_id": image, "category_id": category, "iscrowd": 0}
        for image, count in enumerate(counts)
        for category in (3, 4)
        for _ in range(count)
    ]
    annotations += [{"image_id": 0, "category_id": 3, "iscrowd": 1}] * crowds
    return {"images": [{"id": n} for n in range(len(counts))], "annotations": annotations}


def test_images_with_more_boxes_than_are_found_are_counted():
    warning = crowded(truth(4, 5, 6, 9), found=10, remedy="model.detections_per_image=")
    assert warning == (
        "2 of 4 images have more boxes (up to 18) than the 10 that are found in an image at most, "
        "so their recall cannot reach 1; set model.detections_per_image=18"
    )


def test_crowd_regions_need_not_be_found():
    assert crowded(truth(5, crowds=9), found=10, remedy="") == ""
    assert crowded(truth(), found=10, remedy="") == ""
    assert needed(truth(100, crowds=50)) == 100


def test_what_has_to_count_is_the_most_of_one_class_or_cocos_hundred():
    assert needed(truth(60)) == 100  # 120 in all
    assert needed(truth(7, 150)) == 150


def test_the_banner_warns_of_images_with_more_boxes_than_the_detector_returns(tmp_path):
    root = write_sample(tmp_path / "data", images={"train": 3, "val": 3, "test": 1}, size=64)
    parts = assembled(root, "model.detections_per_image=1", "trainer.threads=1")
    for count, warned in ((1, {"train", "val"}), (100, set())):
        card = parts.module.card
        options = replace(card.options, detections_per_image=count)
        parts.module.card = replace(card, options=options)
        warnings = [text for name, text in facts(parts).items() if "warning" in name]
        found = [text for text in warnings if "set model.detections_per_image=" in text]
        assert {text.partition(":")[0] for text in found} >= warned
        assert bool(found) == bool(warned)
