"""Which runs may go on from a checkpoint."""

from dataclasses import replace

import pytest
import torch

from backbones import BackboneOptions, Conventions
from backbones.fusion import FUSED
from backbones.lineage import Step
from tasks.common.resume.continuation import check_resume
from tests.backbones.errors import refuses
from tests.tasks.common.fakes import CARD, save


def settings(*, epochs=2, max_steps=-1, **more):
    recipe, trainer = {"epochs": epochs, "lr": 0.1}, {"max_steps": max_steps}
    return {"recipe": recipe, "seed": 0, "trainer": trainer, "split": {"val": ("2*",)}} | more


@pytest.fixture
def path(tmp_path):
    return save(tmp_path / "last.ckpt", settings=settings())


def test_the_same_run_may_go_on(path):
    """Where the first weights came from may differ; lists and tuples are the same."""
    for card in (CARD, replace(CARD, provenance="weights from x.pth")):
        for split in (("2*",), ["2*"]):
            found = check_resume(path, card, settings=settings(split={"val": split}))
            assert found == CARD


def test_the_lineage_is_that_of_the_checkpoint(tmp_path):
    before = replace(CARD, provenance="weights from a.pth", lineage=(Step(source="a.pth"),))
    now = replace(CARD, provenance="weights from b.pth", lineage=(Step(source="b.pth"),))
    path = save(tmp_path / "last.ckpt", before, settings=settings())
    assert check_resume(path, now, settings=settings()) == before


def test_a_fused_network_is_not_trained(path):
    torch.save(torch.load(path, weights_only=True) | {FUSED: True}, path)
    with refuses(r"last\.ckpt is fused: its norms are part .* Use the checkpoint that it was made"):
        check_resume(path, CARD, settings=settings())


@pytest.mark.parametrize(
    ("card", "changes", "message"),
    [
        ({"backbone": "resnet34"}, {}, "backbone is 'resnet34', the checkpoint's is 'resnet18'"),
        ({"backbone_options": BackboneOptions()}, {}, "norm is 'batch', .* is 'group'"),
        ({"conventions": Conventions()}, {}, r"mean is \[0.485, .*\], .* is \[0.1, 0.2"),
        (
            {"sizes": (1, 3)},
            {},
            r"cannot resume from .*last.ckpt: sizes is \[1, 3\], the checkpoint's is \[1, 2\]\. "
            r"Use the command of that run, .* start a new run with init_from set",
        ),
        ({}, {"epochs": 3}, "recipe.epochs is 3, the checkpoint's is 2"),
        ({}, {"seed": 1}, "seed is 1, the checkpoint's is 0"),
        ({}, {"max_steps": 9}, "trainer.max_steps is 9, the checkpoint's is -1"),
        ({}, {"split": {"val": ("3*",)}}, r"split.val is \['3\*'\], .* is \['2\*'\]"),
        (
            {},
            {"trainer": {"max_steps": -1, "precision": "32"}},
            "trainer.precision is '32', the checkpoint's is None.*name what was auto there",
        ),
    ],
)
def test_another_run_may_not_go_on(path, card, changes, message):
    with pytest.raises(ValueError, match=message):
        check_resume(path, replace(CARD, **card), settings=settings(**changes))


@pytest.mark.parametrize(
    ("before", "now", "restarts", "message"),
    [
        ({"flip": 0.5}, {}, 0, ""),
        ({"_target_": "tasks.pose.transforms", "flip": 0}, {"flip": 0.0}, 0, ""),
        ({"flip": 0.5}, {"shift": 0.1}, 0, r"augment.shift is 0.1, the checkpoint's is 0.0\."),
        ({"flip": 0.5, "scale": [1, 2]}, {}, 0, r"augment.scale is \[1.0, 1.0\], .* is \[1, 2\]\."),
        ({"_target_": "x", "flip": 0}, {}, 0, r"augment.flip is 0.5, the checkpoint's is 0\."),
        ({"flip": 0.5}, {}, 1, r"recipe.restarts is 1, the checkpoint's is 0\."),
    ],
)
def test_options_newer_than_the_checkpoint_have_defaults(tmp_path, before, now, restarts, message):
    """An earlier version kept what was given, with the name of the function that took it."""
    defaults = {"flip": 0.5, "shift": 0.0, "scale": (1.0, 1.0)}
    path = save(tmp_path / "last.ckpt", settings=settings(augment=before))
    recipe = {"epochs": 2, "lr": 0.1, "restarts": restarts}
    changed = settings(augment=defaults | now, recipe=recipe)
    if not message:
        check_resume(path, CARD, settings=changed, defaults={"augment": defaults})
        return
    with pytest.raises(ValueError, match=f"last.ckpt: {message} Use the command"):
        check_resume(path, CARD, settings=changed, defaults={"augment": defaults})


@pytest.mark.parametrize(
    ("run", "epochs", "message"),
    [
        ({"epochs": 3}, 3, r"has 3 of 3 epochs behind it, 8 steps: nothing .*evaluate.py"),
        ({"max_steps": 8}, 1, r"has 1 of 2 epochs behind it, 8 steps of 8: nothing is left"),
    ],
)
def test_a_run_that_has_ended_has_nothing_to_go_on_with(tmp_path, run, epochs, message):
    path = save(tmp_path / "last.ckpt", settings=settings(**run), epochs=epochs)
    with pytest.raises(ValueError, match=message):
        check_resume(path, CARD, settings=settings(**run))


def test_a_run_cannot_go_on_from_a_checkpoint_of_another_task(tmp_path):
    path = save(tmp_path / "det.ckpt", {"task": "detection"})
    with pytest.raises(ValueError, match=r"det.ckpt is a checkpoint of the task detection; expect"):
        check_resume(path, CARD, settings=settings())
