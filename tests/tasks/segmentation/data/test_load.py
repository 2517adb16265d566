from shutil import copyfile

import numpy as np
import pytest
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from PIL import Image

from tasks.common.data.splits import read_data
from tasks.segmentation.data.load import read_splits
from tasks.segmentation.options import DataOptions
from tests.tasks.segmentation.conftest import refuses, save

LAYOUTS = "tasks.segmentation.data.layouts"
CLASSES = {0: "background", 200: "cell"}


def write(root, name, *, cells):
    """Write an image unlike any other, and a mask with so many pixels of the class."""
    mask = np.zeros((4, 4), dtype=np.uint8)
    mask.flat[:cells] = 200
    image = np.random.default_rng(list(name.encode())).integers(0, 256, (4, 4), dtype=np.uint8)
    save(root / "images" / f"{name}.png", image)
    save(root / "masks" / f"{name}.png", mask)


@pytest.fixture
def root(tmp_path):
    """Ten cases of five patients, of which the n-th has n + 1 pixels of the class."""
    for number, name in enumerate(of(0, 1, 2, 3, 4)):
        write(tmp_path, name, cells=number + 1)
    return tmp_path


def read(root, *, source="folder", policy="error", **options):
    if source != "nnunet":
        options = {"classes": CLASSES} | options
    node = {"_target_": f"{LAYOUTS}.{source}.{source}_cases", "root": str(root), **options}
    return read_splits(OmegaConf.create(node), policy=policy)


def sides(splits):
    return [side for side in (splits.train, splits.val, splits.test) if side is not None]


def names(side):
    return [case.name for case in side.cases.cases]


def of(*patients):
    """Return the names of the cases of patients."""
    return [f"p{patient}_{k}" for patient in patients for k in (0, 1)]


def turn(root, folder, name, way):
    """Note an EXIF orientation in a file; its pixels stay."""
    path = root / folder / f"{name}.png"
    notes = Image.Exif()
    notes[274] = way
    with Image.open(path) as picture:
        picture.load()
    picture.save(path, exif=notes)


def test_files_to_be_shown_turned_are_refused_or_counted(root):
    turn(root, "images", "p0_0", 3)
    turn(root, "images", "p4_1", 6)
    turn(root, "masks", "p4_1", 6)
    for policy in ("error", "skip"):
        with refuses(r"files of 2 of 10 cases .*'p0_0\.png \(3\)', 'p4_1\.png \(6\)'.*=apply if"):
            read(root, policy=policy)
    said = "3 files are rotated by their EXIF orientation; they are"
    assert read(root, exif="apply")[0].warnings[0] == (
        f"{said} turned upright, boxes and masks lie on the upright image (data.exif=apply)"
    )
    ignored, _ = read(root, exif="ignore")
    assert f"{said} used as stored" in ignored.warnings[0]
    assert ignored.train.cases.exif == "ignore"
    assert ignored.digests() != read(root, exif="apply")[0].digests()
    with refuses(r"unknown data\.exif 'aply'; did you mean 'apply'"):
        read(root, exif="aply")


def test_a_folder_becomes_three_sides_with_facts(root):
    splits, options = read(root, patient=r"(\w+)_", fractions=[0.6, 0.2, 0.2], seed=3)
    assert options == DataOptions(fractions=(0.6, 0.2, 0.2), seed=3)
    assert [len(names(side)) for side in sides(splits)] == [6, 2, 2]
    for side in sides(splits):
        assert [facts.name for facts in side.facts] == names(side) == sorted(names(side))
        # Two cases a patient: the n-th has n + 1 pixels of the class, and 16 in all.
        cells = [2 * int(name[1]) + int(name[3]) + 1 for name in names(side)]
        assert [facts.class_pixels for facts in side.facts] == [(16 - n, n) for n in cells]
        assert side.cases.classes.names == ("background", "cell")
    assert splits.warnings == ()


def test_patterns_name_the_sides(root):
    splits, options = read(root, patient="(p.)", val=["p3*"], test=["p[04]_?"])
    assert [names(side) for side in sides(splits)] == [of(1, 2), of(3), of(0, 4)]
    assert (options.val, options.test) == (("p3*",), ("p[04]_?",))
    assert read(root, val=["p3*"], limit=3)[0].test is None
    with refuses("patient 'p3' would be on two sides: case 'p3_0' in val"):
        read(root, patient="(p.)", val=["p3_0"])
    with refuses(r"^data.val has the pattern 'x\*', which matches none"):
        read(root, val=["x*"])


def test_cases_that_cannot_be_used_are_an_error_or_skipped_and_told(root):
    (root / "images" / "p0_0.png").write_bytes(b"no picture")
    save(root / "masks" / "p3_1.png", [[9] * 4] * 4)
    with refuses(r"2 of 10 cases cannot be used:\n  p0_0: .*decoded"):
        read(root)
    splits, _ = read(root, policy="skip")
    assert splits.warnings == ("2 cases were skipped: 'p0_0', 'p3_1'",)
    kept = sorted(name for side in sides(splits) for name in names(side))
    assert kept == sorted({*of(0, 1, 2, 3, 4)} - {"p0_0", "p3_1"})
    for side in sides(splits):
        assert [facts.name for facts in side.facts] == names(side)
    with refuses("on_bad_image takes error or skip, got 'warn'"):
        read(root, policy="warn")


def test_an_image_on_two_sides_is_told(root):
    copyfile(root / "images" / "p0_0.png", root / "images" / "p4_1.png")
    splits, _ = read(root, val=["p3*"], test=["p4*"])
    (warning,) = splits.warnings
    assert warning.startswith("p0_0 in train and p4_1 in test are the same image")


def test_a_table_gives_its_own_split(root):
    side = {"p0": "test", "p1": "val"}
    rows = [
        f"images/{name}.png,masks/{name}.png,{name},{name[:2]},{side.get(name[:2], 'train')}"
        for name in of(0, 1, 2, 3, 4)
    ]
    (root / "data.csv").write_text("\n".join(["image,mask,name,patient,split", *rows]))
    splits, _ = read(root, source="csv")
    assert [names(side) for side in sides(splits)] == [of(2, 3, 4), of(1), of(0)]
    with refuses(r"data.fold=1 draws a split, but the data set has its own"):
        read(root, source="csv", fold=1)


@pytest.mark.parametrize("options", [{"fractions": [0.5, 0.2, 0.2]}, {"fold": 5}, {"limit": -1}])
def test_impossible_options_are_refused_before_anything_is_read(tmp_path, options):
    with refuses(rf"^data\.{next(iter(options))} takes"):
        read(tmp_path / "gone", **options)


def test_an_error_of_the_source_is_the_cause_of_hydras(tmp_path):
    with pytest.raises(InstantiationException) as caught:
        read(tmp_path / "gone")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize(
    ("given", "patterns"), [(["a", 24], ("a", "24")), (24, ("24",)), ("2[0-3]", ("2[0-3]",))]
)
def test_patterns_may_be_one_or_numbers_and_other_keys_go_to_the_source(given, patterns):
    own = {"root": "x", "splits": "y.json", "splits_fold": 1}
    node = OmegaConf.create({"_target_": "builtins.dict", "val": given, "seed": 1, **own})
    options, source = read_data(node, DataOptions, lists=("val", "test"))
    assert options == DataOptions(val=patterns, seed=1)
    assert source == own
