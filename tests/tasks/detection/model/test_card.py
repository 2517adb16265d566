"""A detector's checkpoint: what comes back is what went in, and nothing else is taken."""

from dataclasses import asdict, replace

import pytest
import torch
from PIL import Image
from torchvision.ops import FrozenBatchNorm2d

from backbones import BackboneOptions, Conventions
from tasks.common.resume.continuation import check_resume
from tasks.detection.data.images import Reading
from tasks.detection.model.card import DetectorCard, load_detector
from tasks.detection.options import AugmentOptions, DetectorOptions

CARD = DetectorCard(
    backbone="resnet18",
    backbone_options=BackboneOptions(norm="group"),
    options=DetectorOptions(
        features=("c3", "c4"),
        fpn_channels=16,
        head_width=16,
        anchor_sizes=(16, 32, 64),
        min_size=64,
        max_size=96,
        score_threshold=0.0,
    ),
    classes=("cat", "dog"),
    category_ids=(3, 90),
    conventions=Conventions(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), epsilon=1e-3),
    provenance="random initialisation",
)


def run_of(epochs, *, steps=-1, **recipe):
    decided = {"epochs": epochs, "lr": 0.1, **recipe}
    given = {"backbone": {"freeze": 2}, "trainer": {"max_steps": steps}}
    return {"recipe": decided, "seed": 0, **given}


def save(path, detector, card=CARD, *, epochs=1, of=2, steps=-1, **more):
    """Write a checkpoint as Lightning and `DetectionModule` do."""
    state = {f"network.{key}": value for key, value in detector.state_dict().items()}
    progress = {"current": {"processed": epochs}}
    loops = {"fit_loop": {"epoch_progress": progress}}
    cards = {"keel": card.to_dict(), "keel_run": {**run_of(of, steps=steps), **more}}
    torch.save({"state_dict": state, "loops": loops, "global_step": 8, **cards}, path)
    return path


@pytest.fixture
def path(tmp_path):
    return save(tmp_path / "best.ckpt", CARD.build())


def test_a_checkpoint_gives_the_same_detections(tmp_path):
    detector = CARD.build().eval()
    loaded, card = load_detector(save(tmp_path / "a.ckpt", detector))
    assert card == CARD
    assert not loaded.training
    detector.to(memory_format=torch.channels_last)  # in which detectors are trained and loaded
    image = torch.rand(3, 64, 80)
    with torch.no_grad():
        (expected,), (found,) = detector([image]), loaded([image])
    assert len(expected["boxes"]) > 10
    for name, value in expected.items():
        assert torch.equal(found[name], value)


def test_exif_can_be_read_in_another_way_than_in_training(path):
    _, card = load_detector(path, exif="apply")
    assert card == replace(CARD, reading=Reading(exif="apply"))
    with pytest.raises(ValueError, match="unknown exif 'aply'"):
        load_detector(path, exif="aply")


def test_the_range_of_deeper_files_can_be_another_than_in_training(path):
    _, card = load_detector(path, range_=(-1000.0, 1000.0))
    assert card == replace(CARD, reading=Reading(range=(-1000.0, 1000.0), clipped=True))
    with pytest.raises(ValueError, match=r"--range takes the lowest and the highest.*\[5, 1\]"):
        load_detector(path, range_=(5, 1))


def test_the_preprocessing_comes_back(path):
    loaded, _ = load_detector(path)
    assert loaded.transform.image_mean == [0.1, 0.2, 0.3]
    assert loaded.transform.image_std == [0.4, 0.5, 0.6]
    assert (loaded.transform.min_size, loaded.transform.max_size) == ((64,), 96)


def test_a_card_survives_its_dictionary():
    assert DetectorCard.from_dict(CARD.to_dict()) == CARD
    assert CARD.to_dict()["task"] == "detection"


def test_the_card_of_an_earlier_version_counts_coordinates_from_1(path):
    values = CARD.to_dict()
    del values["one_based"]
    assert DetectorCard.from_dict(values) == CARD
    del values["reading"]  # 16 bits were cut to 8, and EXIF was not looked at
    old = Reading(exif="ignore", range=(0, 65535))
    assert DetectorCard.from_dict(values) == replace(CARD, reading=old)
    assert CARD.one_based
    # A run on 0-based files that began with that version goes on: the data's digest is compared.
    check_resume(path, replace(CARD, one_based=False), settings=run_of(2))


def test_a_card_is_plain_values():
    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(item) for key, item in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return isinstance(value, str | int | float)

    assert plain(CARD.to_dict())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        load_detector(tmp_path / "none.ckpt")


def test_an_image_is_no_checkpoint(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png"):
        load_detector(tmp_path / "a.png")


def test_a_truncated_checkpoint_is_refused(path):
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"best.ckpt is truncated or damaged"):
        load_detector(path)


@pytest.mark.parametrize("keel", [None, "x", {}, {"task": None}])
def test_the_checkpoint_of_something_else_is_refused(tmp_path, keel):
    torch.save({"state_dict": {}, "keel": keel, "epoch": 1}, tmp_path / "a.pth")
    message = (
        r"a.pth is no checkpoint of a Keel detector: it has the keys \['epoch', 'keel', "
        r"'state_dict'\]. Give one that scripts/train_det.py writes"
    )
    with pytest.raises(ValueError, match=message):
        load_detector(tmp_path / "a.pth")


