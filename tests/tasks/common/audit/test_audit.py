"""The audit: what it says of a sound run, and that it sees every defect that is planted."""

import json
from functools import partial

import lightning
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.ops import FrozenBatchNorm2d

from tasks.common.audit.audit import Audit, AuditError
from tasks.common.audit.table import digest
from tasks.common.recipe.groups import parameter_groups
from tasks.common.recipe.optim import build_optimizer
from tasks.common.recipe.recipe import Recipe
from tasks.common.recipe.unfreeze import Unfreezing, frozen_stages
from tests.tasks.common.fakes import Network
from tests.training import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")


class Loop(lightning.LightningModule):
    """Trains a network on noise."""

    def __init__(self, recipe, *, freeze):
        super().__init__()
        self.network, self.recipe = Network(freeze), recipe

    def training_step(self, batch, _index):
        return self.network(batch).square().mean()

    def train_dataloader(self):
        return DataLoader(torch.randn(4, 3, 8, 8), batch_size=2)

    def configure_optimizers(self):
        made = parameter_groups(self.network, self.network.backbone, recipe=self.recipe, lr=0.1)
        return build_optimizer(made, self.recipe)


class Plant(lightning.Callback):
    """Plants a defect at a hook from a step on: something done to the network or the groups."""

    def __init__(self, hook, act, *, at=0, late=False, groups=False):
        self.act, self.at, self.late, self.groups = act, at, late, groups
        setattr(self, hook, self._hook)

    def _hook(self, trainer, pl_module, *_, **__):
        if trainer.global_step >= self.at:
            with torch.no_grad():
                self.act(trainer.optimizers[0].param_groups if self.groups else pl_module.network)


def audited(tmp_path, *plants, freeze=2, epochs=2, stop=None, resume=None, **options):
    recipe = Recipe(epochs=epochs, **options)
    module = Loop(recipe, freeze=freeze)
    frozen = partial(frozen_stages, recipe, base=freeze, stages=5)
    audit = Audit(module.network.backbone, frozen, path=tmp_path / "audit.json")
    early = [plant for plant in plants if not plant.late]
    callbacks = [Unfreezing(module.network.backbone, frozen, epochs=epochs), *early, audit]
    callbacks += [plant for plant in plants if plant.late]
    trainer = quiet_trainer(tmp_path, max_epochs=stop or epochs, callbacks=callbacks)
    trainer.fit(module.train(), ckpt_path=resume, weights_only=True)
    trainer.save_checkpoint(tmp_path / "kept.ckpt")
    return audit, module


def written(tmp_path):
    return json.loads((tmp_path / "audit.json").read_text())


def test_a_sound_run_is_reported_in_one_line_and_in_a_file(tmp_path, capsys):
    audit, module = audited(tmp_path, lr_decay=0.5)
    assert audit.report == "stem, c2: 12 tensors, none moved; 13 of 13 trained tensors moved"
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("audit")]
    assert line == (
        "audit: epoch 1: stem, c2 frozen (12 tensors); 13 tensors train, "
        "peak lr c3 0.025, c4 0.05, c5 0.1, head 0.1"
    )
    record = written(tmp_path)
    assert (record["failures"], record["report"]) == ([], audit.report)
    (phase,) = record["phases"]
    assert (phase["frozen"], phase["first epoch"]) == (["stem", "c2"], 1)
    modes = {line["stage"]: line["eval_modules"] for line in phase["stages"]}
    frozen = {name: [f"backbone.{name}.{n}" for n in (0, 1)] for name in ("stem", "c2")}
    assert modes == frozen | {stage: [] for stage in ("c3", "c4", "c5", "head")}
    groups = {group["group"]: group for group in phase["groups"]}
    assert groups["stem/decay"]["frozen"] == ["backbone.stem.0.weight"]
    assert groups["c3/decay"]["lr"] == pytest.approx(0.025)
    named = [n for group in groups.values() for n in (*group["trains"], *group["frozen"])]
    assert sorted(named) == sorted(name for name, _ in module.network.named_parameters())
    kept = record["compared"]["frozen throughout"]
    assert kept["backbone.stem.0.weight"] == digest(Network().backbone.stem[0].weight)


def test_stages_that_thaw_are_compared_up_to_then(tmp_path):
    audit, module = audited(tmp_path, freeze=5, epochs=3, unfreeze={"c5": 1, "c4": 2})
    phases = written(tmp_path)["phases"]
    assert [phase["first epoch"] for phase in phases] == [1, 2, 3]
    assert [len(phase["frozen"]) for phase in phases] == [5, 4, 3]
    assert audit.report == "stem, c2, c3: 18 tensors, none moved; 10 of 10 trained tensors moved"
    before = Network().state_dict()
    still = {n for n, t in module.network.state_dict().items() if torch.equal(t, before[n])}
    prefixes = tuple(f"backbone.{stage}." for stage in ("stem", "c2", "c3"))
    assert still == {name for name in before if name.startswith(prefixes)}


