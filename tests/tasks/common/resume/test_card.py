"""What the checkpoints of all tasks have in common; each task's own are tested with the task."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from backbones import BackboneOptions, Conventions
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.resume.card import (
    NetworkCard,
    TaskNames,
    card_values,
    find_checkpoint,
    plain,
    read_card,
    structure_of,
    task_of,
    with_tuples,
)


@dataclass(frozen=True, kw_only=True)
class Card(NetworkCard):
    """The card of a third task, with one field of its own."""

    NAMES: ClassVar = TaskNames(task="pose", noun="poser", script="train_pose.py", runs="runs/pose")

    sizes: tuple[int, ...]

    @classmethod
    def from_dict(cls, card):
        return cls(**card_values(card, in_channels=card["in_channels"]))


CARD = Card(
    backbone="resnet18",
    backbone_options=BackboneOptions(norm="group", deformable=("c5",)),
    conventions=Conventions(mean=(0.1, 0.2, 0.3), epsilon=1e-3),
    provenance="made",
    sizes=(1, 2),
)
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


def save(path, card):
    torch.save({"state_dict": {}, "keel": card}, path)
    return path


def test_a_card_is_flat_in_a_checkpoint_and_comes_back(tmp_path):
    assert CARD.to_dict() == {"task": "pose", "format": 1, **FLAT}
    path = save(tmp_path / "a.ckpt", CARD.to_dict())
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


@pytest.mark.parametrize("card", [None, "detection", {}, {"task": None}])
def test_a_checkpoint_without_a_task_is_refused(tmp_path, card):
    keys = r"it has the keys \['keel', 'state_dict'\]\. Give one that"
    path = save(tmp_path / "a.pth", card)
    with pytest.raises(ValueError, match=rf"a.pth is no checkpoint of a Keel run: {keys} a train"):
        task_of(path)
    with pytest.raises(
        ValueError, match=rf"a.pth is no .* Keel poser: {keys} train_pose.py writes"
    ):
        read_card(path, Card)


def test_the_weights_of_a_backbone_are_no_run(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"no checkpoint of a Keel run: .*\['conv1.weight'\]"):
        task_of(tmp_path / "a.pth")


def test_a_missing_and_a_damaged_file_have_no_task(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        task_of(tmp_path / "none.ckpt")
    path = save(tmp_path / "a.ckpt", CARD.to_dict())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"a\.ckpt is truncated or damaged"):
        task_of(path)


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
