"""The moving average: by hand, validated and kept, bit for bit where nothing moves."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from tasks.common.recipe.ema import MovingAverage
from tasks.common.run.callbacks import AtomicCheckpointIO, LastCheckpoint
from tests.training import OneWeight, quiet_trainer


class Slope(OneWeight):
    """A weight that falls by 1 in each step, one that does not move, statistics and a counter."""

    def __init__(self):
        super().__init__()
        self.network = nn.BatchNorm1d(3)
        self.network.weight.requires_grad_(False)
        self.network.running_var.copy_(torch.tensor([0.1, 1 / 3, 0.7]))
        self.frozen = nn.Parameter(torch.rand(1000), requires_grad=False)
        self.frozen.data[:2] = torch.tensor([-0.0, 5.6e-45])
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.network.num_batches_tracked += 1
        return super().training_step(batch, batch_idx)

    def validation_step(self, _batch, _index):
        self.seen.append(self.weight.item())

    def val_dataloader(self):
        return DataLoader(torch.zeros(1))

    test_step, test_dataloader = validation_step, val_dataloader


def trainer(folder, decay, epochs=2):
    callbacks = [MovingAverage(decay), LastCheckpoint(folder / "last.ckpt")]
    plugins = [AtomicCheckpointIO()]
    return quiet_trainer(folder, max_epochs=epochs, callbacks=callbacks, plugins=plugins)


def averages(decay, steps):
    """The weight is -1 after the first step, which the average begins with."""
    values = [-1.0]
    for step in range(2, steps + 1):
        at = min(decay, step / (9 + step))  # the count of averaged steps before is step - 1
        values.append(at * values[-1] + (1 - at) * -step)
    return values


def read(folder):
    return torch.load(folder / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("decay", [0.2, 0.99])
def test_the_average_is_that_of_the_formula_and_validated_and_kept(tmp_path, decay):
    module = Slope()
    still = module.frozen.clone(), module.network.running_var.clone()
    fitted = trainer(tmp_path, decay)
    torch.set_flush_denormal(True)  # as in every run
    fitted.fit(module)
    torch.set_flush_denormal(False)
    expected = averages(decay, 4)
    assert module.seen == pytest.approx([expected[1], expected[3]])
    saved = read(tmp_path)
    assert saved["state_dict"]["weight"].item() == pytest.approx(expected[3])
    assert saved["current_model_state"]["weight"].item() == -4
    assert module.weight.item() == pytest.approx(expected[3])
    for state in (saved["state_dict"], module.state_dict()):
        assert state["frozen"].view(torch.int32).equal(still[0].view(torch.int32))  # -0 is not 0
        assert torch.equal(state["network.running_var"], still[1])
        assert state["network.num_batches_tracked"] == 4
    fitted.test(module, ckpt_path=tmp_path / "last.ckpt", verbose=False, weights_only=True)
    assert module.seen[-1] == pytest.approx(expected[3])


def test_a_resumed_run_goes_on_with_both(tmp_path):
    trainer(tmp_path, 0.5, epochs=1).fit(Slope())
    module = Slope()
    again = trainer(tmp_path, 0.5, epochs=2)
    again.fit(module, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert module.seen == pytest.approx([averages(0.5, 4)[3]])
    assert read(tmp_path)["current_model_state"]["weight"].item() == -4