def test_nothing_frozen_is_said_so(tmp_path):
    audit, _ = audited(tmp_path, freeze=0, epochs=1)
    assert audit.report == "nothing was frozen to the end; 19 of 19 trained tensors moved"


def move(name):
    return lambda network: network.state_dict()[name].add_(1)


def freeze(count):
    return lambda network: network.backbone.freeze(count)


def wake(network):
    network.backbone.c2[1].train()


def write_back(network):
    network.head.weight.copy_(Network().head.weight)


def forget(groups):
    groups[-1]["params"].pop(0)


def repeat(groups):
    groups[0]["params"].append(groups[-1]["params"][0])


def add(groups):
    groups[0]["params"].append(nn.Parameter(torch.ones(1)))


def stop(groups):
    groups[-1]["lr"] = 0.0


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (wake, r"frozen and yet in train mode, where .*: backbone\.c2\.1\."),
        (freeze(1), r"frozen and yet taking a gradient: backbone\.c2\.0\.w.* in train mode"),
        (freeze(3), r"to be trained, and requires_grad is False: backbone\.c3\.0\.weight, "),
        (lambda n: n.backbone.c4.eval(), r"to be trained, and in eval mode.*: backbone\.c4, "),
        (forget, r"in no group of the optimiser: head\.weight\."),
        (repeat, r"several times in the groups of the optimiser: head\.weight\."),
        (add, "the optimiser has 1 parameters that are not of the network"),
        (stop, r"to be trained at a learning rate of 0: head\.weight; freeze what"),
    ],
)
def test_what_is_wrong_before_the_first_step_stops_the_run(tmp_path, act, message):
    plant = Plant("on_train_epoch_start", act, groups=act in (forget, repeat, add, stop))
    with pytest.raises(AuditError, match=f"^audit before the first step of epoch 1: {message}"):
        audited(tmp_path, plant)
    assert len(written(tmp_path)["failures"]) > 0


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (
            Plant("on_train_batch_start", wake, late=True),
            r"after the first step of epoch 1: 3 of 12 frozen .*: backbone\.c2\.1\.running_mean",
        ),
        (
            Plant("on_train_batch_end", move("backbone.stem.0.weight")),
            r"after .* 1: 1 of 12 frozen tensors moved: backbone\.stem\.0\.weight; look",
        ),
        (
            Plant("on_train_batch_end", move("backbone.stem.0.weight"), at=2),
            r"at the end of epoch 1: 1 of 12 frozen tensors",
        ),
        (
            Plant("on_train_batch_end", move("backbone.c2.1.running_var"), at=4),
            r"at the end of epoch 2: 1 of 12 frozen .*: backbone\.c2\.1\.running_var; look",
        ),
        (
            Plant("on_train_epoch_end", move("backbone.c2.1.running_var"), at=4, late=True),
            r"at the end: 1 of 12 frozen .*: backbone\.c2\.1\.running_var; look",
        ),
        (
            Plant("on_train_batch_end", write_back),
            r"after .* 1: 1 of 13 trained tensors had a gradient and did not move: head\.weight",
        ),
        (
            Plant("on_train_batch_end", write_back, at=4),
            r"at the end: 1 of 13 trained tensors had a gradient and did not move: head\.weight",
        ),
    ],
)
def test_what_goes_wrong_in_training_stops_the_run(tmp_path, plant, message):
    with pytest.raises(AuditError, match=f"^audit {message}"):
        audited(tmp_path, plant)
    assert len(written(tmp_path)["failures"]) > 0


def test_a_stage_that_moved_before_it_thaws_stops_the_run(tmp_path):
    """After its last step as a frozen one, so that only the comparison at the thaw can see it."""
    plant = Plant("on_train_epoch_end", move("backbone.c5.1.num_batches_tracked"), late=True)
    message = r"^audit before the first step of epoch 2: 1 of 30 .*: backbone\.c5\.1\.num_batches"
    with pytest.raises(AuditError, match=message):
        audited(tmp_path, plant, freeze=5, unfreeze={"c5": 1})


