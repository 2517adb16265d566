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


def coco_splits(*, fractions=(0.7, 0.15, 0.15), seed=0, group=None, **layout):
    return divide(coco_parts(**layout), DataOptions(fractions=fractions, seed=seed, group=group))


def voc_splits(*, fractions=(0.7, 0.15, 0.15), seed=0, group=None, **layout):
    return divide(voc_parts(**layout), DataOptions(fractions=fractions, seed=seed, group=group))


def test_coco_splits_read_each_file_with_the_classes_of_training(tmp_path, write_coco):
    write_coco("train", count=4)
    write_coco("val", count=3, classes=("dog", "cat"))

    splits = coco_splits(
        root=str(tmp_path), train="annotations/train.json", val="annotations/val.json"
    )

    assert (len(splits.train.images), len(splits.val.images), splits.test) == (4, 3, None)
    assert list(splits.val.classes) == ["cat", "dog"]
    assert splits.val.images[0].labels.tolist() == [2]  # category 1 is a dog there


def test_coco_splits_find_images_in_folders_of_their_own(tmp_path, write_coco):
    for name in ("train", "val", "test"):
        write_coco(name, count=2)
        (tmp_path / "images").rename(tmp_path / f"{name}_images")
    files = {name: f"annotations/{name}.json" for name in ("train", "val", "test")}
    folders = {f"{name}_images": f"{name}_images" for name in ("train", "val", "test")}

    splits = coco_splits(root=tmp_path, **files, **folders, classes=["dog", "cat"])

    assert splits.test is not None
    for split, name in ((splits.train, "train"), (splits.val, "val"), (splits.test, "test")):
        assert split.images[0].path == tmp_path / f"{name}_images" / f"{name}0.png"
        assert list(split.classes) == ["dog", "cat"]


def test_a_digest_tells_other_names_and_boxes_and_not_another_place(tmp_path, write_coco):
    write_coco("train", count=4)
    write_coco("val", count=3)

    def read(root):
        return coco_splits(root=root, train="annotations/train.json", val="annotations/val.json")

    first = read(tmp_path)
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert read(moved).digests() == first.digests()
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


def test_coco_splits_with_other_classes_in_validation_are_refused(tmp_path, write_coco):
    write_coco("train", count=2)
    write_coco("val", count=2, classes=("cat", "dgo"))

    with pytest.raises(ValueError, match=r"val.json: no category 'dog' \(nearest: 'dgo'\)"):
        coco_splits(root=tmp_path, train="annotations/train.json", val="annotations/val.json")
    with pytest.raises(FileNotFoundError, match=r"root .*does not exist"):
        coco_splits(root=tmp_path / "no", train="a.json", val="b.json")


def test_checked_splits_leave_out_damaged_images_everywhere(tmp_path, write_coco):
    for name in ("train", "val", "test"):
        write_coco(name, count=3)
        (tmp_path / "images" / f"{name}1.png").write_bytes(b"")
    files = {name: f"annotations/{name}.json" for name in ("train", "val", "test")}
    splits = coco_splits(root=tmp_path, **files)

    kept = splits.checked("skip")

    for split in (kept.train, kept.val, kept.test):
        assert [record.image_id for record in split.images] == [0, 2]
    with pytest.raises(
        ValueError, match=r"train.json: 1 of 3 images .*train1.png cannot be decoded"
    ):
        splits.checked("error")
    without = Splits(train=splits.train, val=splits.val, test=None)
    assert without.checked("skip").test is None


def write_voc(root, names, label="cat"):
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(exist_ok=True)
    box = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    for name in names:
        (root / "Annotations" / f"{name}.xml").write_text(
            "<annotation><size><width>20</width><height>10</height></size>"
            f"<object><name>{label}</name><bndbox>{box}</bndbox></object></annotation>"
        )
        (root / "JPEGImages" / f"{name}.jpg").touch()


def test_coco_images_that_are_missing_are_named_or_left_out(tmp_path, write_coco):
    for name in ("train", "val"):
        write_coco(name, count=8)
    for number in range(7):
        (tmp_path / "images" / f"val{number}.png").unlink()
    files = {name: f"annotations/{name}.json" for name in ("train", "val")}
    splits = coco_splits(root=tmp_path, **files)

    kept = splits.checked("skip")

    assert (len(kept.train.images), [r.image_id for r in kept.val.images]) == (8, [7])
    assert kept.val.cleaned["images skipped"] == 7
    message = (
        r"val.json: 7 of 8 images cannot be used: val0.png does not exist; .*val4.png does not "
        r"exist; and 2 more\. Image 'val0.png' does not exist below '.*images'\. '.*images' holds "
        r"'train0.png', .* \(nearest: 'val7.png'\)\. Repair"
    )
    with pytest.raises(ValueError, match=message):
        splits.checked("error")


