from dataclasses import replace
from itertools import chain, pairwise, zip_longest

import numpy as np
import pytest

from tasks.segmentation.data.cases import Case, CaseSet, class_table
from tasks.segmentation.data.splits import patient_of, split_cases
from tasks.segmentation.options import DataOptions
from tests.tasks.segmentation.conftest import refuses


def case_set(patients, sides=()):
    """Make a case per entry of ``{name: patient}``; the first ones may say their sides."""
    cases = tuple(
        Case(name=name, images=(), masks=(), patient=patient, split=side)
        for (name, patient), side in zip_longest(patients.items(), sides)
    )
    classes = class_table({0: "background", 1: "cell"})
    return CaseSet(source="made here", cases=cases, classes=classes)


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


def check_partition(cases, parts):
    """Every case is in one part, in order; no part is empty, and no patient in two."""
    assert sorted(chain(*parts)) == sorted(case.name for case in cases.cases)
    assert all(part == sorted(part) and part for part in parts)
    sides = [patients_of(cases, part) for part in parts]
    assert sum(map(len, sides)) == len(set.union(*sides))


@pytest.mark.parametrize(
    ("names", "patients", "own", "options", "expected"),
    [
        # numpy's order for the seed 0 is 4 6 2 7 3 5 9 0 8 1: 70 % of it, then 10 %, then 20 %.
        ("0123456789", "0123456789", "", {}, ("2345679", "0", "18")),
        # numpy's order is c a b d, with 2, 6, 1 and 1 cases: nearest to 7 of 10 is 8.
        ("abcdefghij", "aaaaaabccd", "", {}, ("abcdefhi", "g", "j")),
        ("abcd", "ppqr", "test test val train", {}, ("d", "c", "ab")),
        ("abcd", "pppq", "test", {"val": ("d",)}, ("abc", "d", "")),
        ("abcdefg", "abcdefg", "", {"val": ("[ab]", "d"), "test": ("[e-g]",)}, ("c", "abd", "efg")),
    ],
)
def test_patterns_say_the_split_else_the_cases_else_chance(names, patients, own, options, expected):
    cases = case_set(dict(zip(names, patients, strict=True)), own.split())
    assert split(cases, **options) == [list(part) for part in expected]


@pytest.mark.parametrize("seed", range(12))
def test_the_cuts_are_the_best_of_all_cuts(seed):
    rng = np.random.default_rng(100 + seed)
    cases = random_cases(rng, patients=int(rng.integers(3, 30)))
    shares = rng.dirichlet([5, 3, 3])
    ids = sorted({case.patient for case in cases.cases})
    order = [ids[index] for index in np.random.default_rng(seed).permutation(len(ids))]
    sizes = [sum(case.patient == patient for case in cases.cases) for patient in order]
    total = sum(sizes)

    train, val, test = split(cases, seed=seed, fractions=tuple(shares))

    check_partition(cases, (train, val, test))
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


def test_a_small_fraction_gets_a_patient_and_one_of_0_for_test_none():
    parts = split(own_patients(3), fractions=(0.98, 0.01, 0.01))
    assert [len(part) for part in parts] == [1, 1, 1]
    train, val, test = split_cases(own_patients(10), DataOptions(fractions=(0.8, 0.2, 0)))
    assert (len(train.cases), len(val.cases), test) == (8, 2, None)
    two = split(case_set({"a": "p", "b": "p", "c": "q"}), fractions=(0.5, 0.5, 0))
    assert [len(part) for part in two] in ([1, 2, 0], [2, 1, 0])


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
        check_partition(cases, parts)


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
        ({"val": ("o3?",)}, r"data.val has the pattern 'o3\?', which matches none of the 30 cases"),
        ({"val": ("0_20",)}, r"data.val has .*'0_20'.* \(nearest: '020'\); there are '000'"),
        ({"val": ("00*",), "test": ("009", "01*")}, "data.val and data.test both match '009'"),
        ({"test": ("01*",)}, "leaves 20 cases for train and 0 for val; expected at least one"),
        ({"val": ("*",)}, "the split of made here leaves 0 cases for train and 30 for val"),
        ({"limit": 22}, "data.limit is 22, but there are 21 training cases"),
        ({"fold": 0, "folds": 31}, "data.folds is 31, but there are 30 patients; expected at le"),
    ],
)
def test_options_that_do_not_fit_the_cases_are_refused(options, message):
    with refuses(message):
        split(own_patients(30), **options)


@pytest.mark.parametrize(
    ("patients", "own", "options", "message"),
    [
        ("ppq", "", {}, r"2 patients cannot be split into train, val, test; expected at least 3"),
        ("ppq", "", {"fold": 0, "folds": 2}, r"1 patients cannot be split into train, val; exp"),
        ("ppq", "", {"val": ("a",)}, "'p' would be on two sides: case 'a' in val, case 'b' in t"),
        ("ppq", "train test val", {}, "'p' would .* sides: case 'a' in train, case 'b' in test"),
        ("pqr", "train val", {}, r"1 of 3 cases do not say whether .*: 'c'; expected all"),
        ("pqr", "train val dev", {}, r"1 of 3 cases do not say .* test: 'c'"),
        ("pqr", "train train test", {}, "leaves 2 cases for train and 0 for val"),
        ("pqr", "train val test", {"fold": 1}, "data.fold=1 draws a split, but the data set has i"),
    ],
)
def test_patients_and_sides_that_do_not_fit_are_refused(patients, own, options, message):
    with refuses(message):
        split(case_set(dict(zip("abc", patients, strict=True)), own.split()), **options)


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
        (3, "patient is 3; expected a regular expression such as"),
        (r"p07|(x)", "finds no patient in the case name 'p07_2'"),
    ],
)
def test_an_expression_that_finds_no_patient_is_refused(pattern, message):
    with refuses(message):
        patient_of("p07_2", pattern)
