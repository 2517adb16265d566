"""A segmenter's ONNX file against the segmenter itself, for every kind of input."""

import numpy as np
import pytest
from torch import nn

from backbones import BackboneOptions, Conventions
from backbones.registry import BUILDERS
from tasks.segmentation.data.cases import ClassTable, class_table
from tasks.segmentation.export import ExportedSegmenter
from tasks.segmentation.model.card import SegmenterCard
from tasks.segmentation.options import InputOptions, UNetOptions
from tasks.segmentation.scores.trained import load_segmenter
from tests.backbones.errors import refuses
from tests.backbones.networks import tiny, trained_looking
from tests.tasks.common.fakes import save
from tests.tasks.exported import onnx_of

TWO = class_table({0: "background", 7: "cell", 9: "nucleus"})
REGIONS = ClassTable(names=("whole", "core"), values=((1, 2), (2,)), exclusive=False)
RANDOM = np.random.default_rng(0)


def numbers(shape, kind, low=0, high=None):
    high = np.iinfo(kind).max if high is None else high
    return RANDOM.integers(low, high, shape).astype(kind)


CT = {"normalisation": "window", "window": (-160.0, 240.0)}
ALL = {"normalisation": "percentile", "neighbours": 1, "flips": True, "classes": REGIONS}
PAIR = np.stack([numbers((50, 70), np.int16, -900), np.full((50, 70), 7, np.int16)], axis=-1)
FLAT = numbers((50, 70, 3), np.uint8)
ROWS = {  # the options, an image, and where it is prepared
    "all": (ALL, numbers((3, 40, 50, 1), np.uint16), "outside"),
    "flips": ({"flips": True, "channels": 3}, FLAT, "inside"),
    "neighbours": ({"neighbours": 2}, numbers((4, 32, 32, 2), np.uint8), "outside"),
    "zscore": ({"normalisation": "zscore"}, PAIR, "outside"),  # one channel is constant
    "percentile": ({"normalisation": "percentile"}, numbers((50, 70, 1), np.uint16), "outside"),
    "window": (CT, numbers((3, 50, 40, 1), np.int16, -1000, 1000), "outside"),
    "deep": ({"dtypes": ("uint16",)}, numbers((50, 70, 1), np.uint16), "outside"),
    "shares": ({"dtypes": ("float32",)}, RANDOM.random((50, 70, 1), np.float32), "outside"),
    "regions": ({"classes": REGIONS}, FLAT, "inside"),
    "outside": ({}, FLAT, "outside"),
}
QUICK = ("all", "outside")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(BUILDERS, "resnet18", tiny)


def exportable(folder, *, channels=1, classes=TWO, dtypes=(), **inputs):
    """A segmenter with random weights."""
    inputs = InputOptions(**{"patch": (32, 32), "normalisation": "imagenet"} | inputs)
    seen = channels * (2 * inputs.neighbours + 1)
    card = SegmenterCard(
        backbone="resnet18",
        backbone_options=BackboneOptions(norm="batch", in_channels=seen),
        channels=channels,
        options=UNetOptions(norm="batch", channels=(8,) * 5),
        classes=classes,
        input=inputs,
        axis=-1,
        conventions=Conventions(mean=(0.4,) * seen, std=(0.3,) * seen),
        provenance="made",
        dtypes=dtypes,
    )
    network = trained_looking(card.build())
    nn.init.normal_(network.segmentation_head[0].weight)  # every class is somewhere the largest
    path = save(folder / "a.ckpt", card, network)
    return ExportedSegmenter(load_segmenter(path, device="cpu"), checkpoint=path)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in ROWS]
)
def test_the_file_finds_what_the_segmenter_finds(name, tmp_path):
    options, image, place = ROWS[name]
    subject = exportable(tmp_path, **{"channels": image.shape[-1]} | options)
    assert subject.place(None if name != "outside" else "outside") == place
    model = onnx_of(subject, tmp_path, place=place)
    mask, shares = subject.eager(image)
    assert np.unique(mask).size > 1
    assert (model.segment(image) != mask).mean() < 1e-3
    assert np.allclose(model.probabilities(image), shares, atol=1e-4)


def test_images_of_other_types_are_prepared_outside_by_what_the_checkpoint_says(tmp_path):
    assert exportable(tmp_path).place(None) == "inside"
    with refuses("--preprocessing inside: images have numbers of type int16, which is no part of"):
        exportable(tmp_path, dtypes=("int16",)).place("inside")
