"""A detector's ONNX file against the detector itself, with options that few runs have."""

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from backbones import BackboneOptions, Conventions
from tasks.common.export.comparing import box_iou, compare_detections, generated
from tasks.detection.export import ExportedDetector
from tasks.detection.scores.trained import load_detector
from tests.backbones.networks import trained_looking
from tests.tasks.common.fakes import save
from tests.tasks.detection.conftest import CARD, SMALL
from tests.tasks.exported import onnx_of

pytestmark = pytest.mark.usefixtures("_tiny")

SIZES = ((64, 64), (51, 90))
ACROSS = {"class_agnostic_nms": True}
ROWS = {
    "v2": {"head": "v2", "fpn_norm": "batch"},
    "gray": {"channels": 1},
    "across classes": ACROSS,
    "of each class": {},
}
ALL = {"head": "v2", "fpn_norm": "batch", "channels": 1} | ACROSS
SLOW = [
    pytest.param(place, options, id=f"{name}, {place}", marks=pytest.mark.slow)
    for place in ("inside", "outside")
    for name, options in ROWS.items()
]


def exportable(folder, *, channels=3, **options):
    """A detector of cats and dogs with random weights, which finds much."""
    card = replace(
        CARD,
        options=replace(SMALL, proposals=60, detections_per_image=60, **options),
        backbone_options=BackboneOptions(in_channels=channels, norm="batch"),
        conventions=Conventions(mean=(0.4,) * channels, std=(0.3,) * channels),
    )
    network = trained_looking(card.build())
    nn.init.normal_(network.roi_heads.box_predictor.cls_score.weight, std=0.5)
    path = save(folder / "a.ckpt", card, network)
    return ExportedDetector(load_detector(path, device="cpu", precision="32"), checkpoint=path)


@pytest.mark.parametrize(
    ("place", "options"), [pytest.param("inside", ALL, id="all, inside"), *SLOW]
)
def test_the_file_finds_what_the_detector_finds(place, options, tmp_path):
    subject = exportable(tmp_path, **options)
    model = onnx_of(subject, tmp_path, place=place)
    images = generated(SIZES, channels=subject.card.in_channels)
    pairs = [(subject.eager(image), model.detect(image)) for image in images]
    agreement = compare_detections(pairs, threshold=0.0, most=60)
    assert agreement.faults == ()
    assert agreement.figures["matched"] > 20
    for _, found in pairs:
        assert set(found.labels.tolist()) == {1, 2}
        overlaps = np.triu(box_iou(found.boxes, found.boxes), 1)
        alike = found.labels[:, None] == found.labels
        assert overlaps[alike].max() <= 0.5 + 1e-6
        assert (overlaps[~alike].max() > 0.5) != options.get("class_agnostic_nms", False)


@pytest.mark.parametrize("across", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_an_image_without_detections_has_none_in_the_file(across, tmp_path):
    subject = exportable(tmp_path, class_agnostic_nms=across)
    images = [*generated(SIZES, channels=3), np.zeros((40, 50, 3), np.uint8)]
    highest = [float(subject.eager(image).scores.max()) for image in images]
    order = np.argsort(highest)
    subject.network.roi_heads.score_thresh = (highest[order[0]] + highest[order[1]]) / 2
    model = onnx_of(subject, tmp_path, place="inside")
    for n in order:
        found, expected = model.detect(images[n]), subject.eager(images[n])
        assert (len(found.scores) == 0) == (n == order[0])
        assert [part.shape for part in found] == [part.shape for part in expected]
        assert [part.dtype for part in found] == [np.float32, np.int64, np.float32]
        assert np.allclose(found.scores, expected.scores, atol=1e-4)
