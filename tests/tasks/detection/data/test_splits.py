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

FILES = {name: f"annotations/{name}.json" for name in ("train", "val", "test")}
OPTIONS = {"fractions", "seed", "group"}


def splits_of(layout, **given):
    options = {name: given.pop(name) for name in OPTIONS & set(given)}
    return divide(layout(**given), DataOptions(**options))


def stems(split):
    return [record.path.stem for record in split.images]


def parts(splits):
    return [part for part in (splits.train, splits.val, splits.test) if part is not None]


def stems_of(splits):
    return [stems(part) for part in parts(splits)]


def write_voc(root, names, label="cat"):
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(exist_ok=True)
    box = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    for name in names:
        (root / "Annotations" / f"{name}.xml").write_text(
            "<annotation><size><width>20</width><height>10</height></size>"
            f"<object><name>{label}</name><bndbox>{box}</bndbox></object></annotation>"
        )
        Image.new("RGB", (20, 10)).save(root / "JPEGImages" / f"{name}.jpg")


def write_lists(root, **lists):
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def one_file(root, names, *, classes=("cat",), labels=None):
    """Write a COCO file with an image and a box for each name; return what reads it."""
    images, boxes = [], []
    for number, name in enumerate(names):
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (number, 0, 0)).save(root / "images" / name)
        images.append({"id": number, "file_name": name, "width": 20, "height": 10})
        label = (labels or {}).get(number, 1)
        boxes.append({"image_id": number, "category_id": label, "bbox": [2, 2, 5, 5]})
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    content = {"images": images, "annotations": boxes, "categories": categories}
    (root / "default.json").write_text(json.dumps(content))

    def read(**options):
        return splits_of(coco_parts, root=root, train="default.json", val=None, **options)

    return read


def test_coco_splits_find_images_in_folders_of_their_own(tmp_path, write_coco):
    for name in FILES:
        write_coco(name, count=2)
        (tmp_path / "images").rename(tmp_path / f"{name}_images")
    folders = {f"{name}_images": f"{name}_images" for name in FILES}
    splits = splits_of(coco_parts, root=tmp_path, **FILES, **folders, classes=["dog", "cat"])
    for split, name in zip(parts(splits), FILES, strict=True):
        assert split.images[0].path == tmp_path / f"{name}_images" / f"{name}0.png"
        assert list(split.classes) == ["dog", "cat"]


def test_a_digest_tells_other_names_and_boxes_and_not_another_place(tmp_path, write_coco):
    write_coco("train", count=4)
    write_coco("val", count=3)
    files = {"train": FILES["train"], "val": FILES["val"]}
    first = splits_of(coco_parts, root=tmp_path, **files)
    moved = tmp_path.rename(tmp_path.with_name("moved"))

    assert splits_of(coco_parts, root=moved, **files).digests() == first.digests()
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


def test_coco_splits_have_the_classes_of_training_or_are_refused(tmp_path, write_coco):
    write_coco("train", count=4)
    write_coco("val", count=3, classes=("dog", "cat"))
    write_coco("test", count=2, classes=("cat", "dgo"))
    splits = splits_of(coco_parts, root=str(tmp_path), train=FILES["train"], val=FILES["val"])
    assert (len(splits.train.images), len(splits.val.images), splits.test) == (4, 3, None)
    assert list(splits.val.classes) == ["cat", "dog"]
    assert splits.val.images[0].labels.tolist() == [2]  # category 1 is a dog there
    with pytest.raises(ValueError, match=r"test.json: no category 'dog' \(nearest: 'dgo'\)"):
        coco_parts(root=tmp_path, **FILES)
    with pytest.raises(FileNotFoundError, match=r"root .*does not exist"):
        coco_parts(root=tmp_path / "no", train="a.json", val="b.json")


def test_checked_splits_leave_out_damaged_images_everywhere(tmp_path, write_coco):
    for name in FILES:
        write_coco(name, count=3)
        (tmp_path / "images" / f"{name}1.png").write_bytes(b"")
    splits = splits_of(coco_parts, root=tmp_path, **FILES)
    for split in parts(splits.checked("skip")):
        assert [record.image_id for record in split.images] == [0, 2]
    with pytest.raises(
        ValueError, match=r"train.json: 1 of 3 images .*train1.png cannot be decoded"
    ):
        splits.checked("error")
    assert Splits(train=splits.train, val=splits.val, test=None).checked("skip").test is None


def test_voc_images_that_are_missing_are_named(tmp_path):
    write_voc(tmp_path, "abcdef")
    write_lists(tmp_path, train="a\nb\nc", val="d\ne\nf")
    (tmp_path / "JPEGImages" / "e.jpg").unlink()
    message = (
        r"1 of 3 images cannot be used: e.jpg does not exist\. Image 'e.jpg' does not exist below "
        r"'.*JPEGImages'\. '.*JPEGImages' holds '"
    )
    with pytest.raises(ValueError, match=message):
        splits_of(voc_parts, root=tmp_path).checked("error")
    (tmp_path / "JPEGImages").rename(tmp_path / "images")
    with pytest.raises(FileNotFoundError, match=r"image folder .*JPEGImages' does not exist"):
        voc_parts(root=tmp_path)


