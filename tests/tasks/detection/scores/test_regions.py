"""Region features against the detector's own parts, called by hand, and a loop over boxes."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.ops import box_iou

from backbones.errors import UserError
from tasks.common.predict.predict import PredictOptions
from tasks.detection import Regions, read_regions
from tasks.detection.model.card import DetectorCard
from tasks.detection.model.faster_rcnn import build_detector
from tasks.detection.options import DetectorOptions
from tasks.detection.scores.predict import find_images, predict_files
from tasks.detection.scores.regions import RegionOptions, detect_regions, write_regions
from tasks.detection.scores.trained import TrainedDetector
from tests.backbones.errors import refuses
from tests.backbones.networks import short
from tests.tasks.detection.conftest import CARD

SMALL = {"features": ("c3", "c4"), "anchor_sizes": (16, 32, 64), "fpn_channels": 8}
SMALL |= {"min_size": 64, "max_size": 96, "proposals": 60}
ALL = RegionOptions(least=1, most=1000, threshold=0.0)


def model_of(precision="32", **options):
    """A detector of cats and dogs with random weights, of which some boxes overlap."""
    options = DetectorOptions(**SMALL, **options)
    body = short("resnet18", out_features=options.features)
    detector = build_detector(body, num_classes=2, options=options).eval()
    nn.init.normal_(detector.roi_heads.box_predictor.cls_score.weight, std=0.2)
    card = DetectorCard(**{**vars(CARD), "options": options})
    return TrainedDetector(network=detector, card=card, precision=precision)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


@torch.no_grad()
def by_hand(network, image, boxes):
    """Return fc7 and the probabilities of boxes of an image, from the detector's own parts."""
    tensor = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    images, _ = network.transform([tensor])
    height, width = images.image_sizes[0]
    scale = torch.tensor([width / image.shape[1], height / image.shape[0]] * 2)
    heads = network.roi_heads
    levels = network.backbone(images.tensors)
    pooled = heads.box_roi_pool(levels, [torch.from_numpy(boxes) * scale], images.image_sizes)
    features = heads.box_head(pooled)
    return features, heads.box_predictor(features)[0].softmax(1)


@torch.no_grad()
def proposals(network, image):
    tensor = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    images, _ = network.transform([tensor])
    (boxes,), _ = network.rpn(images, network.backbone(images.tensors))
    height, width = images.image_sizes[0]
    return boxes * torch.tensor([image.shape[1] / width, image.shape[0] / height] * 2)


@pytest.mark.parametrize("options", [{}, {"head": "v2", "head_width": 64}], ids=["v1", "v2"])
def test_features_and_probabilities_are_those_of_the_detectors_own_parts(image, options):
    model = model_of(**options)
    found, regions = detect_regions(model, image, options=ALL)
    width = options.get("head_width", 1024)
    assert (regions.features.shape, regions.probabilities.shape) == (
        (len(regions), width),
        (len(regions), 3),
    )
    features, probabilities = by_hand(model.network, image, regions.boxes)
    close = {"rtol": 1e-3, "atol": 1e-4}  # the boxes were scaled back and forth
    torch.testing.assert_close(torch.from_numpy(regions.features), features, **close)
    torch.testing.assert_close(torch.from_numpy(regions.probabilities), probabilities, **close)
    (alone,) = model.detect([image])
    assert np.array_equal(found.boxes, alone.boxes)
    assert np.array_equal(found.scores, alone.scores)
    assert not model.network.roi_heads.box_predictor._forward_hooks


def kept(boxes, probabilities, options):
    """Bottom-up attention's rule as a loop: a region's best class in which it is not suppressed."""
    scores, overlaps = np.zeros(len(boxes)), box_iou(boxes, boxes).numpy()
    for label in range(1, probabilities.shape[1]):
        own, survivors = probabilities[:, label], []
        for index in np.argsort(-own):
            if all(overlaps[index, other] <= 0.5 for other in survivors):
                survivors.append(index)
                scores[index] = max(scores[index], own[index])
    order = [i for i in np.argsort(-scores) if scores[i] > 0]
    certain = sum(scores >= options.threshold)
    return scores, order[: min(max(certain, options.least), options.most)]


