"""A U-Net with random weights on images of several sizes, and on videos, in batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from backbones import registry
from tasks.common.files.input_files import SkippedError
from tasks.common.images.videos import Video
from tasks.common.predict.predict import PredictOptions
from tasks.segmentation.data.cases import ClassTable, class_table
from tasks.segmentation.scores.pictures import draw_labels
from tasks.segmentation.scores.predict import find_cases, predict_cases
from tasks.segmentation.scores.trained import TrainedSegmenter
from tests.backbones.networks import tiny
from tests.tasks.common.fakes import write_video
from tests.tasks.segmentation.conftest import save
from tests.tasks.segmentation.data.conftest import noise
from tests.tasks.segmentation.scores.conftest import Made, made_card

TABLE = class_table({0: "background", 7: "cell", 200: "debris"})
TWO = ClassTable(names=("dark", "bright"), values=((1,), (1,)), exclusive=False)
SIZES = [(32, 32), (32, 32), (30, 32), (32, 32), (50, 32), (32, 32), (30, 32), (32, 32)]


@pytest.fixture(scope="module", params=[TABLE, TWO], ids=["exclusive", "overlapping"])
def model(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.BUILDERS, "resnet18", tiny)
        torch.manual_seed(0)
        card = made_card(request.param)
        options = replace(card.backbone_options, norm="batch")
        card = replace(card, backbone_options=options)
        return TrainedSegmenter(network=card.build().eval(), card=card)


@pytest.fixture
def folder(tmp_path):
    for number, size in enumerate(SIZES):
        save(tmp_path / "in" / f"{number}.png", noise(*size, seed=number))
    for name in ("v.nii", "w.nii"):
        save(tmp_path / "in" / name, noise(20, 22, 5))
    return tmp_path / "in"


def predict(model, folder, output, *, tiles=4, batch_size=1, every=1, overlays=False):
    options = PredictOptions(output=output, batch_size=batch_size, every=every, overlays=overlays)
    cases = find_cases([folder], channels=model.card.channels, output=output)
    return list(predict_cases(model, cases, options, tiles=tiles))


def masks(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "masks").iterdir())}


def batches_of(model, monkeypatch):
    """The numbers of slices and windows that go through the network at once."""
    sizes, forward = [], model.network.forward
    monkeypatch.setattr(
        model.network, "forward", lambda images: sizes.append(len(images)) or forward(images)
    )
    return sizes


def test_batches_of_any_mixture_of_sizes_give_the_masks_of_single_images(
    model, folder, tmp_path, monkeypatch
):
    single = predict(model, folder, tmp_path / "one", tiles=1)
    sizes = batches_of(model, monkeypatch)
    together = predict(model, folder, tmp_path / "four", batch_size=4)
    # four of one size, one more of it, two of another; windows and slices by fours, each case alone
    assert sorted(sizes) == sorted([4, 1, 2, 3, *[4, 1], *[4, 1]])
    assert masks(tmp_path / "one") == masks(tmp_path / "four")
    assert len(set(masks(tmp_path / "four").values())) > 8
    assert [step.text for step in single[:-1]] == [step.text for step in together[:-1]]
    assert [step.text[:2] for step in single[:8]] == [f"{number}:" for number in range(8)]


def test_a_corrupt_file_in_the_middle_of_a_batch_skips_only_itself(model, folder, tmp_path):
    for name in ("4.png", "5.png", "6.png", "7.png", "v.nii", "w.nii"):
        (folder / name).unlink()
    predict(model, folder, tmp_path / "one")
    (folder / "1.png").write_bytes(b"no image")
    with pytest.raises(SkippedError, match=r"^1 of 4 files were skipped: '1'; everything else"):
        predict(model, folder, tmp_path / "four", batch_size=4)
    expected = {k: v for k, v in masks(tmp_path / "one").items() if k[:2] not in ("1.", "1_")}
    assert masks(tmp_path / "four") == expected


def halves():
    """Classes by a third of the range each, of images of any channels."""

    def logits(x):
        light = x.mean(dim=1)
        return [(light < 0.3).float(), ((light > 0.3) & (light < 0.6)).float(), (light > 0.6) * 1.0]

    return Made(logits)


@pytest.mark.parametrize("channels", [1, 3])
def test_frames_of_a_video_have_masks_of_their_own(tmp_path, channels):
    write_video(tmp_path / "v.avi", [20, 120, 220, 20])
    save(tmp_path / "v.png", noise(20, 20) if channels == 1 else noise(20, 20, 3))
    model = TrainedSegmenter(network=halves(), card=made_card(TABLE, channels=channels))
    steps = predict(model, tmp_path, tmp_path / "out", batch_size=2, overlays=True)
    assert "v.avi: 4 frames" in [step.text for step in steps]
    frames = [f"v.avi#{index:06d}.png" for index in range(4)]
    assert sorted(masks(tmp_path / "out")) == [*frames, "v.png"]
    for name, value in zip(frames, (0, 7, 200, 0), strict=True):
        mask = np.asarray(Image.open(tmp_path / "out/masks" / name))
        assert mask.shape == (32, 48)
        assert (mask == value).all()
    names = sorted(path.name for path in (tmp_path / "out/overlays").iterdir())
    assert names == ["v.avi.mp4", "v.png"]
    overlay = [frame for _, frame in Video(tmp_path / "out/overlays/v.avi.mp4").frames()]
    assert [int(np.ptp(frame.mean(axis=(0, 1)))) > 20 for frame in overlay] == [
        False,
        True,
        True,
        False,
    ]


def test_a_video_of_other_channels_is_skipped(tmp_path):
    path = write_video(tmp_path / "v.avi", [20, 120])
    model = TrainedSegmenter(network=halves(), card=made_card(TABLE, channels=5))
    with pytest.raises(
        SkippedError, match=r"'v.avi'; nothing .* has the shape \(32, 48, 3\)|has 3"
    ):
        predict(model, path, tmp_path / "out")


def test_a_frame_is_drawn_as_it_is_but_for_its_classes():
    image = np.full((3, 40, 640), 100, np.uint8)
    labels = np.zeros((40, 640), np.uint8)
    labels[:, 320:] = 1
    drawn = draw_labels(image, labels, classes=TABLE)
    assert drawn.shape == (40, 640, 3)
    assert (drawn[:, :320] == 100).all()
    assert (drawn[:, 320:] != 100).any(axis=2).all()


def test_without_overlays_none_is_drawn_and_no_slice_is_named(model, folder, tmp_path):
    steps = predict(model, folder, tmp_path / "out")
    assert not (tmp_path / "out/overlays").exists()
    assert not any("overlay" in step.text for step in steps[:-1])
