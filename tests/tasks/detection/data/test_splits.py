"""The splits of COCO's and Pascal VOC's layouts: as the data set has them, or divided by a seed."""

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from PIL import Image

from tasks.detection.data.layouts.coco import coco_parts
from tasks.detection.data.layouts.voc import voc_parts
from tasks.detection.data.splits import Splits, divide
from tasks.detection.options import DataOptions
from tests.backbones.errors import refuses
from tests.tasks.detection.conftest import coco_file, voc_document, voc_object

FILES = {name: f"annotations/{name}.json" for name in ("train", "val", "test")}
TRAIN_AND_VAL = {name: FILES[name] for name in ("train", "val")}
OPTIONS = {"fractions", "seed", "group"}
TWENTY = [f"{n:02d}" for n in range(20)]


def splits_of(layout, root, **given):
    options = {name: given.pop(name) for name in OPTIONS & set(given)}
    return divide(layout(root=root, **given), DataOptions(**options))


@pytest.fixture
def coco(tmp_path):
    return lambda **given: splits_of(coco_parts, tmp_path, **given)


@pytest.fixture
def voc(tmp_path):
    return lambda **given: splits_of(voc_parts, str(tmp_path), **given)


@pytest.fixture
def one_file(tmp_path, coco):
    """Write a COCO file with an image and a box for each name; return what reads it."""

    def write(names, *, classes=("cat",), labels=None):
        boxes = {name: [((labels or {}).get(k, 1), 2, 2, 5, 5)] for k, name in enumerate(names)}
        coco_file(tmp_path, "default.json", boxes, classes=classes, sizes=[(20, 10)])
        return lambda **options: coco(train="default.json", val=None, **options)

    return write


@pytest.fixture
def write_voc(tmp_path):
    """Write an XML file with a box and an image for each name, and lists of names."""

    def write(names, label="cat", folder="", **lists):
        xml = voc_document(voc_object(label, (1, 1, 9, 9)), width=20, height=10)
        for place in (f"Annotations/{folder}", f"JPEGImages/{folder}", "ImageSets/Main"):
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
        for name in names:
            (tmp_path / "Annotations" / folder / f"{name}.xml").write_text(xml)
            Image.new("RGB", (20, 10)).save(tmp_path / "JPEGImages" / folder / f"{name}.jpg")
        for name, text in lists.items():
            (tmp_path / "ImageSets" / "Main" / f"{name}.txt").write_text(text)

    return write


def stems(split):
    return [record.path.stem for record in split.images]


def parts(splits):
    return [part for part in (splits.train, splits.val, splits.test) if part is not None]


def stems_of(splits):
    return [stems(part) for part in parts(splits)]


def test_coco_splits_find_images_in_folders_of_their_own(tmp_path, coco, write_coco):
    for name in FILES:
        write_coco(name, count=2)
        (tmp_path / "images").rename(tmp_path / f"{name}_images")
    folders = {f"{name}_images": f"{name}_images" for name in FILES}
    splits = coco(**FILES, **folders, classes=["dog", "cat"])
    for split, name in zip(parts(splits), FILES, strict=True):
        assert split.images[0].path == tmp_path / f"{name}_images" / f"{name}0.png"
        assert list(split.classes) == ["dog", "cat"]


def test_a_digest_tells_other_names_and_boxes_and_not_another_place(tmp_path, coco, write_coco):
    write_coco("train", count=4)
    write_coco("val", count=3)
    first = coco(**TRAIN_AND_VAL)
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert splits_of(coco_parts, moved, **TRAIN_AND_VAL).digests() == first.digests()
    record = first.train.images[0]
    for other in (
        replace(record, path=Path("other.png")),
        replace(record, boxes=record.boxes + 1),
        replace(record, labels=record.labels[::-1] + 1),
    ):
        changed = replace(first.train, images=[other, *first.train.images[1:]])
        found = replace(first, train=changed).digests()
        assert found["train"] != first.digests()["train"]
        assert found["val"] == first.digests()["val"]


def test_coco_splits_have_the_classes_of_training_or_are_refused(tmp_path, coco, write_coco):
    write_coco("train", count=4)
    write_coco("val", count=3, classes=("dog", "cat"))
    write_coco("test", count=2, classes=("cat", "dgo"))
    splits = coco(**TRAIN_AND_VAL)
    assert (len(splits.train.images), len(splits.val.images), splits.test) == (4, 3, None)
    assert list(splits.val.classes) == ["cat", "dog"]
    assert splits.val.images[0].labels.tolist() == [2]  # category 1 is a dog there
    with refuses(r"test.json: no category 'dog' \(nearest: 'dgo'\)"):
        coco(**FILES)
    with pytest.raises(FileNotFoundError, match=r"root .*does not exist"):
        coco_parts(root=str(tmp_path / "no"), train="a.json", val="b.json")


