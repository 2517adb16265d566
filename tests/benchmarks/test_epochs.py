"""Both sides of a whole epoch see the same images, boxes and masks."""

import numpy as np
import pytest
import torch

from benchmarks.speed.epoch_detection import BATCH, CocoImages, GroupedBatches
from benchmarks.speed.epoch_segmentation import SmpImages
from benchmarks.speed.epochs import check_counts
from tasks.detection.data.dataset import DetectionDataset
from tasks.detection.data.layouts.coco import read_coco
from tasks.detection.data.layouts.sample import write_sample
from tasks.segmentation.data.cases import CaseSet
from tasks.segmentation.data.layouts.folder import folder_cases
from tasks.segmentation.data.layouts.sample import write_sample as write_pictures
from tasks.segmentation.data.store import load_case
from tasks.segmentation.options import InputOptions


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("epochs") / "data"
    return write_sample(folder, images={"train": 17, "val": 2, "test": 1}, size=64)


@pytest.mark.parametrize("flip", [0, 1])
def test_both_detectors_see_the_same_images_boxes_and_labels(root, flip):
    """One image of the 17 is empty; category ids have gaps."""
    theirs = CocoImages(root, "train", flip=flip)
    ours = DetectionDataset(read_coco(root / "annotations/instances_train.json", root / "images"))
    assert len(theirs) == len(ours) == 17
    empty = 0
    for (image, target), (pixels, truth) in zip(theirs, ours, strict=True):
        expected, boxes = pixels.float() / 255, truth["boxes"]
        if flip:
            expected = expected.flip(-1)
            left, right = (pixels.shape[-1] - boxes[:, column] for column in (2, 0))
            boxes = torch.stack([left, boxes[:, 1], right, boxes[:, 3]], dim=1)
        torch.testing.assert_close(image, expected)
        torch.testing.assert_close(target["boxes"], boxes)
        assert target["labels"].tolist() == truth["labels"].tolist()
        assert target["image_id"] == truth["image_id"]
        empty += not len(boxes)
    assert empty == 1


def test_a_batch_of_torchvisions_has_one_aspect_ratio_and_the_rest_of_the_images_is_left_out(root):
    sampler = GroupedBatches(CocoImages(root, "train", flip=0))
    batches = list(sampler)
    assert [len(batch) for batch in batches] == [BATCH] * 4
    assert all(len({sampler.groups[index] for index in batch}) == 1 for batch in batches)


def test_both_segmenters_see_the_same_images_and_masks(tmp_path):
    root = write_pictures(tmp_path / "data", images={"train": 3}, size=64)
    split: CaseSet = folder_cases(root=root)
    for case, (image, labels) in zip(split.cases, SmpImages(split, []), strict=True):
        ours = load_case(case, split, InputOptions(patch=(64, 64)))
        assert np.array_equal(labels, ours.labels[0])
        assert all(np.array_equal(channel, ours.image[0, 0]) for channel in image)
        assert len(np.unique(labels)) > 1


def test_epochs_that_differ_by_a_batch_are_not_compared():
    check_counts(4, 204, 205)
    with pytest.raises(RuntimeError, match=r"\(200, 204\) images; expected the same number"):
        check_counts(4, 200, 204)
