"""What the checkpoints of all tasks have in common; each task's own are tested with the task."""

from dataclasses import dataclass

import pytest
import torch

from tasks.common.resume.card import (
    TASKS,
    card_dict,
    card_values,
    find_checkpoint,
    plain,
    read_card,
    task_of,
    with_tuples,
)


@dataclass(frozen=True, kw_only=True)
class Card:
    """A card of two fields."""

    name: str
    sizes: tuple[int, ...]

    def to_dict(self):
        return card_dict(self, task="detection")

    @classmethod
    def from_dict(cls, card):
        return cls(**card_values(card))


CARD = Card(name="a", sizes=(1, 2))


def save(path, card):
    torch.save({"state_dict": {}, "keel": card}, path)
    return path


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_checkpoint_says_what_its_task_is(tmp_path, task):
    assert task_of(save(tmp_path / "a.ckpt", card_dict(CARD, task=task))) == task


@pytest.mark.parametrize("card", [None, "detection", {}, {"task": "pose"}, {"task": None}])
def test_the_checkpoint_of_no_task_of_ours_is_refused(tmp_path, card):
    message = (
        r"a.pth is no checkpoint of a Keel run: it has the keys \['keel', 'state_dict'\]\. Give "
        r"one that scripts/train_det.py or scripts/train_seg.py wrote"
    )
    with pytest.raises(ValueError, match=message):
        task_of(save(tmp_path / "a.pth", card))


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


@pytest.mark.parametrize(
    ("task", "noun"), [("detection", "detector"), ("segmentation", "segmenter")]
)
def test_a_task_does_not_read_the_checkpoint_of_the_other(tmp_path, task, noun):
    (other,) = set(TASKS) - {task}
    path = save(tmp_path / "a.ckpt", card_dict(CARD, task=other))
    message = (
        rf"a\.ckpt is the checkpoint of a {TASKS[other].noun}; expected that of a {noun}, which "
        rf"{TASKS[task].script} writes, such as {TASKS[task].runs}/"
    )
    with pytest.raises(ValueError, match=message):
        read_card(path, Card.from_dict, task=task)
    assert read_card(path, Card.from_dict, task=other)[1] == CARD


def test_a_card_becomes_lists_all_the_way_down():
    nested = {"a": ((1, 2), [3, (4,)]), "b": {"c": (None, "x", 1.5)}}
    assert plain(nested) == {"a": [[1, 2], [3, [4]]], "b": {"c": [None, "x", 1.5]}}
    assert with_tuples({"a": [1, [2]], "b": "x"}) == {"a": (1, [2]), "b": "x"}
    assert CARD.to_dict() == {"task": "detection", "format": 1, "name": "a", "sizes": [1, 2]}


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
