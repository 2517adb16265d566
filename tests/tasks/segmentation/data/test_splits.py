from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from tasks.segmentation.data.cases import Case, CaseSet, class_table
from tasks.segmentation.data.splits import patient_of, split_cases
from tasks.segmentation.options import DataOptions
from tests.tasks.segmentation.data.conftest import refuses


def case_set(patients, splits=None):
    """Make a case per entry of ``{name: patient}``."""
    return CaseSet(
        source="made here",
        cases=tuple(
            Case(
                name=name,
                images=(Path(f"{name}.png"),),
                masks=(Path(f"{name}_mask.png"),),
                patient=patient,
                split=(splits or {}).get(name),
            )
            for name, patient in patients.items()
        ),
        classes=class_table({0: "background", 1: "cell"}),
    )


def own_patients(number):
    return case_set({f"{n:03d}": f"{n:03d}" for n in range(number)})


def names(part):
    return [] if part is None else [case.name for case in part.cases]


def split(cases, **options):
    return [names(part) for part in split_cases(cases, DataOptions(**options))]


def random_cases(rng, *, patients):
    sizes = rng.integers(1, 6, patients)
    found = {f"c{p}_{k}": f"p{p}" for p, size in enumerate(sizes) for k in range(size)}
    shuffled = [list(found)[index] for index in rng.permutation(len(found))]
    return case_set({name: found[name] for name in shuffled})


def patients_of(cases, part):
    return {case.patient for case in cases.cases if case.name in part}


def assert_partition(cases, parts):
    """Every case is in one part, and every patient is too."""
    assert sorted(chain(*parts)) == sorted(case.name for case in cases.cases)
    sides = [patients_of(cases, part) for part in parts]
    assert sum(map(len, sides)) == len(set.union(*sides))


def test_ten_patients_are_cut_by_hand():
    # numpy's order for the seed 0 is 4 6 2 7 3 5 9 0 8 1: 70 % of it, then 10 %, then 20 %.
    assert split(own_patients(10)) == [
        ["002", "003", "004", "005", "006", "007", "009"],
        ["000"],
        ["001", "008"],
    ]


def test_a_cut_between_large_patients_is_the_nearest_one():
    # numpy's order for the seed 0 is c a b d, with 2, 6, 1 and 1 cases: nearest to 7 of 10 is 8.
    cases = case_set(
        {f"{p}{k}": p for p, n in zip("abcd", (6, 1, 2, 1), strict=True) for k in range(n)}
    )

    train, val, test = split(cases)

    assert patients_of(cases, train) == {"c", "a"}
    assert (val, test) == (["b0"], ["d0"])


@pytest.mark.parametrize("seed", range(12))
def test_any_split_is_a_partition_without_a_leak(seed):
    rng = np.random.default_rng(seed)
    cases = random_cases(rng, patients=int(rng.integers(3, 30)))

    parts = split(cases, seed=seed)

    assert_partition(cases, parts)
    assert all(part == sorted(part) and part for part in parts)


@pytest.mark.parametrize("seed", range(12))
def test_the_cuts_are_the_best_of_all_cuts(seed):
    rng = np.random.default_rng(100 + seed)
    cases = random_cases(rng, patients=20)
    shares = rng.dirichlet([5, 3, 3])
    ids = sorted({case.patient for case in cases.cases})
    order = [ids[index] for index in np.random.default_rng(seed).permutation(len(ids))]
    sizes = [sum(case.patient == patient for case in cases.cases) for patient in order]
    total = sum(sizes)

    train, val, _ = split(cases, seed=seed, fractions=tuple(shares))

    # The whole of the error at both cuts, over every pair of cuts that leaves nothing empty.
    off = {
        (i, j): abs(sum(sizes[:i]) / total - shares[0])
        + abs(sum(sizes[:j]) / total - shares[0] - shares[1])
        for i in range(1, len(sizes) - 1)
        for j in range(i + 1, len(sizes))
    }
    ours = (len(patients_of(cases, train)), len(patients_of(cases, train + val)))
    assert off[ours] == pytest.approx(min(off.values()))
    assert patients_of(cases, train) == set(order[: ours[0]])


def test_the_order_of_the_cases_does_not_matter_and_the_seed_does():
    cases = random_cases(np.random.default_rng(0), patients=20)
    turned = replace(cases, cases=cases.cases[::-1], source="elsewhere", axis=2)

    assert split(turned) == split(cases)
    assert split(cases, seed=1) != split(cases)


