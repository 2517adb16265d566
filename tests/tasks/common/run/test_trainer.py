"""Which strategy a run takes where stages thaw under several processes."""

import pytest

from tasks.common.machine.options import TrainerOptions
from tasks.common.recipe.recipe import Recipe
from tasks.common.run.trainer import choose_strategy

LOOKS = "_find_unused_parameters_true"


@pytest.mark.parametrize(
    ("strategy", "devices", "thaws", "expected"),
    [
        ("auto", 1, True, "auto"),
        ("fsdp", 2, False, "fsdp"),
        ("ddp", 2, False, "ddp"),
        ("auto", 2, True, f"ddp{LOOKS}"),
        ("ddp", 2, True, f"ddp{LOOKS}"),
        ("ddp_spawn", 2, True, f"ddp_spawn{LOOKS}"),
        (f"ddp_fork{LOOKS}", 2, True, f"ddp_fork{LOOKS}"),
    ],
)
@pytest.mark.parametrize("recipe", [{"unfreeze": {"c5": 1}}, {"frozen_until": 1}])
def test_ddp_looks_for_what_has_no_gradient_yet(recipe, strategy, devices, thaws, expected):
    options = TrainerOptions(strategy=strategy, devices=devices)
    assert choose_strategy(options, Recipe(**recipe if thaws else {})) == expected


def test_a_strategy_that_fixes_what_is_trained_is_refused():
    options = TrainerOptions(strategy="fsdp", devices=2)
    message = r"^recipe\.unfreeze .* do not go with trainer\.strategy=fsdp on 2 .*strategy=ddp"
    with pytest.raises(ValueError, match=message):
        choose_strategy(options, Recipe(frozen_until=1))
