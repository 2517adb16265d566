"""``recipe.batch_size=auto`` with the memory pretended; a run with it is in the scripts' tests."""

from functools import partial
from types import SimpleNamespace

import lightning
import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from tasks.common.machine import memory as machine_memory
from tasks.common.options.decision import Decision
from tasks.common.recipe.recipe import Recipe
from tasks.common.run import batch_size as auto
from tasks.common.run.batch_size import limit, settle_batch_size
from tests.tasks.common.fakes import Tiny, machine
from tests.training import OneWeight

slow = partial(pytest.param, marks=pytest.mark.slow)
GB = 10**9


class Network(OneWeight):
    """Remembers how many images its batches have."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def training_step(self, batch, batch_idx):
        self.batches.append(len(batch))
        return super().training_step(batch, batch_idx)


class Data:
    def __init__(self, images):
        self.images, self.batch_size, self.workers = images, 1, 5

    def train_dataloader(self):
        assert self.workers == 0
        return DataLoader(torch.zeros(self.images), batch_size=self.batch_size)


def parts_on(device, *, images=100, **recipe):
    setup = SimpleNamespace(where=machine(device), recipe=Recipe(**recipe))
    backbone = Tiny().freeze(4)
    return SimpleNamespace(setup=setup, module=Network(), data=Data(images), backbone=backbone)


def settled(assemble, **changes):
    given = {
        "recipe": {"batch_size": "auto", "lr_images": 16, "accumulate": 1},
        "trainer": {"devices": 1},
        "feature_cache": {"views": 0},
        "resume": None,
    }
    cfg = OmegaConf.merge(OmegaConf.create(given), OmegaConf.create(changes))
    decision = settle_batch_size(cfg, assemble)
    assert cfg.recipe.batch_size == int(decision.value)
    return decision


@pytest.fixture
def memory(monkeypatch):
    """Pretend what is free, and what two images take."""

    def pretend(*, free=100 * GB, two=GB):
        monkeypatch.setattr(machine_memory, "free_memory", lambda: free)
        monkeypatch.setattr(machine_memory, "own_memory", lambda: (GB, GB + two))

    return pretend


@pytest.fixture
def gpu(monkeypatch):
    """Pretend the share of a GPU's memory that a batch fills; return the batches tried."""

    def pretend(share):
        tried = []

        def measured(parts, *, batch_size):
            tried.append(batch_size)
            return share(parts, batch_size)

        monkeypatch.setattr(auto, "gpu_share", measured)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (GB, 10 * GB))
        return tried

    return pretend


def test_the_stages_of_the_last_epoch_are_tried_out(memory):
    memory()
    tried = []

    def assemble(_cfg):
        tried.append(parts_on("cpu", epochs=5, unfreeze={"c4": 2, "c3": 4}))
        return tried[-1]

    settled(assemble)
    assert {parts.backbone.frozen for parts in tried} == {2}
    with pytest.raises(ValueError, match=r"names c5, which is not frozen at the start"):
        settled(lambda _: parts_on("cpu", epochs=5, unfreeze={"c5": 2}))


@pytest.mark.parametrize(
    ("images", "lr_images", "accumulate", "expected"),
    [
        (159, 16, 1, 4),  # 8 would make 20 steps of 160
        (160, 16, 1, 8),
        (15, 16, 1, 1),
        (10**6, 16, 1, 32),
        (10**6, 16, 4, 8),
        (10**6, 1, 4, 1),
    ],
)
def test_data_set_and_learning_rate_limit_the_batch(images, lr_images, accumulate, expected):
    decision = limit(images, lr_images=lr_images, accumulate=accumulate)
    assert decision.value == str(expected)
    by_data = images < 10**6
    assert ("steps per epoch" if by_data else f"recipe.lr_images={lr_images}") in decision.reason


@pytest.mark.parametrize(
    ("free", "two", "images", "value", "reason"),
    [
        slow(100 * GB, GB, 100, "4", "25 steps per epoch of 100 images"),
        (100 * GB, GB, 10_000, "8", "a CPU gains little from more"),
        slow(10 * GB, 4 * GB, 10_000, "4", "an image takes up to 2 GB of 10 GB free"),
        (10 * GB, 5 * GB, 10_000, "2", "2.5 GB"),  # 80 % hold 3
        slow(10 * GB, 40 * GB, 10_000, "1", "20 GB"),
    ],
)
def test_a_cpu_is_judged_by_two_images(memory, free, two, images, value, reason):
    memory(free=free, two=two)
    parts = parts_on("cpu", images=images)
    decision = settled(lambda _: parts)
    assert decision.value == value
    assert reason in decision.reason
    assert parts.module.batches == [2, 2]  # real steps