def test_a_trainable_stage_without_a_gradient_stops_the_run(tmp_path, monkeypatch):
    def detached(self, x):
        return self.head(self.norm(self.backbone(x).detach()))

    monkeypatch.setattr(Network, "forward", detached)
    first = r"epoch 1: 9 parameters should .* no gradient: backbone\.c3.*backbone\.freeze"
    with pytest.raises(AuditError, match=f"after .* {first}"):
        audited(tmp_path)
    with pytest.raises(AuditError, match=r"after .* epoch 2: 3 parameters .* backbone\.c5"):
        audited(tmp_path, freeze=5, unfreeze={"c5": 1})


def test_a_tensor_whose_gradient_is_always_0_is_named_and_no_failure(tmp_path):
    """It does not decay either."""
    zero = Plant("on_before_optimizer_step", lambda n: n.norm.bias.grad.zero_())
    audit, _ = audited(tmp_path, zero)
    still = "12 of 13 trained tensors moved (norm.bias had no gradient that could move it)"
    assert audit.report.endswith(still)


def test_a_resumed_run_is_compared_with_what_the_first_one_began_with(tmp_path):
    audited(tmp_path, epochs=1)
    saved = torch.load(tmp_path / "kept.ckpt", weights_only=True)
    audit, _ = audited(tmp_path, epochs=2, resume=tmp_path / "kept.ckpt")
    assert audit.report.startswith("stem, c2: 12 tensors, none moved; 13 of 13")
    saved["state_dict"]["network.backbone.stem.1.running_mean"] += 1
    torch.save(saved, tmp_path / "changed.ckpt")
    message = r"^audit before .* epoch 2: 1 of 12 .*\.stem\.1\.running_mean"
    with pytest.raises(AuditError, match=message):
        audited(tmp_path, epochs=2, resume=tmp_path / "changed.ckpt")


def test_the_kept_checkpoint_is_compared_as_well(tmp_path):
    audit, module = audited(tmp_path, epochs=1)
    audit.check_kept(module)
    move("backbone.stem.1.bias")(module.network.requires_grad_(False))
    with pytest.raises(AuditError, match=r"of the best checkpoint: 1 of 12 .*\.stem\.1\.bias"):
        audit.check_kept(module)
    (failure,) = written(tmp_path)["failures"]
    assert failure.startswith("1 of 12 frozen tensors moved: backbone.stem.1.bias")
    unfinished = Audit(module.network.backbone, lambda _epoch: 2, path=None)
    with pytest.raises(AuditError, match=r"of the best checkpoint: training ended before it could"):
        unfinished.check_kept(module)


def test_norms_whose_statistics_stay_are_audited_in_every_stage(tmp_path):
    frozen_norm = FrozenBatchNorm2d(8)
    swap = Plant("setup", lambda n: setattr(n, "norm", frozen_norm))
    audit, _ = audited(tmp_path, swap)
    assert audit.report == (
        "stem, c2: 12 tensors, none moved; 4 of frozen norms beyond them, none moved; "
        "11 of 11 trained tensors moved"
    )
    names = {f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
    assert audit.record["compared"]["frozen norms of other stages"].keys() == names
    spoil = Plant("on_train_batch_end", move("norm.running_mean"))
    with pytest.raises(AuditError, match=r"after .* 1: 1 of 16 frozen .*moved: norm\.running_mean"):
        audited(tmp_path, swap, spoil)


@pytest.mark.parametrize("stopped", [1, 2, 3])
def test_the_record_of_a_resumed_run_has_all_phases(tmp_path, stopped):
    """Whether it was stopped within a phase or where the next begins."""
    options = {"freeze": 5, "epochs": 4, "unfreeze": {"c5": 1, "c4": 3}}
    whole, _ = audited(tmp_path, **options)
    audited(tmp_path, stop=stopped, **options)
    resumed, _ = audited(tmp_path, resume=tmp_path / "kept.ckpt", **options)
    assert resumed.record["phases"] == whole.record["phases"]
    assert [phase["first epoch"] for phase in whole.record["phases"]] == [1, 2, 4]


def test_a_step_that_is_left_out_for_infinite_gradients_is_not_looked_at(tmp_path):
    """As the gradient scaler does; the next step is the first one then."""

    class Once(Plant):
        def _hook(self, trainer, pl_module, *_):
            if trainer.global_step <= 1 and trainer.current_epoch == 0:
                super()._hook(trainer, pl_module)

    spoil = Once("on_before_optimizer_step", lambda n: n.head.bias.grad.fill_(torch.inf))
    undo = Once("on_train_batch_end", lambda n: n.load_state_dict(Network().state_dict()))
    audit, _ = audited(tmp_path, spoil, undo)
    assert audit.report.endswith("13 of 13 trained tensors moved")