def test_each_part_keeps_what_the_set_says():
    cases = replace(own_patients(10), axis=1, channel_names=("CT",))

    for part in split_cases(cases, DataOptions()):
        assert replace(part, cases=cases.cases) == cases


def test_no_fraction_for_test_gives_none():
    train, val, test = split_cases(own_patients(10), DataOptions(fractions=(0.8, 0.2, 0)))

    assert (len(train.cases), len(val.cases), test) == (8, 2, None)


def test_a_small_fraction_gets_a_patient():
    parts = split(own_patients(3), fractions=(0.98, 0.01, 0.01))
    assert [len(part) for part in parts] == [1, 1, 1]


@pytest.mark.parametrize("seed", range(8))
def test_folds_test_every_case_once_and_leak_nothing(seed):
    rng = np.random.default_rng(seed)
    folds = int(rng.integers(3, 7))
    cases = random_cases(rng, patients=int(rng.integers(folds, 25)))
    largest = max(
        sum(case.patient == patient for case in cases.cases)
        for patient in {case.patient for case in cases.cases}
    )

    rounds = [split(cases, fold=fold, folds=folds, seed=seed) for fold in range(folds)]

    everything = sorted(case.name for case in cases.cases)
    assert sorted(chain(*(test for *_, test in rounds))) == everything
    sizes = [len(test) for *_, test in rounds]
    assert max(sizes) - min(sizes) <= largest
    for parts in rounds:
        assert_partition(cases, parts)
        assert all(parts)


def test_folds_of_single_cases_differ_by_one_at_most_and_draw_another_val_each():
    rounds = [split(own_patients(23), fold=fold) for fold in range(5)]

    assert sorted(len(test) for *_, test in rounds) == [4, 4, 5, 5, 5]
    assert [len(val) for _, val, _ in rounds] == [2] * 5  # an eighth of the 18 or 19 others
    vals = [name for _, val, _ in rounds for name in val]
    assert len(set(vals)) == len(vals)


def test_a_large_patient_gets_a_fold_of_its_own():
    sizes = {"a": 4, "b": 2, "c": 2, "d": 2, "e": 2}
    cases = case_set({f"{p}{k}": p for p, size in sizes.items() for k in range(size)})

    tests = [split(cases, fold=fold, folds=3)[2] for fold in range(3)]

    assert sorted(len(test) for test in tests) == [4, 4, 4]
    assert ["a0", "a1", "a2", "a3"] in tests


def test_patterns_name_val_and_test():
    train, val, test = split(own_patients(30), val=("02[0-3]", "024"), test=("02[5-9]",))

    assert val == ["020", "021", "022", "023", "024"]
    assert test == ["025", "026", "027", "028", "029"]
    assert train == [f"{n:03d}" for n in range(20)]


def test_patterns_come_before_what_the_cases_say():
    cases = case_set(dict.fromkeys("abc", "p") | {"d": "q"}, {"a": "test"})

    assert split(cases, val=("d",)) == [["a", "b", "c"], ["d"], []]


def test_what_the_cases_say_comes_before_chance():
    cases = case_set(
        {"a": "p", "b": "p", "c": "q", "d": "r"},
        {"a": "test", "b": "test", "c": "val", "d": "train"},
    )

    assert split(cases) == [["d"], ["c"], ["a", "b"]]