@pytest.mark.parametrize(
    "options",
    [
        *(ALL, RegionOptions(least=2, most=5, threshold=0), RegionOptions(least=3, threshold=1)),
        RegionOptions(least=1, threshold=0.4),
    ],
)
def test_regions_are_chosen_as_in_bottom_up_attention(image, options):
    model = model_of()
    boxes = proposals(model.network, image)
    _, probabilities = by_hand(model.network, image, boxes.numpy())
    _, regions = detect_regions(model, image, options=options)
    scores, order = kept(boxes, probabilities.numpy(), options)
    assert 0 < len(order) < len(boxes)
    np.testing.assert_allclose(regions.boxes, boxes[order], atol=1e-3)
    np.testing.assert_allclose(regions.scores, scores[order], atol=1e-4)
    rows = np.arange(len(regions))
    np.testing.assert_array_equal(regions.scores, regions.probabilities[rows, regions.labels])


def test_the_spatial_vector_is_vilberts(image):
    _, regions = detect_regions(model_of(), image, options=ALL)
    assert (regions.height, regions.width, regions.classes) == (40, 60, ("cat", "dog"))
    for box, vector in zip(regions.boxes, regions.spatial, strict=True):
        x1, y1, x2, y2 = box
        assert 0 <= x1 < x2 <= 60
        assert 0 <= y1 < y2 <= 40
        share = (x2 - x1) * (y2 - y1) / (40 * 60)
        np.testing.assert_allclose(vector, [x1 / 60, y1 / 40, x2 / 60, y2 / 40, share], rtol=1e-4)


class CoAttention(nn.Module):
    """Words that attend to regions: fc7 and the spatial vector, each projected and added."""

    def __init__(self, features, size=16):
        super().__init__()
        self.feature, self.place = nn.Linear(features, size), nn.Linear(5, size)
        self.attention = nn.MultiheadAttention(size, 2, batch_first=True)

    def forward(self, words, features, spatial):
        keys = self.feature(features) + self.place(spatial)
        return self.attention(words, keys, keys)[0]


def test_a_cross_attention_reads_the_file_as_it_reads_the_detector(image, tmp_path):
    model = model_of()
    _, regions = detect_regions(model, image, options=RegionOptions(least=6, most=6))
    write_regions(tmp_path / "a.npz", regions)
    read = read_regions(tmp_path / "a.npz")
    network, words = CoAttention(1024).eval(), torch.randn(1, 4, 16)
    features, _ = by_hand(model.network, image, regions.boxes)
    x1, y1, x2, y2 = (torch.from_numpy(regions.boxes) / torch.tensor([60.0, 40, 60, 40])).unbind(1)
    place = torch.stack([x1, y1, x2, y2, (x2 - x1) * (y2 - y1)], dim=1)
    expected = network(words, features[None], place[None])
    found = network(
        words, torch.from_numpy(read.features)[None], torch.from_numpy(read.spatial)[None]
    )
    assert found.shape == (1, 4, 16)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_file_is_the_regions_and_no_pickle(image, tmp_path):
    _, regions = detect_regions(model_of("bf16"), image, options=ALL, image_name="a/b.png")
    write_regions(tmp_path / "a.npz", regions)
    read = read_regions(str(tmp_path / "a.npz"))
    assert isinstance(read, Regions)
    assert vars(read).keys() == vars(regions).keys()
    for name, value in vars(regions).items():
        assert np.array_equal(getattr(read, name), value)
        assert type(getattr(read, name)) is type(value)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as content:
        kinds = {name: (content[name].dtype.kind, content[name].dtype.itemsize) for name in content}
        assert content["image_size"].tolist() == [40, 60]
    rows = ("boxes", "features", "probabilities", "scores", "spatial")
    assert [kinds[name] for name in rows] == [("f", 4)] * 5
    assert kinds["labels"] == kinds["image_size"] == ("i", 8)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_rotated_and_flat_files_have_the_regions_of_the_upright_image(image, tmp_path):
    rotated = Image.fromarray(image)
    exif = rotated.getexif()
    exif[274] = 6  # the upright image is the stored one turned by 90 degrees to the right
    rotated.save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.rot90(image, -1)).save(tmp_path / "upright.png")
    model = model_of()
    reading = type(CARD.reading)(exif="apply")
    model = TrainedDetector(
        network=model.network, card=DetectorCard(**{**vars(model.card), "reading": reading})
    )
    files, out = find_images([tmp_path], output=tmp_path / "out"), tmp_path / "out"
    options = PredictOptions(output=out)
    list(predict_files(model, files, options, threshold=0.5, regions=RegionOptions()))
    turned, upright = (read_regions(out / "regions" / f"{n}.npz") for n in ("turned", "upright"))
    assert (turned.image, turned.height, turned.width) == ("turned.png", 60, 40)
    for name in ("boxes", "features", "probabilities", "spatial"):
        assert np.array_equal(getattr(turned, name), getattr(upright, name))
    assert 10 <= len(turned) <= 100


