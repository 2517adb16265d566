import math
from collections import Counter

import pytest
import torch
from torch.utils.data import SequentialSampler

from tasks.common.data.samplers import AspectRatioBatchSampler, EpochSampler, draw_seed


def sampler(length, *, epoch=0, **options):
    made = EpochSampler(length, **{"seed": 0, "shuffle": True, **options})
    made.set_epoch(epoch)
    return made


def order(length=50, **options):
    return [index for _, index in sampler(length, **options)]


def test_seeds_of_neighbouring_places_all_differ():
    places = [(e, i) for e in range(30) for i in range(30)] + [(e,) for e in range(30)]
    seeds = [draw_seed(seed, *place) for seed in (0, 1) for place in places]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_the_order_depends_on_seed_and_epoch_alone():
    torch.manual_seed(1)
    first = order()
    torch.manual_seed(2)
    assert order() == first
    assert order(epoch=1) != first
    assert order(seed=1) != first
    assert sorted(first) != first


def test_without_shuffling_the_order_is_that_of_the_data():
    assert list(sampler(4, shuffle=False, epoch=2)) == [(2, 0), (2, 1), (2, 2), (2, 3)]


@pytest.mark.parametrize(
    ("length", "world"), [(1, 1), (100, 1), (10, 2), (11, 2), (7, 3), (1, 4), (3, 8)]
)
def test_ranks_share_the_epoch_in_equal_parts(length, world):
    ranks = [sampler(length, rank=rank, world=world, epoch=3) for rank in range(world)]
    assert {epoch for part in ranks for epoch, _ in part} == {3}
    parts = [[index for _, index in part] for part in ranks]
    share = math.ceil(length / world)
    assert [len(part) for part in parts] == [share] * world == [len(part) for part in ranks]
    seen = Counter(index for part in parts for index in part)
    assert set(seen) == set(range(length))
    assert sum(seen.values()) - length < world


RATIOS = [(0.5, 1.0, 2.0)[n % 3] for n in range(100)]


def grouped(ratios=RATIOS, *, keys=None, batch_size=8, bins=(0.8, 1.25), **options):
    keys = keys or sampler(len(ratios), **options)
    return AspectRatioBatchSampler(keys, ratios, batch_size=batch_size, bins=bins)


def batches(**options):
    made = grouped(**options)
    assert len(list(made)) == len(made)
    return list(made)


def mixed(**options):
    """Return how many batches hold images of several shapes, and how many of one."""
    shapes = [{RATIOS[index] for _, index in batch} for batch in batches(**options)]
    return sum(len(shape) > 1 for shape in shapes), sum(len(shape) == 1 for shape in shapes)


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100, 1000])
def test_batches_hold_every_index_once(batch_size):
    made = batches(batch_size=batch_size, epoch=1)
    assert sorted(key for batch in made for key in batch) == [(1, n) for n in range(100)]
    assert len(made) == math.ceil(100 / batch_size)
    assert sum(len(batch) < batch_size for batch in made) <= 1


@pytest.mark.parametrize("epoch", range(5))
def test_at_most_one_batch_per_border_mixes_shapes(epoch):
    several, one = mixed(epoch=epoch)
    assert several <= 2
    assert one >= 11
    assert mixed(epoch=epoch, bins=())[0] >= 11  # without bins shapes are mixed


def test_images_and_batches_are_in_another_order_each_epoch():
    def shape_order(epoch):
        return [RATIOS[batch[0][1]] for batch in batches(epoch=epoch)]

    def indices(epoch):
        return {frozenset(index for _, index in batch) for batch in batches(epoch=epoch)}

    assert batches() == batches()
    assert indices(0) != indices(1)
    assert shape_order(0) != sorted(shape_order(0))
    assert shape_order(0) != shape_order(1)
    assert batches(seed=1) != batches()


def test_without_shuffling_and_bins_the_batches_are_in_order():
    made = batches(shuffle=False, bins=(), batch_size=30)
    assert [index for batch in made for _, index in batch] == list(range(100))


@pytest.mark.parametrize("world", [2, 3])
def test_all_ranks_have_the_same_number_of_batches_in_each_epoch(world):
    places = [{"rank": rank, "epoch": epoch} for rank in range(world) for epoch in range(5)]
    counts = {len(batches(world=world, **place)) for place in places}
    assert counts == {math.ceil(math.ceil(100 / world) / 8)}


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: sampler(0), ValueError, "length is 0; expected a data set of at least 1"),
        (lambda: sampler(5, rank=2, world=2), ValueError, "rank is 2 of world 2; expected 0 <= "),
        (lambda: sampler(5, rank=-1), ValueError, "rank is -1 of world 1"),
        (lambda: grouped([1.0] * 4, keys=sampler(5)), ValueError, "4 aspect_ratios for 5 images"),
        (lambda: grouped(batch_size=0), ValueError, "batch_size is 0; expected at least 1"),
        (lambda: grouped(bins=(2, 1)), ValueError, r"bins are \(2, 1\); expected them ascending"),
        (
            lambda: grouped(keys=SequentialSampler(range(100))),
            TypeError,
            "SequentialSampler; .*use_distributed_sampler=False",
        ),
    ],
)
def test_impossible_samplers_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_a_stopped_epoch_goes_on_with_the_batches_that_it_has_not_seen():
    resumed = grouped(epoch=4)
    whole = list(resumed)
    resumed.skip = 3
    assert list(resumed) == whole[3:]
    assert list(resumed) == whole  # the next epoch begins at its start
