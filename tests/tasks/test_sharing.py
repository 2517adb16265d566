"""Networks and backbones as files for others: what comes back is what went in, with its lineage."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from backbones import BackboneOptions, from_pretrained, fuse, save_pretrained
from backbones.fusion import FUSED
from backbones.lineage import Step
from backbones.registry import BUILDERS
from backbones.weights import hub
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.resume.card import find_checkpoint, task_of
from tasks.common.resume.start import read_start
from tasks.detection import load_detector
from tasks.detection.model.build import new_detector
from tasks.detection.model.card import DetectorCard
from tasks.segmentation import load_segmenter
from tasks.segmentation.model.build import new_segmenter
from tasks.segmentation.options import InputOptions, UNetOptions
from tests.backbones.errors import refuses
from tests.backbones.networks import tiny
from tests.tasks.common.fakes import save
from tests.tasks.data_sets import boxes, masks
from tests.tasks.detection.conftest import SMALL, picture

WHOLE = replace(SMALL, features=("c2", "c3", "c4", "c5"), anchor_sizes=(8, 16, 32, 64, 128))
FIRST = Step(source="imagenet.pth", sha256="0" * 64)
ON_CELLS = Step(task="detection", data="cells", date="2026-11-28", keel="0.1.0")
SETTINGS = {"recipe": {"epochs": 2, "lr": 0.1}, "data": {"digest": "x"}, "init_from": "/x/run"}
METRICS = {"scored split": "test", "scores": {"ap": 0.5, "ap/dog": float("nan")}, "val": {}}
METRICS |= {"best epoch": 2, "audit": "7 tensors stayed", "seconds": 3.0}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(BUILDERS, "tiny", tiny)


def detector(weights="random", **options):
    choice = BackboneChoice(name="tiny", weights=str(weights), **options)
    return new_detector(choice, WHOLE, data=boxes("cat", "dog"), norm="frozen_batch", freeze=0)


def segmenter(weights="random", **options):
    choice = BackboneChoice(name="tiny", weights=str(weights), **options)
    parts = {"data": masks("background", "vessel"), "channels": 3, "norm": "frozen_batch"}
    inputs = InputOptions(normalisation="imagenet", patch=(64, 64))
    decoder = UNetOptions(norm="group", channels=(32,) * 5)
    return new_segmenter(choice, decoder, inputs, **parts, freeze=0)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def run(tmp_path):
    """The folder of a finished run of a detector, whose statistics are no longer 0 and 1."""
    network, card = detector()
    for tensor in network.backbone.body.buffers():
        tensor.uniform_(0.5, 1.5)
    card = replace(card, lineage=(FIRST, ON_CELLS), provenance="weights from /secret/x/a.pth")
    card = replace(card, conventions=replace(card.conventions, mean=(0.1, 0.2, 0.3), epsilon=1e-3))
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    save(path, card, network, settings=SETTINGS)
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(METRICS))
    return tmp_path / "run"


def covered(provenance):
    """How many tensors of each stage were loaded, and how many it has."""
    lines = [line.split() for line in provenance.splitlines() if line.endswith(" tensors")]
    return {name: (int(got), int(there)) for name, got, _, there, _ in lines}


def test_a_backbone_file_goes_to_the_other_task_and_back_with_its_lineage(run, tmp_path):
    model = load_detector(run, device="cpu")
    path = model.save_backbone(tmp_path / "out" / "backbone.safetensors")
    trained = replace(ON_CELLS, sha256=digest(model.checkpoint))
    file = Step(source="backbone.safetensors", sha256=digest(path))

    network, card = segmenter(path)
    theirs, ours = model.network.backbone.body, network.backbone
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    assert card.conventions == model.card.conventions
    counts = covered(card.provenance)
    assert list(counts) == ["stem", "c2", "c3", "c4", "c5"]
    assert all(got == there > 0 for got, there in counts.values())
    assert card.lineage == (FIRST, trained, file)

    on_vessels = Step(task="segmentation", data="vessels")
    card = replace(card, lineage=(*card.lineage, on_vessels))
    checkpoint = save(tmp_path / "b.ckpt", card, network)
    back_path = load_segmenter(checkpoint, device="cpu").save_backbone(tmp_path / "b.safetensors")
    again, back = detector(back_path)
    torch.testing.assert_close(again.backbone.body.state_dict(), ours.state_dict())
    assert all(got == there for got, there in covered(back.provenance).values())
    steps = [step.source or step.task for step in back.lineage]
    assert steps == [
        *("imagenet.pth", "detection", "backbone.safetensors", "segmentation", "b.safetensors")
    ]
    assert back.lineage[3] == replace(on_vessels, sha256=digest(checkpoint))


def test_the_checkpoint_itself_hands_its_lineage_on(run):
    checkpoint = run / "checkpoints" / "best.ckpt"
    _, card = segmenter(checkpoint)
    assert card.lineage == (FIRST, replace(ON_CELLS, sha256=digest(checkpoint)))
    assert DetectorCard.from_dict(load_detector(run, device="cpu").card.to_dict()).lineage == (
        FIRST,
        ON_CELLS,
    )


def test_a_detector_is_the_same_in_a_folder_and_on_the_hub(run, tmp_path, monkeypatch):
    model = load_detector(run, device="cpu", precision="32")
    folder = model.save_pretrained(tmp_path / "shared")
    assert task_of(find_checkpoint(folder)) == "detection"

    def download(repository, name, **_):
        if repository != "owner/name" or not (folder / name).exists():
            raise hub.errors.LocalEntryNotFoundError("not there")
        return str(folder / name)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    expected = model(picture())
    assert len(expected) > 10
    for source in (folder, folder / "model.safetensors", "hf:owner/name@v1"):
        loaded = load_detector(source, device="cpu", precision="32")
        found = loaded(picture())
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert found.names == expected.names
        left = {"lineage": (), "provenance": ""}
        assert replace(loaded.card, **left) == replace(model.card, **left)
    shared = replace(ON_CELLS, sha256=digest(model.checkpoint))
    assert loaded.card.lineage == (FIRST, shared)
    again = loaded.save_pretrained(tmp_path / "again")  # of what came from the hub
    assert (again / "README.md").read_text().count("`recipe.lr`: 0.1") == 1


def test_the_model_card_tells_the_run_and_nothing_of_the_machine(run, tmp_path):
    folder = load_detector(run, device="cpu").save_pretrained(tmp_path / "shared")
    readme = (folder / "README.md").read_text()
    for text in (
        "pipeline_tag: object-detection",
        "Trained on cells. 2 classes: cat, dog. Images of 3 channels.",
        f"| imagenet.pth |  |  |  | {'0' * 64} |",
        "| detection | cells | 2026-11-28 | 0.1.0 | ",
        "- `recipe.epochs`: 2",
        "on test:\n\n- `ap`: 0.5\n- `ap/dog`: None",
        "7 tensors stayed",
        "## Licence\n\nNot stated. The owner of the weights adds it here",
        "from tasks.detection import load_detector",
    ):
        assert text in readme
    assert "license: " not in readme.partition("# A detector")[0]
    for file in folder.iterdir():
        content = file.read_bytes()
        assert b"/secret/x" not in content
        assert b"/x/run" not in content
        assert str(tmp_path).encode() not in content


def test_a_segmenter_is_the_same_in_a_folder(tmp_path):
    network, card = segmenter()
    card = replace(card, dtypes=("uint16", "uint8"))
    model = load_segmenter(save(tmp_path / "a.ckpt", card, network), device="cpu")
    folder = model.save_pretrained(tmp_path / "shared")
    readme = (folder / "README.md").read_text()
    assert "background, vessel. Images of 3 channels of type uint16, uint8.\n" in readme
    loaded = load_segmenter(folder, device="cpu")
    assert loaded.card.dtypes == ("uint16", "uint8")
    expected = model(picture(), probabilities=True)
    found = loaded(picture(), probabilities=True)
    np.testing.assert_array_equal(found.mask, expected.mask)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert found.classes == ("background", "vessel")
    with refuses("is a checkpoint of the task segmentation; expected that of a detector"):
        load_detector(folder)


def test_a_run_begins_with_a_folder_or_takes_its_backbone(run, tmp_path):
    model = load_detector(run, device="cpu")
    folder = model.save_pretrained(tmp_path / "shared")
    start = read_start(str(folder), DetectorCard, BackboneChoice(name="tiny"))
    torch.testing.assert_close(dict(start.state), model.network.state_dict(), rtol=0, atol=0)
    network, card = segmenter(folder)
    theirs = model.network.backbone.body.state_dict()
    torch.testing.assert_close(network.backbone.state_dict(), theirs, rtol=0, atol=0)
    assert [step.source for step in card.lineage] == ["imagenet.pth", "", "model.safetensors"]


def test_a_folder_whose_config_was_changed_is_refused(run, tmp_path):
    folder = load_detector(run, device="cpu").save_pretrained(tmp_path / "shared")
    config = json.loads((folder / "config.json").read_text())
    config["keel"]["classes"] = ["cat", "cow"]
    (folder / "config.json").write_text(json.dumps(config))
    with refuses(r"config\.json differs from what model\.safetensors states of itself in classes;"):
        load_detector(folder)
    for other in ("x", 3, ["cat"]):
        (folder / "config.json").write_text(json.dumps(config | {"keel": other}))
        with refuses(r"config\.json differs from what model\.safetensors states of itself in ever"):
            load_detector(folder)
    (folder / "config.json").unlink()
    assert load_detector(folder, device="cpu").classes == ("cat", "dog")


def test_fused_networks_are_neither_shared_nor_trained(run, tmp_path):
    model = load_detector(run, device="cpu")
    state = fuse(model.network).state_dict()
    path = tmp_path / "fused.ckpt"
    content = {"keel": model.card.to_dict(), FUSED: True}
    torch.save(content | {"state_dict": {f"network.{k}": v for k, v in state.items()}}, path)
    fused = load_detector(path, device="cpu", precision="32")
    assert len(fused(picture())) == len(model(picture()))
    message = (
        r"fused\.ckpt is fused: its norms are part of its convolutions, so that it can only be"
    )
    for share in (fused.save_pretrained, fused.save_backbone):
        with refuses(message):
            share(tmp_path / "shared")
    with refuses(r"this ResNet is fused: .* Use the checkpoint that it was made of"):
        save_pretrained(fused.backbone, tmp_path / "shared")
    with refuses(message):
        read_start(str(path), DetectorCard, BackboneChoice(name="tiny"))
    with refuses(message):
        segmenter(path)
    assert not (tmp_path / "shared").exists()


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (detector, {"format": 99}, "has the format 99, this version of Keel reads 1"),
        (detector, {"backbone": 3}, "has backbone=3 in its card; expected the name of a backbone"),
        (detector, {"std": [0.0] * 3}, r"has std=\[0.0, 0.0, 0.0\] .* expected finite numbers"),
        (detector, {"mean": [0.1, 0.2]}, "has mean for 2, std for 3, in_channels for 3 in its"),
        (detector, {"options": 3}, r"\(options is 3, expected fields and their values\)"),
        (detector, {"reading": [1]}, r"\(reading is \[1\], expected fields and their values\)"),
        (detector, {"category_ids": [1]}, r"\(category_ids is \(1,\), expected 2 integers, one"),
        (detector, {"classes": ["cat", 2]}, r"\(classes is \('cat', 2\), expected names"),
        (segmenter, {"input": "x"}, r"\(input is 'x', expected fields and their values\)"),
        (segmenter, {"channels": 0}, r"\(channels is 0, expected an integer of at least 1\)"),
        (segmenter, {"channels": "3"}, r"\(channels is '3', expected an integer of at least 1\)"),
        (segmenter, {"dtypes": "uint8"}, r"\(dtypes is 'uint8', expected names such as uint8\)"),
        (segmenter, {"mean": [0.1], "std": [1.0]}, r"\(mean is \(0.1,\), expected 3 numbers"),
        (segmenter, {"classes": {"names": ["a"], "values": []}}, r"\(classes.values is \(\), exp"),
        (segmenter, {"classes": {"names": [], "values": []}}, r"\(classes.names is \(\), exp"),
    ],
)
def test_a_card_with_other_values_is_refused_by_file_and_field(tmp_path, make, changes, message):
    network, card = make()
    path = save(tmp_path / "a.ckpt", card.to_dict() | changes, network)
    with refuses(rf"a\.ckpt .*{message}"):
        (load_detector if make is detector else load_segmenter)(path, device="cpu")


def test_shared_files_may_be_read_as_others_that_the_user_writes(run, tmp_path):
    model = load_detector(run, device="cpu")
    folder = model.save_pretrained(tmp_path / "shared")
    file = model.save_backbone(tmp_path / "backbone.safetensors")
    (tmp_path / "other").touch()
    modes = {p.stat().st_mode for p in (file, *folder.iterdir(), tmp_path / "other")}
    assert len(modes) == 1


@pytest.mark.parametrize(("name", "fault"), [("b.pth", "ends in '.pth'"), ("", "is a folder")])
def test_a_backbone_file_has_its_own_suffix(run, tmp_path, name, fault):
    with refuses(rf"{fault}; expected a file to write that ends in \.safetensors"):
        load_detector(run, device="cpu").save_backbone(tmp_path / name)


def test_a_detector_without_c5_hands_on_what_it_has(tmp_path):
    options = replace(SMALL, features=("c3", "c4"))
    choice = BackboneChoice(name="tiny", weights="random")
    network, card = new_detector(choice, options, data=boxes("cat"), norm="batch", freeze=0)
    model = load_detector(save(tmp_path / "a.ckpt", card, network), device="cpu")
    path = model.save_backbone(tmp_path / "b.safetensors")
    assert network.backbone.body.options == replace(
        BackboneOptions(), out_features=("c3", "c4"), norm="batch"
    )
    names = {key.partition(".")[0] for key in load_file(path)}
    assert names == {"conv1", "bn1", "layer1", "layer2", "layer3"}
    assert list(from_pretrained(path).channels) == ["c3", "c4"]
