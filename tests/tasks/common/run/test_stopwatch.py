"""What Lightning does, by part, in a run whose every step moves a clock by hand."""

import lightning
import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader, Dataset

from tasks.common.report.clock import Clock, Part
from tasks.common.run.callbacks import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint
from tasks.common.run.stopwatch import Stopwatch
from tests.training import OneWeight, quiet_trainer


class Hand:
    def __init__(self):
        self.at = 0

    def __call__(self):
        return self.at

    def move(self, seconds):
        self.at += seconds


class Slow(Dataset):
    """Two items, each of which takes some seconds to load."""

    def __init__(self, hand, seconds):
        self.hand, self.seconds = hand, seconds

    def __len__(self):
        return 2

    def __getitem__(self, _):
        self.hand.move(self.seconds)
        return torch.zeros(1)


class Module(OneWeight):
    """Each decimal place of the seconds is another thing that takes time."""

    def __init__(self, hand):
        super().__init__()
        self.hand = hand

    def train_dataloader(self):
        return DataLoader(Slow(self.hand, 1), batch_size=1)

    def training_step(self, batch, batch_idx):
        self.hand.move(10)
        return super().training_step(batch, batch_idx)

    def val_dataloader(self):
        return DataLoader(Slow(self.hand, 100), batch_size=1)

    test_dataloader = val_dataloader

    def validation_step(self, *_):
        self.hand.move(1000)
        with self.trainer.profiler.profile(Part.SCORING):
            self.hand.move(10_000)

    test_step = validation_step

    def on_validation_epoch_end(self):
        self.log("val/ap", float(self.current_epoch))

    def on_save_checkpoint(self, _):
        self.hand.move(100_000)

    def on_fit_start(self):
        with self.trainer.profiler.profile(Part.CACHE):
            self.hand.move(1_000_000)

    def on_train_start(self):
        self.hand.move(10_000_000)

    def on_train_epoch_end(self):
        self.hand.move(100_000_000)

    def on_validation_end(self):
        self.hand.move(1000)  # with the validation


@pytest.fixture
def hand():
    return Hand()


@pytest.fixture
def clock(hand):
    clock = Clock(now=hand)
    clock.begin(Part.SETUP)
    return clock


def trainer(folder, clock, **options):
    callbacks = BestCheckpoint(folder, monitor="val/ap"), LastCheckpoint(folder / "last.ckpt")
    options["callbacks"] = [*callbacks, *options.get("callbacks", ())]
    plugins = [AtomicCheckpointIO()]
    return quiet_trainer(folder, plugins=plugins, profiler=Stopwatch(clock), **options)


def taken(clock):
    return {part: s for part, s in clock.times(images=0).seconds.items() if s}


EPOCH = {  # of two batches and a validation of two
    Part.LOADING: 2,
    Part.STEPS: 20,
    Part.VALIDATION: 3200,
    Part.SCORING: 20_000,
    Part.CHECKPOINTS: 200_000,  # the best and the last
    Part.REST: 100_000_000,
}


def test_every_part_of_two_epochs_and_a_test_is_as_by_hand(tmp_path, hand, clock):
    module, runner = Module(hand), trainer(tmp_path, clock, max_epochs=2)
    runner.fit(module)
    # Before the last validation the last state is saved once more.
    expected = {part: 2 * seconds for part, seconds in EPOCH.items()}
    expected[Part.CHECKPOINTS] += 100_000
    start = {Part.CACHE: 1_000_000, Part.SETUP: 10_000_000}
    assert taken(clock) == start | expected
    with clock.during(Part.TEST):
        runner.test(module, ckpt_path=tmp_path / "best.ckpt", verbose=False, weights_only=True)
    expected[Part.SCORING] += 20_000
    assert taken(clock) == start | expected | {Part.TEST: 2200}
    assert clock.times(images=0).total == hand.at


def test_a_validation_after_the_training_is_one(tmp_path, hand, clock):
    module, runner = Module(hand), trainer(tmp_path, clock, max_steps=1)
    runner.fit(module)
    before = taken(clock)
    assert Part.VALIDATION not in before
    runner.validate(module, verbose=False)
    hand.move(7)
    after = {Part.VALIDATION: 3200, Part.SCORING: 20_000, Part.REST: before[Part.REST] + 7}
    assert taken(clock) == before | after


def test_a_resumed_run_counts_from_its_own_start(tmp_path, hand, clock):
    trainer(tmp_path, clock).fit(Module(hand))
    second = Clock(now=hand)
    second.begin(Part.SETUP)
    runner = trainer(tmp_path / "b", second, max_epochs=2)
    runner.fit(Module(hand), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    found = taken(second)
    assert (found[Part.LOADING], found[Part.STEPS], found[Part.VALIDATION]) == (2, 20, 3200)
    assert found[Part.SETUP] == 10_000_000


@pytest.mark.parametrize("hook", ["on_validation_start", "on_validation_batch_end"])
def test_what_stops_within_a_validation_leaves_a_clock_that_is_right(tmp_path, hand, clock, hook):
    """Once the fit has ended, the time is no longer the validation's."""

    class Stop(lightning.Callback):
        pass

    def stop(_self, trainer, *_):
        if trainer.state.fn == TrainerFn.FITTING:
            raise OSError("full")

    setattr(Stop, hook, stop)
    module, runner = Module(hand), trainer(tmp_path, clock, callbacks=[Stop()])
    with clock.during(Part.REST), pytest.raises(OSError, match="full"):
        runner.fit(module)
    clock.begin(Part.REST)
    before = taken(clock)
    hand.move(7)
    with clock.during(Part.TEST):
        runner.test(module, verbose=False)
    change = {Part.TEST: 2200, Part.SCORING: before.get(Part.SCORING, 0) + 20_000}
    assert taken(clock) == before | change | {Part.REST: before.get(Part.REST, 0) + 7}


def test_actions_of_one_name_within_each_other():
    hand = Hand()
    clock = Clock(started=0, now=hand)
    watch = Stopwatch(clock)
    watch.start("run_training_epoch")
    for name in ("[A]save_checkpoint", "[B].save_checkpoint"):
        watch.start(name.replace("]s", "].s"))
        hand.move(1)
    for name in ("[B].save_checkpoint", "[A].save_checkpoint"):
        watch.stop(name)
        hand.move(10)
    times = clock.times(images=0)
    assert times.seconds[Part.CHECKPOINTS] == 12
    assert times.seconds[Part.REST] == 10