def test_checked_splits_leave_out_damaged_images_everywhere(tmp_path, coco, write_coco):
    for name in FILES:
        write_coco(name, count=3)
        (tmp_path / "images" / f"{name}1.png").write_bytes(b"")
    splits = coco(**FILES)
    for split in parts(splits.checked("skip")):
        assert [record.image_id for record in split.images] == [0, 2]
    with refuses(r"train.json: 1 of 3 images .*train1.png cannot be decoded"):
        splits.checked("error")
    assert Splits(train=splits.train, val=splits.val, test=None).checked("skip").test is None


def test_voc_images_that_are_missing_are_named(tmp_path, voc, write_voc):
    write_voc("abcdef", train="a\nb\nc", val="d\ne\nf")
    (tmp_path / "JPEGImages" / "e.jpg").unlink()
    with refuses(
        r"1 of 3 images cannot be used: e.jpg does not exist\. Image 'e.jpg' does not exist below "
        r"'.*JPEGImages'\. '.*JPEGImages' holds '"
    ):
        voc().checked("error")
    (tmp_path / "JPEGImages").rename(tmp_path / "images")
    with pytest.raises(FileNotFoundError, match=r"image folder .*JPEGImages' does not exist"):
        voc()


def test_voc_splits_follow_the_image_sets(tmp_path, voc, write_voc):
    write_voc("ad")
    write_voc("bc", label="dog", train="a\nb", val="c", test="d")
    splits = voc(fractions=(1.0, 0.0, 0.0))
    assert stems_of(splits) == [["a", "b"], ["c"], ["d"]]
    assert list(splits.val.classes) == list(splits.test.classes) == ["cat", "dog"]
    assert splits.val.images[0].labels.tolist() == [2]
    (tmp_path / "ImageSets" / "Main" / "val.txt").unlink()
    with refuses(r"names for 'train', 'test' only; expected train.txt and"):
        voc()


def test_voc_lists_of_what_is_still_to_be_split(voc, write_voc):
    write_voc(TWENTY, trainval="\n".join(TWENTY[:10]))
    splits = voc()
    assert sorted(chain(*stems_of(splits))) == TWENTY[:10]
    assert [record.image_id for record in splits.train.images] == list(range(1, 8))
    write_voc([], test="15\n16")
    train, val, test = stems_of(voc())
    assert (sorted(train + val), test) == (TWENTY[:10], ["15", "16"])
    write_voc([], train="00\n01\n00\n", val="02 1\n")
    splits = voc()
    assert stems_of(splits) == [["00", "01"], ["02"], ["15", "16"]]
    assert splits.train.warnings == ("train.txt names 1 images again: each is taken once",)


def test_voc_splits_pass_their_options_on(tmp_path, voc, write_voc):
    write_voc("abc")
    for old, new in (("Annotations", "xml"), ("JPEGImages", "images")):
        (tmp_path / old).rename(tmp_path / new)
    splits = voc(annotations="xml", images="images", classes=["dog", "cat"], one_based=False)
    assert splits.train.images[0].boxes.tolist() == [[1, 1, 9, 9]]
    assert splits.val.images[0].labels.tolist() == [2]


def test_voc_folders_that_are_named_as_splits_are_splits(voc, write_voc):
    for folder, names in (("train", "abc"), ("valid", "d"), ("test", "e")):
        write_voc(names, folder=folder)
    assert stems_of(voc()) == [["a", "b", "c"], ["d"], ["e"]]
    assert voc().val.truth["images"][0]["file_name"] == "valid/d.jpg"


def test_hidden_files_stop_no_voc_run_and_an_empty_folder_is_refused(tmp_path, voc, write_voc):
    write_voc([])
    (tmp_path / "Annotations" / "notes.txt").touch()
    with refuses(r"Annotations: no XML files; .* holds 'notes.txt'"):
        voc()
    write_voc("abcdefgh")
    for name in ("._a.xml", ".DS_Store", "Thumbs.db"):
        (tmp_path / "Annotations" / name).write_bytes(b"\0\5\x16\7")
        (tmp_path / "JPEGImages" / name.replace("xml", "jpg")).write_bytes(b"\0\5\x16\7")
    assert sorted(chain(*stems_of(voc()))) == list("abcdefgh")


