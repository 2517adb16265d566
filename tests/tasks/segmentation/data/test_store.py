"""Cases at hand: what is read, how often, where it is kept, and where the classes are."""

import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from torch.utils.data import DataLoader

from tasks.common.files.shared_memory import Scratch
from tasks.segmentation.data import store
from tasks.segmentation.data.cases import IGNORE, ClassTable, class_table
from tasks.segmentation.data.store import CaseStore, load_case
from tasks.segmentation.options import InputOptions
from tests.tasks.segmentation.conftest import refuses

OPTIONS = InputOptions(normalisation="zscore")


def noise(seed, depth=1, side=16, *, dtype=np.uint8):
    random = np.random.default_rng(seed)
    image = random.integers(0, 200, (1, depth, side, side)).astype(dtype)
    return image, (random.random((depth, side, side)) < 0.2).astype(np.uint8)


@pytest.fixture
def reads(monkeypatch):
    """Count how often each file is read."""
    counts = Counter()

    def counted(read):
        def inner(paths, *args, **options):
            counts.update(path.name.partition("_")[0] for path in paths)
            return read(paths, *args, **options)

        return inner

    monkeypatch.setattr(store, "read_image", counted(store.read_image))
    monkeypatch.setattr(store, "read_mask", counted(store.read_mask))
    return counts


def private(cases):
    """Return for each case whether its arrays lie in memory of the process, all of them read."""
    flags = [cases[index].image.flags for index in range(3)]
    return [each.owndata or each.writeable for each in flags]


@pytest.mark.parametrize("place", ["memory", "disk"])
@pytest.mark.parametrize(
    ("limit", "kept"),  # images and masks have 256 bytes each
    [(1536, 3), (1535, 2), (512, 1), (511, 0), (0, 0)],
)
def test_a_case_is_read_once_and_kept_while_it_fits(write_set, reads, tmp_path, place, limit, kept):
    pairs = [noise(seed) for seed in range(3)]
    scratch = "memory" if place == "memory" else tmp_path
    cases = CaseStore(write_set(pairs), OPTIONS, limit=limit, sizes=[512] * 3, scratch=scratch)
    assert len(cases) == 3
    assert not reads  # until they are asked for
    for _ in range(2):
        for index, (image, mask) in enumerate(pairs):
            loaded = cases[index]
            assert loaded.case.name == f"case{index}"
            assert np.array_equal(loaded.image, image)
            assert np.array_equal(loaded.labels, mask)
            assert loaded.image.dtype == loaded.labels.dtype == np.uint8
    assert private(cases) == [True] * kept + [False] * (3 - kept)
    assert reads == {"case0": 2, "case1": 2, "case2": 2}  # the image and the mask


def test_without_a_scratch_what_does_not_fit_is_read_again(write_set, reads):
    pairs = [noise(seed) for seed in range(3)]
    cases = CaseStore(write_set(pairs), OPTIONS, limit=512)
    for _ in range(2):
        assert all(np.array_equal(cases[i].image, pairs[i][0]) for i in range(3))
    assert reads == {"case0": 2, "case1": 4, "case2": 4}


def test_a_case_that_does_not_fit_leaves_the_room_to_smaller_ones(write_set, tmp_path):
    data = write_set([noise(0, side=40), noise(1), noise(2)])
    cases = CaseStore(data, OPTIONS, limit=1024, sizes=[3200, 512, 512], scratch=tmp_path)
    assert private(cases) == [False, True, True]


def test_a_scratch_has_all_of_a_case_and_cannot_be_written_to(write_set, tmp_path):
    data = write_set([noise(0, depth=3, side=15), noise(1, depth=3, side=15, dtype=np.int16)])
    first = CaseStore(data, OPTIONS, limit=10**6)
    second = CaseStore(data, OPTIONS, limit=0, sizes=[1351, 2025], scratch=tmp_path)
    for one, other in ((first[i], second[i]) for i in (0, 1)):
        assert one.image.dtype == other.image.dtype
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.places[1], other.places[1])
        assert (one.case, one.geometry) == (other.case, other.geometry)
        assert other.image.flags.aligned
        with refuses("read-only"):
            other.image[:] = 0


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_share_a_scratch_that_leaves_no_file(write_set, tmp_path, monkeypatch, start):
    made = []
    monkeypatch.setattr(store, "Scratch", lambda *a, **k: made.append(Scratch(*a, **k)) or made[0])
    folder = tmp_path / "scratch"
    folder.mkdir()
    data = write_set([noise(seed) for seed in range(3)])
    cases = CaseStore(data, OPTIONS, limit=0, sizes=[512] * 3, scratch=folder)
    cases.open()
    loader = DataLoader(cases, num_workers=2, collate_fn=total, multiprocessing_context=start)
    assert list(loader) == [cases[index].labels.sum() for index in range(3)]
    assert list(folder.iterdir()) == []
    written = made[0].bytes(0, 256).reshape(1, 1, 16, 16)  # by a worker, too
    assert np.array_equal(written, cases[0].image)


