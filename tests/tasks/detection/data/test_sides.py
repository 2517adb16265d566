"""Which images are too narrow, against torchvision's own resizing."""

import pytest
import torch
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from tasks.detection.data.sides import narrow_fault
from tasks.detection.options import DetectorOptions


@pytest.mark.parametrize(("short", "long"), [(800, 1333), (64, 96), (96, 96), (1, 7)])
def test_too_narrow_images_are_those_that_torchvision_cannot_resize(short, long):
    transform = GeneralizedRCNNTransform(short, long, [0.0] * 3, [1.0] * 3)
    options = DetectorOptions(min_size=short, max_size=long)

    def fails(height, width):
        try:
            transform.resize(torch.zeros(1, height, width))
        except RuntimeError:
            return True
        return False

    refused = 0
    for times in (1, 3, 49, 52):  # in float64 49 * (1 / 49) is less than 1
        for side in {1, 2, times - 1 or 1, times, times + 1}:
            for sides in ((side, times * long), (times * long, side)):
                fault = narrow_fault(*sides, options)
                assert bool(fault) == fails(*sides), sides
                if fault:
                    refused += 1
                    least = int(fault.rpartition(" ")[2])
                    assert not fails(least, max(sides))
                    assert fails(least - 1, max(sides))
    assert refused > 10