def test_boxes_counted_from_another_number_are_told_of(tmp_path, voc, write_voc):
    write_voc("abcdef")
    assert voc(one_based=False).notes == (
        "12 sides of boxes begin at 1 and none at 0, but one_based=false counts pixels from 0: if "
        "the boxes are counted from 1, all lie a pixel off",
    )
    file = tmp_path / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("<xmin>1", "<xmin>0"))
    assert voc().notes == (
        "1 sides of boxes begin at 0, but one_based=true counts pixels from 1: if the boxes are "
        "counted from 0, all lie a pixel off",
    )
    assert voc(one_based=False).notes == ()


def test_a_set_without_validation_is_divided_by_the_seed(voc, one_file, write_voc):
    read = one_file([f"{name}.png" for name in TWENTY])
    splits = read()
    assert [len(part) for part in stems_of(splits)] == [14, 3, 3]
    assert sorted(chain(*stems_of(splits))) == TWENTY
    assert stems(splits.train) == sorted(stems(splits.train))
    assert stems_of(read()) == stems_of(splits) != stems_of(read(seed=1))
    assert [len(part) for part in stems_of(read(fractions=[0.75, 0.25, 0]))] == [15, 5]
    ids = [record.image_id for record in splits.val.images]
    assert [f"{number:02d}" for number in ids] == stems(splits.val)
    assert splits.checked("error").warnings == ()
    write_voc(TWENTY)
    assert stems_of(voc(seed=0)) == stems_of(voc(seed=0)) != stems_of(voc(seed=1))


def test_a_coco_file_without_validation_keeps_its_test_file(coco, write_coco):
    write_coco("train", count=20)
    write_coco("test", count=4)
    splits = coco(train=FILES["train"], val=None, test=FILES["test"])
    assert [len(part) for part in stems_of(splits)] == [16, 4, 4]
    assert stems(splits.test) == ["test0", "test1", "test2", "test3"]


def test_the_images_of_a_group_stay_on_one_side(one_file):
    read = one_file([f"clip{n % 7}/frame_{n:03d}.png" for n in range(35)])
    for seed in range(5):
        splits = read(group=r"^(clip\d+)/", seed=seed, fractions=(0.6, 0.2, 0.2))
        clips = [{record.path.parent.name for record in part.images} for part in parts(splits)]
        assert sum(map(len, clips)) == len(set.union(*clips)) == 7


def test_a_rare_class_is_learnt_whatever_the_seed(tmp_path, one_file, write_voc):
    names, rare = [f"{n:02d}.png" for n in range(30)], {7: 3, 8: 2, 21: 2}
    read = one_file(names, classes=("cat", "dog", "owl"), labels=rare)
    write_voc([f"{n:02d}" for n in range(29)])
    write_voc(["29"], label="owl")
    voc = voc_parts(root=tmp_path)
    for seed in range(20):
        splits = read(seed=seed), divide(voc, DataOptions(seed=seed))
        learnt = [{n for r in s.train.images for n in r.labels.tolist()} for s in splits]
        assert learnt == [{1, 2, 3}, {1, 2}]


def test_a_group_that_lists_put_on_two_sides_is_refused(voc, write_voc):
    write_voc(["a_1", "a_2", "b_1"], train="a_1", val="a_2\nb_1")
    assert len(voc().val.images) == 2
    with refuses("group 'a' would be on two sides: image 'a_1.jpg' in train, image 'a_2.jpg' in v"):
        voc(group=r"^(\w)_")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"default.json: the images are too few: 2 cannot be split"),
        ({"group": "(png)"}, r"the groups that data.group='\(png\)' finds are too few: 1"),
        ({"group": r"clip(\d)"}, r"group is .* finds no group in the image name 'a.png'"),
        ({"fractions": (0.5, 0.6, 0)}, r"data.fractions takes the shares"),
    ],
)
def test_a_division_that_cannot_be_is_refused_with_the_reason(one_file, options, message):
    with refuses(message):
        one_file(["a.png", "b.png"])(**options)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.png", "images/1.png", r"'images/1.png' does not exist below .*/images' holds '1.png':"),
        ("1.png", r"C:\data\1.png", r"'C:\\data\\1.png' does not exist; .* holds '1.png': write"),
        ("sub/2.png", r"sub\2.png", ""),  # Windows' slashes, and a file that is there
    ],
)
def test_paths_are_read_or_shown_with_what_is_there(tmp_path, one_file, old, new, message):
    read = one_file(["1.png", "sub/2.png", "a b.png"])
    file = tmp_path / "default.json"
    file.write_text(file.read_text().replace(f'"{old}"', json.dumps(new)))
    if message:
        with refuses(f"Image {message}"):
            read().checked("error")
        return
    paths = {record.path for part in parts(read().checked("error")) for record in part.images}
    assert tmp_path / "images" / old in paths