def array_of_objects(path):
    with zipfile.ZipFile(path, "w") as archive, archive.open("boxes.npy", "w") as file:
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def another_layout(path):
    np.savez(path, layout=np.array(9), regions=np.zeros(3))


def a_row_too_few(path):
    width = {"boxes": 4, "features": 8, "probabilities": 3, "spatial": 5}
    arrays = {name: np.zeros((2, columns)) for name, columns in width.items()}
    arrays |= {"labels": np.ones(2), "scores": np.ones(1), "classes": np.array(["cat", "dog"])}
    np.savez(path, **arrays, image=np.array("x"), image_size=np.array([1, 2]), layout=np.array(1))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (array_of_objects, "is damaged, or no file of regions; write it with predict.py --regions"),
        (lambda path: path.write_bytes(b"PK\x03\x04"), "is damaged, or no file of regions"),
        (lambda path: np.savez(path, boxes=np.zeros((1, 4))), "is damaged, or no file of regions"),
        (a_row_too_few, "is damaged, or no file of regions"),
        (another_layout, "has layout 9, and this version of Keel reads 1"),
    ],
)
def test_another_file_is_refused(tmp_path, write, message):
    write(tmp_path / "a.npz")
    with refuses(f"a.npz {message}"):
        read_regions(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match="file of regions"):
        read_regions(tmp_path / "b.npz")


def two_regions():
    """The arrays of a file."""
    random = np.random.default_rng(0)
    width = {"boxes": 4, "features": 8, "probabilities": 3, "spatial": 5}
    rows = {name: random.random((2, columns), np.float32) for name, columns in width.items()}
    rows |= {"scores": np.array([0.9, 0.5], np.float32), "labels": np.array([2, 1])}
    regions = Regions(**rows, classes=("cat", "dog"), image="a.png", height=40, width=60)
    return regions.to_arrays()


def test_damage_anywhere_is_found(tmp_path):
    path, arrays = tmp_path / "a.npz", two_regions()
    np.savez_compressed(path, **arrays)
    whole, refused = path.read_bytes(), 0
    places = range(0, len(whole), 19)
    for place in places:
        for change in (0xFF, 0x09):  # 9 turns deflated members into a kind that is not supported
            path.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
            try:
                found = read_regions(path).to_arrays()
            except UserError:
                refused += 1
            else:  # a byte that nobody needs, such as a date
                assert all(np.array_equal(found[name], array) for name, array in arrays.items())
    assert refused > len(places)


OTHER = {
    "boxes": lambda boxes: boxes[:, :3],
    "spatial": lambda spatial: spatial[:, :4],
    "probabilities": lambda probabilities: probabilities[:, :2],
    "features": lambda features: features[..., None],
    "scores": lambda scores: scores.astype(np.float64),
    "labels": lambda labels: labels.astype(str),
    "classes": lambda classes: classes[0],
    "image_size": lambda size: np.append(size, 3),
    "image": lambda _: np.array(3),
}


@pytest.mark.parametrize("name", OTHER)
def test_an_array_of_another_width_or_type_is_refused(tmp_path, name):
    path, arrays = tmp_path / "a.npz", two_regions()
    np.savez(path, **arrays)
    assert len(read_regions(path)) == 2
    np.savez(path, **arrays | {name: OTHER[name](arrays[name])})
    with refuses("is damaged, or no file of regions"):
        read_regions(path)


def test_a_label_without_a_class_is_refused(tmp_path):
    for label in (0, 3):
        np.savez(tmp_path / "a.npz", **two_regions() | {"labels": np.array([1, label])})
        with refuses("is damaged, or no file of regions"):
            read_regions(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"least": 0}, "--min-regions takes 1 to --max-regions=100, got 0"),
        ({"least": 9, "most": 8}, "--min-regions takes 1 to --max-regions=8, got 9"),
        ({"threshold": 2.0}, "--region-threshold takes a score from 0 to 1, got 2.0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with refuses(message):
        RegionOptions(**options)