def test_voc_images_that_are_missing_are_named_or_left_out(tmp_path):
    write_voc(tmp_path, "abcdef")
    for name in "abcdef":
        Image.new("RGB", (20, 10)).save(tmp_path / "JPEGImages" / f"{name}.jpg")
    splits = voc_splits(root=tmp_path, fractions=(0.5, 0.5, 0.0))
    lost = stems(splits.val)[0]
    (tmp_path / "JPEGImages" / f"{lost}.jpg").unlink()
    splits = voc_splits(root=tmp_path, fractions=(0.5, 0.5, 0.0))

    kept = splits.checked("skip")

    assert stems(kept.train) == stems(splits.train)
    assert stems(kept.val) == stems(splits.val)[1:]
    message = (
        rf"1 of 3 images cannot be used: {lost}.jpg does not exist\. Image '{lost}.jpg' does not "
        r"exist below '.*JPEGImages'\. '.*JPEGImages' holds '"
    )
    with pytest.raises(ValueError, match=message):
        splits.checked("error")
    (tmp_path / "JPEGImages").rename(tmp_path / "images")
    with pytest.raises(FileNotFoundError, match=r"image folder .*JPEGImages' does not exist"):
        voc_splits(root=tmp_path)


def stems(split):
    return [record.path.stem for record in split.images]


def test_voc_splits_follow_the_image_sets(tmp_path):
    write_voc(tmp_path, "ad")
    write_voc(tmp_path, "bc", label="dog")
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in (("train", "a\nb"), ("val", "c"), ("test", "d")):
        (tmp_path / "ImageSets" / "Main" / f"{split}.txt").write_text(names)

    splits = voc_splits(root=str(tmp_path), fractions=(1.0, 0.0, 0.0))

    assert splits.test is not None
    assert [stems(part) for part in (splits.train, splits.val, splits.test)] == [
        ["a", "b"],
        ["c"],
        ["d"],
    ]
    assert list(splits.val.classes) == list(splits.test.classes) == ["cat", "dog"]
    assert splits.val.images[0].labels.tolist() == [2]
    (tmp_path / "ImageSets" / "Main" / "val.txt").unlink()
    with pytest.raises(ValueError, match=r"names for 'train', 'test' only; expected train.txt and"):
        voc_splits(root=tmp_path)


def test_voc_splits_without_image_sets_are_drawn_by_the_seed(tmp_path):
    write_voc(tmp_path, [f"{n:02d}" for n in range(20)])

    splits = voc_splits(root=tmp_path, fractions=(0.8, 0.2, 0.0), seed=1)
    again = voc_splits(root=tmp_path, fractions=(0.8, 0.2, 0.0), seed=1)
    other = voc_splits(root=tmp_path, fractions=(0.8, 0.2, 0.0), seed=2)

    assert (len(splits.train.images), len(splits.val.images), splits.test) == (16, 4, None)
    assert not set(stems(splits.train)) & set(stems(splits.val))
    assert stems(again.val) == stems(splits.val) != stems(other.val)


def test_voc_splits_pass_their_options_on(tmp_path):
    write_voc(tmp_path, "abc")
    for old, new in (("Annotations", "xml"), ("JPEGImages", "images")):
        (tmp_path / old).rename(tmp_path / new)

    splits = voc_splits(
        root=tmp_path,
        annotations="xml",
        images="images",
        classes=["dog", "cat"],
        one_based=False,
    )

    assert splits.train.images[0].boxes.tolist() == [[1, 1, 9, 9]]
    assert splits.val.images[0].labels.tolist() == [2]


@pytest.mark.skipif(
    not (Path(__file__).parents[4] / ".." / "shared" / "data" / "bccd").is_dir(),
    reason="needs bccd in ../shared/data",
)
def test_bccd_is_read_split_by_split():
    splits = coco_splits(
        root=Path(__file__).parents[4] / ".." / "shared" / "data" / "bccd",
        train="annotations/instances_train.json",
        val="annotations/instances_val.json",
        test="annotations/instances_test.json",
    ).checked("error")

    # Counts as the data's README gives them.
    assert splits.test is not None
    parts = (splits.train, splits.val, splits.test)
    assert [len(part.images) for part in parts] == [205, 87, 72]
    assert [part.num_boxes for part in parts] == [2804, 1137, 945]


def one_file(root, names, *, classes=("cat",), labels=None):
    """Write a COCO file with an image and a box for each name."""
    (root / "images").mkdir(exist_ok=True)
    images, boxes = [], []
    for number, name in enumerate(names):
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (number, 0, 0)).save(root / "images" / name)
        images.append({"id": number, "file_name": name, "width": 20, "height": 10})
        box = {
            "image_id": number,
            "category_id": (labels or {}).get(number, 1),
            "bbox": [2, 2, 5, 5],
        }
        boxes.append(box)
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    content = {"images": images, "annotations": boxes, "categories": categories}
    (root / "instances_default.json").write_text(json.dumps(content))