@pytest.mark.parametrize(
    ("images", "scale", "tries", "value", "reason"),
    [
        (10_000, 1, [1, 2, 4], "2", "50% of memory in use; twice as many take more than 80%"),
        slow(10_000, 4, [1, 2, 4, 8, 16], "8", "50% of memory in use; twice"),
        (100, 100, [1, 2, 4], "4", "25 steps per epoch of 100 images; 11% of memory in use"),
    ],
)
def test_a_gpu_is_filled_by_doubling(gpu, images, scale, tries, value, reason):
    tried = gpu(lambda _, batch_size: 0.1 + 0.2 * batch_size / scale)
    parts = parts_on("cuda", images=images)
    decision = settled(lambda _: parts)
    assert tried == tries
    assert decision.value == value
    assert reason in decision.reason


@pytest.mark.parametrize(("batch_share", "value"), [slow(0.04, "16"), slow(0.09, "8"), (0.15, "4")])
def test_the_network_of_the_decided_number_is_tried_out(gpu, batch_share, value):
    """Here 16 images fit with a group norm; with a batch norm as many as ``batch_share`` says."""

    def assemble(cfg):
        """As `choose_norm` takes the norm without weights."""
        parts = parts_on("cuda", images=10_000)
        is_batch = cfg.recipe.batch_size >= 8
        parts.module.norm = torch.nn.BatchNorm2d(1) if is_batch else torch.nn.GroupNorm(1, 1)
        parts.peak_lr = 1 * cfg.recipe.batch_size / cfg.recipe.lr_images
        return parts

    def share(parts, batch_size):
        assert parts.peak_lr == 1 / 16
        is_batch = isinstance(parts.module.norm, torch.nn.BatchNorm2d)
        return batch_size * (batch_share if is_batch else 0.04)

    gpu(share)
    assert settled(assemble).value == value


@pytest.mark.parametrize("ema", [slow(0.0), 0.9])
def test_a_moving_average_takes_its_memory_in_the_trial(monkeypatch, memory, ema):
    class Average(lightning.Callback):
        def __init__(self, decay):
            self.decay = decay

        def on_train_batch_end(self, *_):
            seen.append(self.decay)

    seen, parts = [], parts_on("cpu", ema=ema)
    monkeypatch.setattr(auto, "MovingAverage", Average)
    memory()
    settled(lambda _: parts)
    assert seen == ([ema] * 2 if ema else [])


def test_a_gpu_out_of_memory_counts_as_full(monkeypatch):
    def full(_parts, *, batch_size):
        raise torch.OutOfMemoryError(batch_size)

    monkeypatch.setattr(auto, "take_steps", full)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (GB, 10 * GB))
    for name in ("memory_reserved", "reset_peak_memory_stats", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda: 0)
    assert auto.gpu_share(None, batch_size=4) == float("inf")


def test_a_number_and_that_of_a_resumed_run_are_taken_and_nothing_is_assembled(tmp_path):
    assert settled(None, recipe={"batch_size": 3}) == Decision("3", "as configured")
    torch.save({"keel_run": {"recipe": {"batch_size": 6}}}, tmp_path / "last.ckpt")
    decision = settled(None, resume=str(tmp_path / "last.ckpt"))
    assert decision == Decision("6", "that of the run resumed")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": {"batch_size": "atuo"}}, "takes auto or an integer from 1, got 'atuo'"),
        ({"trainer": {"devices": 2}}, "is for one device, and trainer.devices is 2.*give a number"),
    ],
)
def test_what_cannot_be_decided_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        settled(None, **changes)


def test_without_room_for_an_image_or_a_known_memory_a_run_is_refused(gpu, memory):
    memory(free=None)
    with pytest.raises(ValueError, match=r"does not say; give a number"):
        settled(lambda _: parts_on("cpu"))
    gpu(lambda *_: 0.9)
    with pytest.raises(ValueError, match=r"one image takes more than 80% of the 10 GB of the"):
        settled(lambda _: parts_on("cuda"))
