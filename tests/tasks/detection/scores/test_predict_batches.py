"""A detector with random weights on images of several sizes, and on videos, in batches."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from tasks.common.files.input_files import SkippedError
from tasks.common.images.videos import Video
from tasks.common.predict.predict import PredictOptions
from tasks.detection import read_regions
from tasks.detection.data.sides import padded_size
from tasks.detection.model.faster_rcnn import build_detector
from tasks.detection.options import DetectorOptions
from tasks.detection.scores.predict import find_images, predict_files
from tasks.detection.scores.regions import RegionOptions
from tasks.detection.scores.trained import TrainedDetector
from tests.backbones.errors import refuses
from tests.backbones.networks import short
from tests.tasks.common.fakes import write_video
from tests.tasks.detection.conftest import CARD

SMALL = {"features": ("c3", "c4"), "anchor_sizes": (16, 32, 64), "fpn_channels": 8}
SMALL |= {"min_size": 64, "max_size": 96, "proposals": 60, "score_threshold": 0.0}
# the first four, and two of these turned, become 64 x 96 and 96 x 64 when they are padded
SIZES = [(60, 40), (60, 40), (60, 41), (57, 40), (40, 60), (48, 48), (60, 40), (40, 60), (90, 30)]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    options = DetectorOptions(**SMALL, detections_per_image=20)
    body = short("resnet18", out_features=options.features)
    detector = build_detector(body, num_classes=2, options=options).eval()
    nn.init.normal_(detector.roi_heads.box_predictor.cls_score.weight, std=0.2)
    card = replace(CARD, options=options)
    return TrainedDetector(network=detector, card=card, precision="32")


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number, (width, height) in enumerate(SIZES):
        pixels = random.integers(0, 255, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    return tmp_path / "in"


def predict(model, folder, output, *, batch_size=1, every=1, overlays=False, **options):
    chosen = PredictOptions(output=output, batch_size=batch_size, every=every, overlays=overlays)
    files = find_images([folder], output=output)
    return list(predict_files(model, files, chosen, threshold=0.5, **options))


def written(output):
    files = (output / f"{name}.json" for name in ("images", "predictions"))
    images, results = (json.loads(file.read_text()) for file in files)
    return images["images"], results


def batches_of(model, monkeypatch):
    """The numbers of images that go through the network at once."""
    sizes, forward = [], model.network.forward
    monkeypatch.setattr(
        model.network, "forward", lambda images: sizes.append(len(images)) or forward(images)
    )
    return sizes


def check_equal(first, second):
    """Equal but for the last decimals: 0.002 pixels and 2e-5 of a score, in float32."""
    assert first[0] == second[0]
    assert len(first[1]) == len(second[1]) >= 20
    for one, other in zip(first[1], second[1], strict=True):
        assert (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])
        assert one["bbox"] == pytest.approx(other["bbox"], abs=2e-3)
        assert one["score"] == pytest.approx(other["score"], abs=2e-5)


def test_batches_of_any_mixture_of_sizes_give_the_results_of_single_images(
    model, folder, tmp_path, monkeypatch
):
    predict(model, folder, tmp_path / "one")
    sizes = batches_of(model, monkeypatch)
    predict(model, folder, tmp_path / "four", batch_size=4)
    assert sorted(sizes) == [1, 1, 1, 2, 4]  # two of nine wait for nobody
    first, second = written(tmp_path / "one"), written(tmp_path / "four")
    check_equal(first, second)
    names = [entry["file_name"] for entry in second[0]]
    assert names == [f"{number}.png" for number in range(len(SIZES))]
    assert [result["image_id"] for result in second[1]] == np.repeat(range(1, 10), 20).tolist()


def test_a_corrupt_file_in_the_middle_of_a_batch_skips_only_itself(model, folder, tmp_path):
    predict(model, folder, tmp_path / "one")
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:200])
    with pytest.raises(SkippedError, match=r"^1 of 9 files were skipped: '2.png'"):
        predict(model, folder, tmp_path / "four", batch_size=4)
    images, results = written(tmp_path / "one")
    kept = [e for e in images if e["id"] != 3], [r for r in results if r["image_id"] != 3]
    check_equal(kept, written(tmp_path / "four"))


def test_regions_in_batches_are_those_of_single_images(model, folder, tmp_path):
    for size in (1, 4):
        predict(model, folder, tmp_path / str(size), batch_size=size, regions=RegionOptions())
    for number in range(len(SIZES)):
        one, four = (read_regions(tmp_path / f"{s}/regions/{number}.npz") for s in (1, 4))
        assert one.image == four.image == f"{number}.png"
        np.testing.assert_allclose(one.boxes, four.boxes, atol=2e-3)
        np.testing.assert_allclose(one.features, four.features, atol=1e-4)


def test_the_padded_size_is_torchvisions():
    options = DetectorOptions(**SMALL)
    transform = GeneralizedRCNNTransform(64, 96, [0.0] * 3, [1.0] * 3).eval()
    for height, width in np.random.default_rng(0).integers(20, 400, (60, 2)).tolist():
        images, _ = transform([torch.zeros(3, height, width)])
        assert padded_size(height, width, options) == tuple(images.tensors.shape[2:])


def test_frames_of_a_video_are_pictures_of_their_own(model, folder, tmp_path):
    for number in range(2, len(SIZES)):
        (folder / f"{number}.png").unlink()
    write_video(folder / "1.avi", [20, 60, 100, 140, 180])
    steps = predict(
        model, folder, tmp_path / "out", batch_size=2, every=2, overlays=True,
        formats=["coco", "yolo", "voc", "csv"], regions=RegionOptions(),
    )  # fmt: skip
    images, results = written(tmp_path / "out")
    names = [entry["file_name"] for entry in images]
    frames = [f"1.avi#{index:06d}" for index in (0, 2, 4)]
    assert names == ["0.png", *frames, "1.png"]
    assert [entry["id"] for entry in images] == list(range(1, 6))
    assert images[1] == {"id": 2, "file_name": frames[0], "height": 32, "width": 48}
    assert {result["image_id"] for result in results} == set(range(1, 6))
    assert "1.avi: 3 frames, one in 2" in [step.text for step in steps]
    for kind in ("labels/*.txt", "Annotations/*.xml", "regions/*.npz"):
        stems = {path.stem for path in (tmp_path / "out").glob(kind)}
        assert stems == {name.removesuffix(".png") for name in names}
    overlay = Video(tmp_path / "out/overlays/1.avi.mp4")
    assert sum(1 for _ in overlay.frames()) == 3
    assert not list((tmp_path / "out/overlays").glob("1.avi#*"))


def test_a_gray_detector_sees_gray_frames(model):
    gray = replace(CARD.backbone_options, in_channels=1)
    seen = replace(model, card=replace(model.card, backbone_options=gray)).seen(
        np.full((40, 60, 3), 9, np.uint8), name="v.avi#000000"
    )
    assert (seen.shape, seen.max()) == ((40, 60), 9)
    with refuses(r"v.avi#000001 is 300x2 pixels, too narrow to be resized"):
        model.seen(np.zeros((2, 300, 3), np.uint8), name="v.avi#000001")


@pytest.mark.parametrize("name", ["yolo", "yolo-labels"])
def test_images_that_would_share_a_label_file_of_yolo_are_refused(model, folder, tmp_path, name):
    Image.new("RGB", (40, 40)).save(folder / "1.jpg")
    with refuses(r"two outputs, of '1.jpg' and '1.png', would be called '1'"):
        predict(model, folder, tmp_path / "out", formats=[name])
    assert not (tmp_path / "out").exists()
    predict(model, folder / "1.jpg", tmp_path / "out", formats=[name])
    assert (tmp_path / "out/labels/1.txt").is_file()


def test_without_overlays_the_line_says_what_is_counted(model, folder, tmp_path):
    first, *_ = predict(model, folder, tmp_path / "out")
    assert first.text.endswith(" of 20 detections of a score from 0.5 on")
    assert not (tmp_path / "out/overlays").exists()
