"""Which images have more boxes than can be found, by hand."""

from tasks.detection.scores.metrics import crowded, needed


def truth(*counts, crowds=0):
    """Images with so many boxes of class 3, and as many of class 4; the first has the crowds."""
    annotations = []
    for image, count in enumerate(counts):
        for category in (3, 4):
            annotations += [{"image_id": image, "category_id": category, "iscrowd": 0}] * count
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