def test_a_run_of_the_same_detector_may_go_on(path):
    check_resume(path, CARD, settings=run_of(2))
    # Only the first weights' origin differs, which a resumed run does not load.
    check_resume(path, replace(CARD, provenance="weights from x.pth"), settings=run_of(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"classes": ("cat", "cow")},
            r"classes is \['cat', 'cow'\], the checkpoint's is \['cat', 'dog'\]\. Use the command",
        ),
        ({"category_ids": (1, 2)}, r"category_ids is \[1, 2\], the checkpoint's is \[3, 90\]"),
        ({"backbone": "resnet34"}, "backbone is 'resnet34', the checkpoint's is 'resnet18'"),
        ({"backbone_options": BackboneOptions()}, "norm is 'batch', the checkpoint's is 'group'"),
        (
            {"backbone_options": BackboneOptions(norm="group", in_channels=1)},
            "in_channels is 1, the checkpoint's is 3",
        ),
        (
            {"options": replace(CARD.options, max_size=128)},
            r"cannot resume from .*best.ckpt: options.max_size is 128, the checkpoint's is 96.* "
            r"start a new run with",
        ),
    ],
)
def test_a_run_of_another_detector_may_not_go_on(path, changes, message):
    with pytest.raises(ValueError, match=message):
        check_resume(path, replace(CARD, **changes), settings=run_of(2))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (run_of(3), "recipe.epochs is 3, the checkpoint's is 2"),
        (run_of(2, lr=5.0), "recipe.lr is 5.0, the checkpoint's is 0.1"),
        ({**run_of(2), "seed": 1}, "seed is 1, the checkpoint's is 0"),
        (
            {**run_of(2), "backbone": {"freeze": 0}},
            "backbone.freeze is 0, the checkpoint's is 2",
        ),
        (run_of(2, steps=9), "trainer.max_steps is 9, the checkpoint's is -1"),
    ],
)
def test_a_run_with_another_recipe_may_not_go_on(path, run, message):
    with pytest.raises(ValueError, match=message):
        check_resume(path, CARD, settings=run)


DEFAULTS = {"augment": asdict(AugmentOptions())}


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        ({"flip": 0.5}, {}, ""),
        (
            {"_target_": "tasks.detection.transforms.train_transform", "flip": 0},
            {"flip": 0.0},
            "",
        ),
        ({"flip": 0.5}, {"shift": 0.1}, r"augment.shift is 0.1, the checkpoint's is 0.0\."),
        ({"flip": 0.5, "scale": [1, 2]}, {}, r"augment.scale is \[1.0, 1.0\], .* is \[1, 2\]\."),
        ({"_target_": "x", "flip": 0}, {}, r"augment.flip is 0.5, the checkpoint's is 0\."),
    ],
)
def test_a_run_with_another_augmentation_may_not_go_on(tmp_path, before, now, message):
    """An earlier version kept what was given, with the name of the function that took it."""
    path = save(tmp_path / "last.ckpt", CARD.build(), augment=before)
    run = {**run_of(2), "augment": asdict(AugmentOptions(**now))}
    if not message:
        check_resume(path, CARD, settings=run, defaults=DEFAULTS)
        return
    with pytest.raises(ValueError, match=f"last.ckpt: {message} Use the command"):
        check_resume(path, CARD, settings=run, defaults=DEFAULTS)


def test_a_recipe_of_an_earlier_version_has_the_defaults_of_what_is_new(path):
    check_resume(path, CARD, settings=run_of(2, restarts=0))
    with pytest.raises(ValueError, match=r"recipe.restarts is 1, the checkpoint's is 0"):
        check_resume(path, CARD, settings=run_of(2, restarts=1))


def test_a_run_that_is_finished_has_nothing_to_go_on_with(tmp_path):
    path = save(tmp_path / "last.ckpt", CARD.build(), epochs=3, of=3)
    with pytest.raises(ValueError, match=r"has 3 of 3 epochs behind it.*evaluate.py"):
        check_resume(path, CARD, settings=run_of(3))


def test_a_run_that_has_taken_all_its_steps_has_nothing_to_go_on_with(tmp_path):
    path = save(tmp_path / "last.ckpt", CARD.build(), steps=8)
    with pytest.raises(ValueError, match=r"has 1 of 2 epochs behind it, 8 steps of 8: nothing"):
        check_resume(path, CARD, settings=run_of(2, steps=8))


def test_the_epsilon_comes_back():
    norms = (
        replace(CARD, backbone_options=BackboneOptions(norm="frozen_batch"))
        .build()
        .backbone.body.modules()
    )
    assert {m.eps for m in norms if isinstance(m, FrozenBatchNorm2d)} == {1e-3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "has the format 2, this version of Keel reads 1"),
        ({"options": {"depth": 3}}, "describes its detector in a way .*depth"),
        ({"options": {"min_size": 0}}, "model.min_size takes an integer of at least 1, got 0"),
        ({"backbone": "resnet34"}, "lacks weights of the detector it describes"),
    ],
)
def test_a_checkpoint_that_this_version_cannot_read_is_refused(tmp_path, changes, message):
    state = {f"network.{key}": value for key, value in CARD.build().state_dict().items()}
    torch.save({"state_dict": state, "keel": CARD.to_dict() | changes}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=message):
        load_detector(tmp_path / "a.ckpt")
