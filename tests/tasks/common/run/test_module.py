"""What the training loops of all tasks share."""

import math
from itertools import repeat

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from tasks.common.recipe.recipe import Recipe
from tasks.common.run.module import NetworkModule
from tests.tasks.common.fakes import CARD, Network
from tests.training import quiet_trainer

RECIPE = Recipe(batch_size=2, lr=0.16, backbone_lr_factor=0.5, warmup=1, weight_decay=0.3)


class Module(NetworkModule):
    """Two losses, the second times another factor in each step; as scores the images found."""

    def __init__(self, *, factors=repeat(1.0), devices=1):  # noqa: B008
        super().__init__(Network(), recipe=RECIPE, card=CARD, settings={"seed": 3}, devices=devices)
        self.factors = iter(factors)

    @property
    def backbone(self):
        return self.network.backbone

    def losses(self, batch):
        loss = self.network(batch[0]).square().mean()
        return {"loss_a": loss, "loss_b": loss * next(self.factors)}

    def image_names(self, batch):
        return batch[1].tolist()

    def validation_step(self, batch, batch_idx):  # noqa: ARG002
        self.results |= dict.fromkeys(batch[1].tolist(), 1)

    test_step = validation_step

    def score(self, split):
        self.scores[split] = {"found": float(len(self.results))}
        return self.scores[split]

    def train_dataloader(self):
        return DataLoader([(torch.randn(3, 8, 8), n) for n in range(4)], batch_size=2)

    val_dataloader = test_dataloader = train_dataloader


class Watch(lightning.Callback):
    """Keeps the learning rates and the weights before each step, and what a sanity check left."""

    def __init__(self):
        self.rates, self.weights, self.checked = [], [], None

    def on_sanity_check_end(self, _trainer, module):
        self.checked = (len(module.results), dict(module.scores))

    def on_train_batch_start(self, trainer, module, *_):
        self.rates.append({g["name"]: g["lr"] for g in trainer.optimizers[0].param_groups})
        self.weights.append([parameter.detach().clone() for parameter in module.parameters()])


@pytest.mark.parametrize("devices", [1, 4])
def test_the_groups_reach_the_optimiser_with_the_schedule(tmp_path, devices):
    """Peak lr 0.16 * 2 / 16 = 0.02 per process; a step of warmup, a cosine over the rest to 0."""
    module, watch = Module(devices=devices), Watch()
    quiet_trainer(tmp_path, max_epochs=2, callbacks=[watch]).fit(module)
    assert module.trained == 2 * 4
    factors = [devices * factor for factor in (0.5, 1.0, 0.75, 0.25)]
    assert [lr["head/decay"] for lr in watch.rates] == pytest.approx([0.02 * f for f in factors])
    assert [lr["c2/decay"] for lr in watch.rates] == pytest.approx([0.01 * f for f in factors])
    groups = module.trainer.optimizers[0].param_groups
    assert sum(len(g["params"]) for g in groups) == len(list(module.parameters()))
    assert {g["weight_decay"] for g in groups if g["name"].endswith("/decay")} == {0.3}
    assert {g["weight_decay"] for g in groups if g["name"].endswith("no decay")} == {0.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_before_it_moves_a_weight(tmp_path, bad):
    module, watch = Module(factors=[1.0, bad]), Watch()
    message = rf"the loss is {bad} at step 1: .*'loss_b': {bad}.*, images \[2, 3\]\. Lower recipe"
    with pytest.raises(FloatingPointError, match=message):
        quiet_trainer(tmp_path, callbacks=[watch]).fit(module)
    before, after = watch.weights
    assert all(torch.equal(*pair) for pair in zip(after, module.parameters(), strict=True))
    assert not all(torch.equal(*pair) for pair in zip(before, after, strict=True))


def test_a_check_before_the_first_epoch_is_not_scored(tmp_path):
    watch = Watch()
    quiet_trainer(tmp_path, num_sanity_val_steps=1, max_steps=1, callbacks=[watch]).fit(Module())
    assert watch.checked == (2, {})


def test_a_split_is_scored_on_what_was_found_in_its_own_epoch(tmp_path):
    module = Module()
    module.results = {"of the epoch before": 1}
    trainer = quiet_trainer(tmp_path)
    trainer.test(module, verbose=False)
    assert module.scores == {"test": {"found": 4.0}}
    module.results = {"of the epoch before": 1}
    trainer.validate(module, verbose=False)
    assert module.scores["val"] == {"found": 4.0}
    assert trainer.callback_metrics["val/found"].item() == 4


def test_a_checkpoint_has_card_settings_and_scores_and_the_log_each_loss(tmp_path):
    module = Module()
    trainer = quiet_trainer(tmp_path)
    trainer.fit(module)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert checkpoint["keel"] == CARD.to_dict()
    assert checkpoint["keel_run"] == {"seed": 3}
    assert checkpoint["keel_scores"] == {"found": 4.0}
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert logged.keys() == {"lr", "train/loss", "train/loss_a", "train/loss_b", "val/found"}
    assert logged["train/loss"] == pytest.approx(logged["train/loss_a"] + logged["train/loss_b"])


def test_gradients_are_freed_before_the_forward_pass_of_a_step(tmp_path):
    """But not those that are accumulated; without them a step takes less memory."""
    seen = []

    class Looking(Module):
        def losses(self, batch):
            seen.append({p.grad is None for p in self.network.parameters()})
            return super().losses(batch)

    quiet_trainer(tmp_path, max_epochs=2, accumulate_grad_batches=2).fit(Looking())
    assert seen == [{True}, {False}] * 2