def parts_of(splits):
    return [stems(part) for part in (splits.train, splits.val, splits.test) if part is not None]


def test_a_single_coco_file_is_divided_by_the_seed(tmp_path):
    names = [f"{n:02d}.png" for n in range(20)]
    one_file(tmp_path, names)

    def read(**options):
        return coco_splits(root=tmp_path, train="instances_default.json", val=None, **options)

    splits = read()
    assert [len(part) for part in parts_of(splits)] == [14, 3, 3]
    assert sorted(chain(*parts_of(splits))) == [name[:2] for name in names]
    assert stems(splits.train) == sorted(stems(splits.train))
    assert parts_of(read()) == parts_of(splits) != parts_of(read(seed=1))
    assert [len(part) for part in parts_of(read(fractions=[0.75, 0.25, 0]))] == [15, 5]
    ids = [record.image_id for record in splits.val.images]
    assert [f"{number:02d}" for number in ids] == stems(splits.val)
    assert splits.checked("error").warnings == ()


def test_a_coco_file_without_validation_keeps_its_test_file(tmp_path, write_coco):
    one_file(tmp_path, [f"{n:02d}.png" for n in range(20)], classes=("cat", "dog"))
    write_coco("test", count=4)

    splits = coco_splits(
        root=tmp_path, train="instances_default.json", val=None, test="annotations/test.json"
    )

    assert [len(part) for part in parts_of(splits)] == [16, 4, 4]
    assert stems(splits.test) == ["test0", "test1", "test2", "test3"]


@pytest.mark.parametrize("seed", range(5))
def test_the_images_of_a_group_stay_on_one_side(tmp_path, seed):
    names = [f"clip{n % 7}/frame_{n:03d}.png" for n in range(35)]
    one_file(tmp_path, names)

    splits = coco_splits(
        root=tmp_path,
        train="instances_default.json",
        val=None,
        group=r"^(clip\d+)/",
        seed=seed,
        fractions=(0.6, 0.2, 0.2),
    )

    clips = [
        {r.path.parent.name for r in part.images}
        for part in (splits.train, splits.val, splits.test)
    ]
    assert sum(map(len, clips)) == len(set.union(*clips)) == 7


@pytest.mark.parametrize("seed", range(20))
def test_a_rare_class_is_learnt_whatever_the_seed(tmp_path, seed):
    one_file(
        tmp_path,
        [f"{n:02d}.png" for n in range(30)],
        classes=("cat", "dog", "owl"),
        labels={7: 3, 8: 2, 21: 2},
    )
    write_voc(tmp_path, [f"{n:02d}" for n in range(29)])
    write_voc(tmp_path, ["29"], label="owl")

    coco = coco_splits(root=tmp_path, train="instances_default.json", val=None, seed=seed)
    voc = voc_splits(root=tmp_path, seed=seed)

    assert {n for record in coco.train.images for n in record.labels.tolist()} == {1, 2, 3}
    assert {n for record in voc.train.images for n in record.labels.tolist()} == {1, 2}


def test_a_group_that_lists_put_on_two_sides_is_refused(tmp_path):
    write_voc(tmp_path, ["a_1", "a_2", "b_1"])
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a_1")
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("a_2\nb_1")

    assert len(voc_splits(root=tmp_path).val.images) == 2
    with pytest.raises(
        ValueError,
        match=r"group 'a' would be on two sides: image 'a_1.jpg' in train, image 'a_2.jpg' in val",
    ):
        voc_splits(root=tmp_path, group=r"^(\w)_")


def test_a_division_that_cannot_be_is_refused_with_the_reason(tmp_path):
    one_file(tmp_path, ["a.png", "b.png"])

    def read(**options):
        return coco_splits(root=tmp_path, train="instances_default.json", val=None, **options)

    with pytest.raises(
        ValueError, match=r"default.json: the images are too few: 2 cannot be split"
    ):
        read()
    with pytest.raises(
        ValueError, match=r"the groups that data.group='\(png\)' finds are too few: 1"
    ):
        read(group="(png)")
    with pytest.raises(ValueError, match=r"group is .* finds no group in the image name 'a.png'"):
        read(group=r"clip(\d)")
    with pytest.raises(ValueError, match=r"data.fractions takes the shares"):
        read(fractions=(0.5, 0.6, 0))


