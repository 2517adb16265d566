"""What the checkpoints of all tasks have in common; each task's own are tested with the task."""

import pytest
import torch
from PIL import Image

from backbones import BackboneOptions
from tasks.common.options.limits import with_tuples
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.resume.card import (
    find_checkpoint,
    load_network,
    matched,
    plain,
    read_card,
    structure_of,
    task_of,
)
from tests.tasks.common.fakes import CARD, Card, save

FLAT = {
    "backbone": "resnet18",
    "norm": "group",
    "in_channels": 3,
    "output_stride": 32,
    "deformable": ["c5"],
    "deformable_version": 2,
    "mean": [0.1, 0.2, 0.3],
    "std": [0.229, 0.224, 0.225],
    "epsilon": 1e-3,
    "provenance": "made",
    "lineage": [],
    "sizes": [1, 2],
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.ckpt"


def test_a_card_is_flat_in_a_checkpoint_and_comes_back(path):
    assert CARD.to_dict() == {"task": "pose", "format": 1, **FLAT}
    save(path)
    assert task_of(path) == "pose"
    assert read_card(path, Card)[1] == CARD


def test_a_card_that_lacks_later_options_has_their_defaults():
    """Those of the first version; without a norm or conventions it is no card."""
    later = ("output_stride", "deformable", "deformable_version")
    first = {key: value for key, value in FLAT.items() if key not in later}
    assert Card.from_dict(first).backbone_options == BackboneOptions(norm="group")
    for name in ("norm", "mean", "std", "epsilon"):
        with pytest.raises(KeyError, match=name):
            Card.from_dict({key: value for key, value in FLAT.items() if key != name})


def test_options_that_change_no_tensor_are_not_in_a_card():
    choice = BackboneChoice(name="x", drop_path=0.2, init="scaled", output_stride=16)
    options = structure_of(choice, in_channels=1, norm="batch")
    assert options == BackboneOptions(in_channels=1, output_stride=16)


@pytest.mark.parametrize("card", ["detection", {}, {"task": None}])
def test_a_checkpoint_without_a_task_is_refused(path, card):
    save(path, card)
    keys = r"it has the keys \['global_step', 'keel', .*\]\. Give one that"
    with pytest.raises(ValueError, match=rf"a.ckpt is no checkpoint of a Keel run: {keys} a train"):
        task_of(path)
    with pytest.raises(ValueError, match=rf"a.ckpt is .* Keel poser: {keys} train_pose.py writes"):
        read_card(path, Card)


def test_what_is_no_checkpoint_is_refused_by_its_name(path, tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"no checkpoint of a Keel run: .*\['conv1.weight'\]"):
        task_of(tmp_path / "a.pth")
    with pytest.raises(FileNotFoundError, match=r"a\.ckpt"):
        read_card(path, Card)
    save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"a\.ckpt is truncated or damaged"):
        read_card(path, Card)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png"):
        read_card(tmp_path / "a.png", Card)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "has the format 2, this version of Keel reads 1"),
        ({"depth": 3}, "describes its poser in a way .*depth"),
        ({"in_channels": 0}, "has in_channels=0 in its card; expected an integer of at least 1"),
        ({"backbone": 3}, "has backbone=3 in its card; expected the name of a backbone"),
        ({"std": [0.1, 0.2]}, "has mean for 3, std for 2, in_channels for 3 in its card"),
        (
            {"task": "depth"},
            "is a checkpoint of the task depth; expected that of a poser, which train_pose.py "
            r"writes, such as runs/pose/<run>/checkpoints/best\.ckpt\.",
        ),
    ],
)
def test_a_card_that_this_version_cannot_read_is_refused(path, changes, message):
    with pytest.raises(ValueError, match=rf"a\.ckpt {message}"):
        read_card(save(path, CARD.to_dict() | changes), Card)


def test_the_weights_must_be_those_of_the_network(path):
    checkpoint, card = read_card(save(path, CARD.to_dict() | {"sizes": [2, 2]}), Card)
    with pytest.raises(ValueError, match="lacks weights of the poser it describes"):
        load_network(card.build(), checkpoint, card, path=path)
    network = CARD.build()
    load_network(network, checkpoint, CARD, path=path)
    assert torch.equal(network.weight, checkpoint["state_dict"]["network.weight"])


def test_a_card_becomes_lists_all_the_way_down():
    nested = {"a": ((1, 2), [3, (4,)]), "b": {"c": (None, "x", 1.5)}}
    assert plain(nested) == {"a": [[1, 2], [3, [4]]], "b": {"c": [None, "x", 1.5]}}
    assert with_tuples({"a": [1, [2]], "b": "x"}) == {"a": (1, [2]), "b": "x"}


def test_classes_agree_by_name():
    found = matched(["b", "c"], ["a", "b"])
    assert (found.kept, found.fresh, found.left) == (("b",), ("c",), ("a",))
    assert found.pairs == ((0, 1),)


@pytest.fixture
def run(tmp_path):
    """The folder of a finished run, beside one that was stopped before its first validation."""
    for name in ("runs/first/checkpoints/best.ckpt", "runs/second/checkpoints/last.ckpt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    return tmp_path / "runs" / "first"


def test_a_run_folder_stands_for_its_best_checkpoint(run):
    best = run / "checkpoints" / "best.ckpt"
    assert find_checkpoint(run) == find_checkpoint(best.parent) == find_checkpoint(best) == best
    other = run.parent / "second" / "checkpoints" / "last.ckpt"
    assert find_checkpoint(other) == other


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (".", r"runs is no run folder .*the runs 'first'\. Give"),
        ("second", r"second is no run folder .*is '.*last.ckpt'\. Give"),
        ("firts", r"no checkpoint or run folder '.*firts'.*'first'"),
    ],
)
def test_a_folder_without_a_best_checkpoint_is_refused_with_what_is_there(run, wanted, message):
    with pytest.raises(FileNotFoundError, match=message):
        find_checkpoint(run.parent / wanted)