@pytest.mark.parametrize("options", [{}, {"fold": 2}, {"val": ("00*",), "test": ("01*",)}])
def test_fewer_training_cases_are_some_of_the_more(options):
    cases = own_patients(40)
    train, val, test = split(cases, **options)

    used = [split(cases, limit=limit, **options) for limit in (1, 5, 12, len(train))]

    assert [len(part[0]) for part in used] == [1, 5, 12, len(train)]
    assert all(set(few[0]) < set(more[0]) for few, more in pairwise(used))
    assert all(part[1:] == [val, test] for part in used)
    assert used[-1][0] == train
    assert used[2][0] != train[:12]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": (0.7, 0.3)}, r"data.fractions takes the shares .* got \[0.7, 0.3\]"),
        ({"fractions": 3}, "data.fractions takes the shares of train, val"),
        ({"fractions": "0.7"}, "data.fractions takes the shares of train, val"),
        ({"fractions": ("a", "b", "c")}, "data.fractions takes the shares of train, val"),
        ({"fractions": (0.7, 0.2, 0.2)}, r"data.fractions .* with the sum 1"),
        ({"fractions": (0.8, 0.0, 0.2)}, "data.fractions .* first two above 0"),
        ({"fractions": (0.8, 0.4, -0.2)}, "data.fractions"),
        ({"fractions": (float("nan"), 0.4, 0.2)}, "data.fractions"),
        ({"seed": -1}, "^data.seed takes an integer of at least 0, got -1"),
        ({"folds": 1}, "^data.folds takes an integer of at least 2, got 1"),
        ({"limit": -2}, "^data.limit takes an integer of at least 0, got -2"),
        ({"limit": 0.5}, "^data.limit takes an integer of at least 0, got 0.5"),
        ({"fold": 5}, "^data.fold takes an integer from 0 to 4 where data.folds is 5, got 5"),
        ({"fold": -1}, "^data.fold takes"),
        ({"fold": 0, "val": ("a",)}, "^data.fold=0 draws val and test, but data.val"),
        ({"fold": 0, "test": ("a",)}, "^data.fold=0 draws"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with refuses(message):
        DataOptions(**options)


def test_the_options_are_a_schema():
    schema = OmegaConf.structured(DataOptions())

    merged = OmegaConf.merge(schema, OmegaConf.create("{fold: 3, val: []}"))

    assert DataOptions(**OmegaConf.to_container(merged)).fold == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"val": ("o3?",)},
            r"data.val has the pattern 'o3\?', which matches none of the 30 cases",
        ),
        ({"val": ("0_20",)}, r"data.val has .*'0_20'.* \(nearest: '020'\); there are '000'"),
        ({"val": ("00*",), "test": ("009", "01*")}, "data.val and data.test both match '009'"),
        ({"test": ("01*",)}, "leaves 20 cases for train and 0 for val; expected at least one"),
        ({"val": ("*",)}, "the split of made here leaves 0 cases for train and 30 for val"),
        ({"limit": 22}, "data.limit is 22, but there are 21 training cases"),
        (
            {"fold": 0, "folds": 31},
            "data.folds is 31, but there are 30 patients; expected at least",
        ),
    ],
)
def test_options_that_do_not_fit_the_cases_are_refused(options, message):
    with refuses(message):
        split(own_patients(30), **options)


def test_too_few_patients_are_counted():
    cases = case_set({"a": "p", "b": "p", "c": "q"})

    with refuses(r"2 patients cannot be split into train, val, test; expected at least 3"):
        split(cases)
    assert [len(part) for part in split(cases, fractions=(0.5, 0.5, 0))] in ([1, 2, 0], [2, 1, 0])
    with refuses(r"1 patients cannot be split into train, val; expected"):
        split(cases, fold=0, folds=2)


def test_a_patient_on_two_sides_is_refused():
    message = "patient 'p' would be on two sides: case 'a' in {}, case 'b' in {}"

    with refuses(message.format("val", "train")):
        split(case_set({"a": "p", "b": "p", "c": "q"}), val=("a",))
    with refuses(message.format("train", "test")):
        split(case_set({"a": "p", "b": "p", "c": "q"}, {"a": "train", "b": "test", "c": "val"}))


def test_a_data_set_that_splits_itself_does_so_fully_and_alone():
    patients = {"a": "p", "b": "q", "c": "r"}

    with refuses(r"1 of 3 cases do not say whether .*: 'c'; expected all"):
        split(case_set(patients, {"a": "train", "b": "val"}))
    with refuses(r"1 of 3 cases do not say .* test: 'c'"):
        split(case_set(patients, {"a": "train", "b": "val", "c": "dev"}))
    with refuses("leaves 2 cases for train and 0 for val"):
        split(case_set(patients, {"a": "train", "b": "train", "c": "test"}))
    with refuses(r"data.fold=1 draws a split, but the data set has its own"):
        split(case_set(patients, {"a": "train", "b": "val", "c": "test"}), fold=1)


def test_a_patient_is_what_the_group_finds():
    assert patient_of("site/p07_left_2", r"(p\d+)_(?:left|right)") == "p07"
    assert patient_of("p07_2", None) == "p07_2"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(\w+", r"patient is '\(\\\\w\+', no regular expression: missing \)"),
        (r"\w+_", r"patient is '.*' with 0 groups; expected one group"),
        (r"(\w)_(\d)", "with 2 groups; expected one group"),
        (r"x(\d+)", r"patient is 'x\(\\\\d\+\)', which finds no patient in the case name 'p07_2'"),
        (r"(\d*)", "finds no patient in the case name 'p07_2'"),
        (r"p07|(x)", "finds no patient in the case name 'p07_2'"),
        (3, "patient is 3; expected a regular expression such as"),
    ],
)
def test_an_expression_that_finds_no_patient_is_refused(pattern, message):
    with refuses(message):
        patient_of("p07_2", pattern)
