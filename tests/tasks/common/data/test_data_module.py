"""A run that stopped in the middle of an epoch sees the rest of it; order is tested with sampling.

The tasks' own data are tested with the tasks.
"""

import lightning
import pytest
import torch
from torch.utils.data import Dataset

from tasks.common.data.data_module import ResumableDataModule
from tasks.common.resume.random_state import ExactState
from tasks.common.run.callbacks import LastCheckpoint
from tests.trainer import quiet_trainer


class Keys(Dataset):
    """Returns the epoch and the index that it was asked for."""

    def __getitem__(self, key):
        return torch.tensor(key)


class Data(ResumableDataModule):
    """Five batches of two, the last of one."""

    def train_dataloader(self):
        return self.training_loader(Keys(), aspect_ratios=[1.0] * 9, batch_size=2)

    def val_dataloader(self):
        return self.ordered_loader(Keys(), length=3, batch_size=2)


class Recorder(lightning.LightningModule):
    """Notes its batches; stops before a step if told."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.stop_at, self.seen = stop_at, []

    def training_step(self, batch, _index):
        if self.global_step == self.stop_at:
            raise KeyboardInterrupt
        self.seen.append(batch.tolist())
        return self.weight * 1.0

    def validation_step(self, batch, _index):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, data, *, stop_at=None, resume=None):
    trainer = quiet_trainer(
        folder,
        max_epochs=3,
        callbacks=[LastCheckpoint(folder / "last.ckpt", minutes=0), ExactState()],
    )
    module = Recorder(stop_at)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    except SystemExit:
        assert stop_at is not None
    return module.seen


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
@pytest.mark.parametrize("stop_at", [2, 5, 9, 10])
def test_a_resumed_run_sees_what_the_stopped_one_did_not(tmp_path, stop_at):
    """In the middle of an epoch, at its end, one batch before it, and in the next."""
    straight = fit(tmp_path / "straight", Data(seed=3))
    before = fit(tmp_path, Data(seed=3), stop_at=stop_at)
    after = fit(tmp_path / "resumed", Data(seed=3), resume=tmp_path / "last.ckpt")
    assert len(before) == stop_at
    assert before + after == straight
    assert len(straight) == 15
    keys = sorted(tuple(key) for batch in straight for key in batch)
    assert keys == [(epoch, index) for epoch in range(3) for index in range(9)]


@pytest.mark.parametrize(("seen", "left"), [(0, 5), (2, 3)])
def test_what_was_seen_is_left_out_once_and_only_of_training(seen, left):
    data = Data()
    data.load_state_dict({"epoch": 4, "batches": seen, "samples": 9})
    assert len(list(data.val_dataloader())) == 2
    loader = data.train_dataloader()
    batches = list(loader)
    assert {epoch for batch in batches for epoch in batch[:, 0].tolist()} == {4}
    assert len(batches) == left
    assert len(list(loader)) == 5
    assert len(list(data.train_dataloader())) == 5


def test_other_data_than_that_of_the_stopped_run_are_refused():
    data = Data()
    data.load_state_dict({"epoch": 1, "batches": 2, "samples": 10})
    with pytest.raises(ValueError, match=r"has 9 samples, that of the checkpoint had 10: .*same"):
        data.train_dataloader()


def test_without_a_trainer_nothing_was_seen():
    assert Data().state_dict() == {"epoch": 0, "batches": 0, "samples": None}


def test_fewer_than_no_workers_are_refused():
    with pytest.raises(ValueError, match="workers is -1; expected at least 0"):
        Data(workers=-1)
