"""What is frozen in which epoch: a function by a hand-written table, and the callback."""

import pytest
import torch

from tasks.common.recipe.recipe import Recipe
from tasks.common.recipe.unfreeze import (
    Unfreezing,
    check_unfreezing,
    frozen_stages,
    phases,
    unfreezing_text,
)
from tests.tasks.common.fakes import Network


@pytest.mark.parametrize(
    ("options", "base", "stages", "expected"),
    [
        ({}, 2, 5, "222222"),
        ({"frozen_until": 2}, 0, 5, "550000"),
        ({"frozen_until": 3}, 2, 4, "444222"),
        ({"unfreeze": {"c4": 2, "c3": 5}}, 4, 5, "443332"),
        ({"unfreeze": {"c3": 5, "c4": 2}}, 4, 5, "443332"),  # the order in the file is nothing
        ({"unfreeze": {"c4": 2, "c3": 2}}, 4, 5, "442222"),
        ({"unfreeze": {"c5": 1, "c4": 2, "c3": 3, "c2": 4, "stem": 5}}, 5, 5, "543210"),
        ({"unfreeze": {"c3": 3}, "frozen_until": 1}, 3, 5, "533222"),
    ],
)
def test_what_is_frozen_is_a_function_of_the_epoch(options, base, stages, expected):
    recipe = Recipe(epochs=6, **options)
    check_unfreezing(recipe, base=base, stages=stages)
    frozen = [frozen_stages(recipe, epoch, base=base, stages=stages) for epoch in range(6)]
    assert "".join(map(str, frozen)) == expected
    changes = {e: int(n) for e, n in enumerate(expected) if e == 0 or n != expected[e - 1]}
    assert phases(recipe, base=base, stages=stages) == changes


@pytest.mark.parametrize(
    ("unfreeze", "base", "stages", "message"),
    [
        ({"c5": 1}, 4, 5, r"names c5, which is not frozen at the start: frozen is stem, c2, c3"),
        ({"c2": 1}, 0, 5, r"names c2, .* is nothing .*Load weights, set backbone.freeze=2, or"),
        ({"c5": 1}, 4, 4, r"names c5, which this backbone does not have: its stages are stem, c2"),
        ({"c3": 1}, 4, 5, r"leaves c4 frozen between stages that train; name c4 too"),
        ({"c4": 1, "c2": 2}, 4, 5, r"leaves c3 frozen between stages that train"),
        ({"c4": 3, "c3": 2}, 4, 5, r"has c3 train after 2 epochs, before c4 after 3"),
    ],
)
def test_an_order_that_cannot_be_is_refused(unfreeze, base, stages, message):
    with pytest.raises(ValueError, match=f"^recipe.unfreeze {message}"):
        check_unfreezing(Recipe(unfreeze=unfreeze), base=base, stages=stages)


def test_the_banner_counts_epochs_from_1_as_the_progress_does():
    recipe = Recipe(frozen_until=1, unfreeze={"c3": 5, "c4": 2})
    assert unfreezing_text(recipe) == (
        "all of the backbone frozen in epochs 1 to 1; "
        "c4 trains from epoch 3; c3 trains from epoch 6"
    )
    assert unfreezing_text(Recipe()) == ""


class Trainer:
    current_epoch = 0


def test_the_callback_freezes_by_the_epoch_alone():
    """In any order of epochs, as a resumed run may begin with any of them."""
    network, trainer = Network(freeze=4), Trainer()
    counts = [4, 4, 3, 2]
    callback = Unfreezing(network.backbone, counts.__getitem__, epochs=4)
    callback.setup(trainer, network, "fit")
    assert network.backbone.frozen == 2  # DDP sees all that will train
    for hook in (callback.on_train_start, callback.on_train_epoch_start):
        for trainer.current_epoch in (3, 0, 2):
            hook(trainer, network)
            assert network.backbone.frozen == counts[trainer.current_epoch]
    callback.setup(trainer, network, "test")
    assert network.backbone.frozen == 3
    assert callback.state_dict() == {}


def test_an_unfrozen_stage_trains_with_its_statistics():
    network = Network(freeze=5).train()
    before = network.backbone.c5[1].running_mean.clone()
    network(torch.randn(2, 3, 8, 8))
    assert torch.equal(network.backbone.c5[1].running_mean, before)
    Unfreezing(network.backbone, [4].__getitem__, epochs=1).on_train_start(Trainer(), network)
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    assert not torch.equal(network.backbone.c5[1].running_mean, before)
    assert network.backbone.c5[0].weight.grad is not None
    assert network.backbone.c4[0].weight.grad is None