def test_voc_splits_follow_the_image_sets(tmp_path):
    write_voc(tmp_path, "ad")
    write_voc(tmp_path, "bc", label="dog")
    folder = write_lists(tmp_path, train="a\nb", val="c", test="d")
    splits = splits_of(voc_parts, root=str(tmp_path), fractions=(1.0, 0.0, 0.0))
    assert stems_of(splits) == [["a", "b"], ["c"], ["d"]]
    assert list(splits.val.classes) == list(splits.test.classes) == ["cat", "dog"]
    assert splits.val.images[0].labels.tolist() == [2]
    (folder / "val.txt").unlink()
    with pytest.raises(ValueError, match=r"names for 'train', 'test' only; expected train.txt and"):
        voc_parts(root=tmp_path)


def test_voc_lists_of_what_is_still_to_be_split(tmp_path):
    write_voc(tmp_path, [f"{n:02d}" for n in range(20)])
    ten = [f"{n:02d}" for n in range(10)]
    write_lists(tmp_path, trainval="\n".join(ten))

    splits = splits_of(voc_parts, root=tmp_path)
    assert sorted(chain(*stems_of(splits))) == ten
    assert [record.image_id for record in splits.train.images] == list(range(1, 8))
    write_lists(tmp_path, test="15\n16")
    splits = splits_of(voc_parts, root=tmp_path)
    assert stems(splits.test) == ["15", "16"]
    assert sorted(stems(splits.train) + stems(splits.val)) == ten
    write_lists(tmp_path, train="00\n01\n00\n", val="02 1\n")
    splits = splits_of(voc_parts, root=tmp_path)
    assert stems_of(splits) == [["00", "01"], ["02"], ["15", "16"]]
    assert splits.train.warnings == ("train.txt names 1 images again: each is taken once",)


def test_voc_splits_pass_their_options_on(tmp_path):
    write_voc(tmp_path, "abc")
    for old, new in (("Annotations", "xml"), ("JPEGImages", "images")):
        (tmp_path / old).rename(tmp_path / new)
    options = {"annotations": "xml", "images": "images", "classes": ["dog", "cat"]}
    splits = splits_of(voc_parts, root=tmp_path, one_based=False, **options)
    assert splits.train.images[0].boxes.tolist() == [[1, 1, 9, 9]]
    assert splits.val.images[0].labels.tolist() == [2]


def test_voc_folders_that_are_named_as_splits_are_splits(tmp_path):
    for folder, names in (("train", "abc"), ("valid", "d"), ("test", "e")):
        write_voc(tmp_path, names)
        for kind in ("Annotations", "JPEGImages"):
            (tmp_path / kind / folder).mkdir()
            for file in [f for f in (tmp_path / kind).iterdir() if f.is_file()]:
                file.rename(file.parent / folder / file.name)
    splits = splits_of(voc_parts, root=tmp_path)
    assert stems_of(splits) == [["a", "b", "c"], ["d"], ["e"]]
    assert splits.val.truth["images"][0]["file_name"] == "valid/d.jpg"


def test_hidden_files_stop_no_voc_run_and_an_empty_folder_is_refused(tmp_path):
    write_voc(tmp_path, [])
    (tmp_path / "Annotations" / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"Annotations: no XML files; .* holds 'notes.txt'"):
        voc_parts(root=tmp_path)
    write_voc(tmp_path, "abcdefgh")
    for name in ("._a.xml", ".DS_Store", "Thumbs.db"):
        (tmp_path / "Annotations" / name).write_bytes(b"\0\5\x16\7")
        (tmp_path / "JPEGImages" / name.replace("xml", "jpg")).write_bytes(b"\0\5\x16\7")
    assert sorted(chain(*stems_of(splits_of(voc_parts, root=tmp_path)))) == list("abcdefgh")


def test_boxes_counted_from_another_number_are_told_of(tmp_path):
    write_voc(tmp_path, "abcdef")
    assert splits_of(voc_parts, root=tmp_path, one_based=False).notes == (
        "12 sides of boxes begin at 1 and none at 0, but one_based=false counts pixels from 0: if "
        "the boxes are counted from 1, all lie a pixel off",
    )
    file = tmp_path / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("<xmin>1", "<xmin>0"))
    assert splits_of(voc_parts, root=tmp_path).notes == (
        "1 sides of boxes begin at 0, but one_based=true counts pixels from 1: if the boxes are "
        "counted from 0, all lie a pixel off",
    )
    assert splits_of(voc_parts, root=tmp_path, one_based=False).notes == ()