def test_voc_lists_of_what_is_still_to_be_split(tmp_path):
    write_voc(tmp_path, [f"{n:02d}" for n in range(20)])
    sets = tmp_path / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (sets / "trainval.txt").write_text("\n".join(f"{n:02d}" for n in range(10)))

    splits = voc_splits(root=tmp_path)
    assert sorted(chain(*parts_of(splits))) == [f"{n:02d}" for n in range(10)]
    assert [record.image_id for record in splits.train.images] == list(range(1, 8))
    (sets / "test.txt").write_text("15\n16")
    splits = voc_splits(root=tmp_path)
    assert stems(splits.test) == ["15", "16"]
    assert sorted(stems(splits.train) + stems(splits.val)) == [f"{n:02d}" for n in range(10)]
    (sets / "train.txt").write_text("00\n01\n00\n")
    (sets / "val.txt").write_text("02 1\n")
    splits = voc_splits(root=tmp_path)
    assert parts_of(splits) == [["00", "01"], ["02"], ["15", "16"]]
    assert splits.train.warnings == ("train.txt names 1 images again: each is taken once",)


def test_voc_folders_that_are_named_as_splits_are_splits(tmp_path):
    for folder, names in (("train", "abc"), ("valid", "d"), ("test", "e")):
        write_voc(tmp_path, names)
        for kind in ("Annotations", "JPEGImages"):
            (tmp_path / kind / folder).mkdir()
            for file in (tmp_path / kind).glob("*.*"):
                file.rename(file.parent / folder / file.name)

    splits = voc_splits(root=tmp_path)

    assert parts_of(splits) == [["a", "b", "c"], ["d"], ["e"]]
    assert splits.val.truth["images"][0]["file_name"] == "valid/d.jpg"


def test_an_empty_voc_folder_is_named_with_what_is_there(tmp_path):
    write_voc(tmp_path, [])
    (tmp_path / "Annotations" / "notes.txt").touch()

    with pytest.raises(ValueError, match=r"Annotations: no XML files; .* holds 'notes.txt'"):
        voc_splits(root=tmp_path)


def test_hidden_files_stop_no_voc_run(tmp_path):
    write_voc(tmp_path, "abcdefgh")
    for name in ("._a.xml", ".DS_Store", "Thumbs.db"):
        (tmp_path / "Annotations" / name).write_bytes(b"\0\5\x16\7")
        (tmp_path / "JPEGImages" / name.replace("xml", "jpg")).write_bytes(b"\0\5\x16\7")

    splits = voc_splits(root=tmp_path)

    assert sorted(chain(*parts_of(splits))) == list("abcdefgh")


def test_boxes_counted_from_another_number_are_told_of(tmp_path):
    write_voc(tmp_path, "abcdef")

    assert voc_splits(root=tmp_path, one_based=False).notes == (
        "12 sides of boxes begin at 1 and none at 0, but one_based=false counts pixels from 0: if "
        "the boxes are counted from 1, all lie a pixel off",
    )
    file = tmp_path / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("<xmin>1", "<xmin>0"))
    assert voc_splits(root=tmp_path).notes == (
        "1 sides of boxes begin at 0, but one_based=true counts pixels from 1: if the boxes are "
        "counted from 0, all lie a pixel off",
    )
    assert voc_splits(root=tmp_path, one_based=False).notes == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "images/1.png",
            r"Image 'images/1.png' does not exist below .*/images' holds '1.png': wri",
        ),
        (r"images\1.png", r"Image 'images\\1.png' does not exist below .* holds '1.png': write"),
        (
            "../x/1.png",
            r"Image '../x/1.png' does not exist below .* holds '1.png': write the paths",
        ),
        ("/data/1.png", r"Image '/data/1.png' does not exist; .* holds '1.png': write the paths"),
        (r"C:\data\1.png", r"Image 'C:\\data\\1.png' does not exist; .* holds '1.png': write"),
        ("2.png", r"Image '2.png' does not exist below .* holds 'sub/2.png': write the paths"),
        ("a%20b.png", r"Image 'a%20b.png' .* holds 'a b.png': codes such as %20 are not read"),
        ("1.PNG", r"Image '1.PNG' .* holds '1.png': capital and small letters differ"),
    ],
)
def test_a_path_that_is_none_is_shown_with_what_is_there(tmp_path, name, message):
    one_file(tmp_path, ["1.png", "sub/2.png", "a b.png"])
    file = tmp_path / "instances_default.json"
    file.write_text(file.read_text().replace('"1.png"', json.dumps(name)))
    splits = coco_splits(root=tmp_path, train=file.name, val=None)

    with pytest.raises(ValueError, match=message):
        splits.checked("error")


def test_windows_paths_are_read_where_they_are_files(tmp_path):
    one_file(tmp_path, ["1.png", "sub/2.png", "a b.png"])
    file = tmp_path / "instances_default.json"
    file.write_text(file.read_text().replace("sub/2.png", r"sub\\2.png"))

    splits = coco_splits(root=tmp_path, train=file.name, val=None).checked("error")

    paths = {r.path for part in (splits.train, splits.val, splits.test) for r in part.images}
    assert tmp_path / "images" / "sub" / "2.png" in paths
