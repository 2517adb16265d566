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
    plain,
    read_card,
    structure_of,
    task_of,
)
from tests.tasks.common.resume.pose import CARD, Card, save

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
    "sizes": [1, 2],
}


def test_a_card_is_flat_in_a_checkpoint_and_comes_back(tmp_path):
    assert CARD.to_dict() == {"task": "pose", "format": 1, **FLAT}
    path = save(tmp_path / "a.ckpt")
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
def test_a_checkpoint_without_a_task_is_refused(tmp_path, card):
    path = save(tmp_path / "a.pth", card)
    keys = r"it has the keys \['global_step', 'keel', .*\]\. Give one that"
    with pytest.raises(ValueError, match=rf"a.pth is no checkpoint of a Keel run: {keys} a train"):
        task_of(path)
    with pytest.raises(
        ValueError, match=rf"a.pth is no .* Keel poser: {keys} train_pose.py writes"
    ):
        read_card(path, Card)


def test_what_is_no_checkpoint_is_refused_by_its_name(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"no checkpoint of a Keel run: .*\['conv1.weight'\]"):
        task_of(tmp_path / "a.pth")
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        read_card(tmp_path / "none.ckpt", Card)
    path = save(tmp_path / "a.ckpt")
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
        ({"in_channels": 0}, "describes its poser in a way .*in_channels takes .* got 0"),
    ],
)
def test_a_card_that_this_version_cannot_read_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read_card(save(tmp_path / "a.ckpt", CARD.to_dict() | changes), Card)


def test_the_weights_must_be_those_of_the_network(tmp_path):
    path = save(tmp_path / "a.ckpt", CARD.to_dict() | {"sizes": [2, 2]})
    checkpoint, card = read_card(path, Card)
    with pytest.raises(ValueError, match="lacks weights of the poser it describes"):
        load_network(card.build(), checkpoint, card, path=path)
    network = CARD.build()
    load_network(network, checkpoint, CARD, path=path)
    assert torch.equal(network.weight, checkpoint["state_dict"]["network.weight"])


def test_the_checkpoint_of_another_task_is_refused(tmp_path):
    path = save(tmp_path / "a.ckpt", CARD.to_dict() | {"task": "depth"})
    message = (
        r"a\.ckpt is a checkpoint of the task depth; expected that of a poser, which train_pose.py "
        r"writes, such as runs/pose/<run>/checkpoints/best\.ckpt\."
    )
    with pytest.raises(ValueError, match=message):
        read_card(path, Card)


def test_a_card_becomes_lists_all_the_way_down():
    nested = {"a": ((1, 2), [3, (4,)]), "b": {"c": (None, "x", 1.5)}}
    assert plain(nested) == {"a": [[1, 2], [3, [4]]], "b": {"c": [None, "x", 1.5]}}
    assert with_tuples({"a": [1, [2]], "b": "x"}) == {"a": (1, [2]), "b": "x"}


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


def test_a_folder_without_a_best_checkpoint_is_refused_with_what_is_there(run):
    with pytest.raises(FileNotFoundError, match=r"runs is no run folder .*the runs 'first'\. Give"):
        find_checkpoint(run.parent)
    with pytest.raises(
        FileNotFoundError, match=r"second is no run folder .*is '.*last.ckpt'\. Give"
    ):
        find_checkpoint(run.parent / "second")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint or run folder '.*firts'.*'first'"):
        find_checkpoint(run.parent / "firts")