def test_bccd_is_read_split_by_split(real_data):
    files = {name: f"annotations/instances_{name}.json" for name in FILES}
    splits = splits_of(coco_parts, root=real_data("bccd"), **files)
    # The counts are those of the data's README.
    assert [len(part.images) for part in parts(splits)] == [205, 87, 72]
    assert [part.num_boxes for part in parts(splits)] == [2804, 1137, 945]
    few = replace(splits.test, images=splits.test.images[:20])
    assert len(Splits(train=few, val=few, test=None).checked("error").val.images) == 20


def test_a_set_without_validation_is_divided_by_the_seed(tmp_path):
    names = [f"{n:02d}" for n in range(20)]
    read = one_file(tmp_path, [f"{name}.png" for name in names])
    write_voc(tmp_path, names)
    splits = read()
    assert [len(part) for part in stems_of(splits)] == [14, 3, 3]
    assert sorted(chain(*stems_of(splits))) == names
    assert stems(splits.train) == sorted(stems(splits.train))
    assert stems_of(read()) == stems_of(splits) != stems_of(read(seed=1))
    assert [len(part) for part in stems_of(read(fractions=[0.75, 0.25, 0]))] == [15, 5]
    ids = [record.image_id for record in splits.val.images]
    assert [f"{number:02d}" for number in ids] == stems(splits.val)
    assert splits.checked("error").warnings == ()
    voc = [stems_of(splits_of(voc_parts, root=tmp_path, seed=seed)) for seed in (0, 0, 1)]
    assert voc[0] == voc[1] != voc[2]


def test_a_coco_file_without_validation_keeps_its_test_file(tmp_path, write_coco):
    write_coco("train", count=20)
    write_coco("test", count=4)
    files = {"train": FILES["train"], "val": None, "test": FILES["test"]}
    splits = splits_of(coco_parts, root=tmp_path, **files)
    assert [len(part) for part in stems_of(splits)] == [16, 4, 4]
    assert stems(splits.test) == ["test0", "test1", "test2", "test3"]


def test_the_images_of_a_group_stay_on_one_side(tmp_path):
    read = one_file(tmp_path, [f"clip{n % 7}/frame_{n:03d}.png" for n in range(35)])
    for seed in range(5):
        splits = read(group=r"^(clip\d+)/", seed=seed, fractions=(0.6, 0.2, 0.2))
        clips = [{record.path.parent.name for record in part.images} for part in parts(splits)]
        assert sum(map(len, clips)) == len(set.union(*clips)) == 7


def test_a_rare_class_is_learnt_whatever_the_seed(tmp_path):
    names, rare = [f"{n:02d}.png" for n in range(30)], {7: 3, 8: 2, 21: 2}
    read = one_file(tmp_path, names, classes=("cat", "dog", "owl"), labels=rare)
    write_voc(tmp_path, [f"{n:02d}" for n in range(29)])
    write_voc(tmp_path, ["29"], label="owl")
    voc = voc_parts(root=tmp_path)
    for seed in range(20):
        splits = read(seed=seed), divide(voc, DataOptions(seed=seed))
        learnt = [{n for r in s.train.images for n in r.labels.tolist()} for s in splits]
        assert learnt == [{1, 2, 3}, {1, 2}]


def test_a_group_that_lists_put_on_two_sides_is_refused(tmp_path):
    write_voc(tmp_path, ["a_1", "a_2", "b_1"])
    write_lists(tmp_path, train="a_1", val="a_2\nb_1")
    assert len(splits_of(voc_parts, root=tmp_path).val.images) == 2
    with pytest.raises(
        ValueError,
        match=r"group 'a' would be on two sides: image 'a_1.jpg' in train, image 'a_2.jpg' in val",
    ):
        splits_of(voc_parts, root=tmp_path, group=r"^(\w)_")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"default.json: the images are too few: 2 cannot be split"),
        ({"group": "(png)"}, r"the groups that data.group='\(png\)' finds are too few: 1"),
        ({"group": r"clip(\d)"}, r"group is .* finds no group in the image name 'a.png'"),
        ({"fractions": (0.5, 0.6, 0)}, r"data.fractions takes the shares"),
    ],
)
def test_a_division_that_cannot_be_is_refused_with_the_reason(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        one_file(tmp_path, ["a.png", "b.png"])(**options)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "1.png",
            "images/1.png",
            r"'images/1.png' does not exist below .*/images' holds '1.png': w",
        ),
        ("1.png", r"C:\data\1.png", r"'C:\\data\\1.png' does not exist; .* holds '1.png': write"),
        ("sub/2.png", r"sub\2.png", ""),  # Windows' slashes, and a file that is there
    ],
)
def test_paths_are_read_where_they_are_files_or_shown_with_what_is_there(
    tmp_path, old, new, message
):
    read = one_file(tmp_path, ["1.png", "sub/2.png", "a b.png"])
    file = tmp_path / "default.json"
    file.write_text(file.read_text().replace(f'"{old}"', json.dumps(new)))
    if message:
        with pytest.raises(ValueError, match=f"Image {message}"):
            read().checked("error")
        return
    paths = {record.path for part in parts(read().checked("error")) for record in part.images}
    assert tmp_path / "images" / old in paths