def total(batch):
    return batch[0].labels.sum()


def test_a_store_is_sent_to_workers_without_the_cases_that_it_has_read(write_set):
    cases = CaseStore(write_set([noise(0, side=100)]), OPTIONS, limit=10**6)
    empty = len(pickle.dumps(cases))
    sent = pickle.loads(pickle.dumps(cases))  # noqa: S301 (our own)
    assert np.array_equal(sent[0].image, cases[0].image)
    assert len(pickle.dumps(cases)) == empty


def test_a_case_is_what_its_files_hold(write_set):
    image, mask = noise(0, depth=3, dtype=np.int16)
    data = write_set([(image * 10, mask)])
    loaded = load_case(data.cases[0], data, OPTIONS)
    assert loaded.image.dtype == np.int16
    assert np.array_equal(loaded.image, image * 10)
    assert np.array_equal(loaded.labels, mask)
    assert loaded.geometry.spacing == (3, 0.5, 1)
    assert loaded.geometry.source == data.cases[0].images[0]
    assert loaded.scaling.centre == pytest.approx([image.mean() * 10])
    assert loaded.scaling.width == pytest.approx([image.std() * 10])


def test_slices_lie_along_the_axis_of_the_data_set(write_set):
    image, mask = noise(0, depth=3)
    data = replace(write_set([(image, mask)]), axis=1)
    loaded = load_case(data.cases[0], data, OPTIONS)
    assert np.array_equal(loaded.image, image.transpose(0, 3, 2, 1))
    assert np.array_equal(loaded.labels, mask.transpose(2, 1, 0))


def test_places_are_those_of_each_class_but_the_background(write_set):
    image, mask = noise(0, depth=2)
    mask[1, 3, 5], mask[0, 0, 0], mask[0, 2, 1] = 4, 9, 9
    classes = class_table({0: "background", 4: "lesion", 1: "organ", 7: "unseen", 9: "ignore"})
    data = write_set([(image, mask)], classes=classes)
    places = load_case(data.cases[0], data, OPTIONS).places
    assert set(places) == {1, 2}
    assert places[1].tolist() == [256 + 3 * 16 + 5]
    organ = np.ravel_multi_index(np.nonzero(mask == 1), mask.shape)
    assert np.array_equal(places[2], organ)


@pytest.mark.parametrize("files", ["one", "per class"])
def test_places_of_overlapping_classes_are_those_of_each_layer(write_set, files):
    image, mask = noise(0, depth=2)
    mask[:] = 0
    mask[0, 1, 2], mask[1, 3, 4], mask[1, 5, 6] = 1, 2, 9
    names, values = ("organ", "lesion"), ((1, 2), (2,))
    classes = ClassTable(names=names, values=values, exclusive=False, ignored=(9,))
    if files == "per class":
        mask = np.stack([np.isin(mask, (1, 2)), mask == 2]).astype(np.uint8) + 9 * (mask == 9)
    data = write_set([(image, mask.astype(np.uint8))], classes=classes)
    loaded = load_case(data.cases[0], data, OPTIONS)
    assert loaded.labels.shape == (2, 2, 16, 16)
    assert (loaded.labels[:, 1, 5, 6] == IGNORE).all()
    assert {k: v.tolist() for k, v in loaded.places.items()} == {0: [18, 308], 1: [308]}


def test_of_a_large_class_ten_thousand_places_are_kept_from_everywhere(write_set):
    image, mask = noise(0, depth=2, side=100)
    mask[:, 10:] = 1
    mask[:, :10] = 0
    data = write_set([(image, mask)])
    places = load_case(data.cases[0], data, OPTIONS).places[1]
    assert len(set(places.tolist())) == 10_000
    assert (mask.reshape(-1)[places] == 1).all()
    assert (places < 10_000).mean() == pytest.approx(0.5, abs=0.02)  # the first slice
    assert np.array_equal(places, load_case(data.cases[0], data, OPTIONS).places[1])


def test_numbers_that_cannot_be_normalised_name_the_file(write_set):
    image, mask = noise(0, depth=2, dtype=np.int16)
    image[0, 0, 0, :2] = -5, 300
    data = write_set([(image, mask)])
    with refuses(r"case0_0\.nii has values from -5 to 300, .*use zscore, percentile or window\.$"):
        CaseStore(data, InputOptions(normalisation="imagenet"), limit=0)[0]
