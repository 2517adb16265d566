"""A run that stopped in the middle of an epoch sees the rest of it; order is tested with sampling.

The tasks' own data are tested with the tasks.
"""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Dataset

from tasks.common.data.data_module import ResumableDataModule
from tasks.common.resume.random_state import ExactState
from tasks.common.run.callbacks import LastCheckpoint
from tests.training import OneWeight, quiet_trainer


class Keys(Dataset):
    """Returns the epoch and the index as the sample."""

    def __getitem__(self, key):
        return torch.tensor(key)


class Data(ResumableDataModule):
    """Five batches of two, the last of one."""

    def train_dataloader(self):
        return self.training_loader(Keys(), aspect_ratios=[1.0] * 9, batch_size=2)

    def val_dataloader(self):
        return self.ordered_loader(Keys(), length=3, batch_size=2)


class Recorder(OneWeight):
    """Notes its batches; stops before the step ``stop_at``."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.stop_at, self.seen = stop_at, []

    def training_step(self, batch, batch_idx):
        if self.global_step == self.stop_at:
            raise KeyboardInterrupt
        self.seen.append(batch.tolist())
        return super().training_step(batch, batch_idx)


def fit(folder, *, stop_at=None, resume=None):
    module = Recorder(stop_at)
    callbacks = [LastCheckpoint(folder / "last.ckpt", minutes=0), ExactState()]
    trainer = quiet_trainer(folder, max_epochs=3, callbacks=callbacks)
    try:
        trainer.fit(module, datamodule=Data(seed=3), ckpt_path=resume, weights_only=True)
    except SystemExit:
        assert stop_at is not None
    return module.seen


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
@pytest.mark.parametrize("stop_at", [2, 5, 9, 10])
def test_a_resumed_run_sees_what_the_stopped_one_did_not(tmp_path, stop_at):
    """In the middle of an epoch, at its end, one batch before it, and in the next."""
    straight = fit(tmp_path / "straight")
    before = fit(tmp_path, stop_at=stop_at)
    after = fit(tmp_path / "resumed", resume=tmp_path / "last.ckpt")
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


def test_a_cache_takes_the_place_of_the_samples_and_decides_the_workers():
    data, encoder = Data(workers=2), SimpleNamespace(collate=len)
    data.cache = SimpleNamespace(dataset=Keys(), workers=lambda wanted: wanted - 2, encoder=encoder)
    loader = data.train_dataloader()
    assert (loader.dataset, loader.num_workers, loader.collate_fn) == (data.cache.dataset, 0, len)
    assert data.val_dataloader().num_workers == 2


def test_without_a_trainer_nothing_was_seen():
    assert Data().state_dict() == {"epoch": 0, "batches": 0, "samples": None}


def test_fewer_than_no_workers_are_refused():
    with pytest.raises(ValueError, match="workers is -1; expected at least 0"):
        Data(workers=-1)
