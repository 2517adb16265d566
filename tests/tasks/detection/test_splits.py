from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tasks.detection.data import Splits, coco_splits, voc_splits


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
    with pytest.raises(ValueError, match=r"train.json: 1 of 3 images .*train1.png cannot be read"):
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
        r"exist; and 2 more\. '.*images' holds 'train0.png', .* \(nearest: 'val7.png'\)\. Repair"
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
    message = rf"1 of 3 images cannot be used: {lost}.jpg does not exist\. '.*JPEGImages' holds '"
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
    with pytest.raises(ValueError, match="names for 'train', 'test' only; expected train and val"):
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
    not (Path(__file__).parents[3] / ".." / "shared" / "data" / "bccd").is_dir(),
    reason="needs bccd in ../shared/data",
)
def test_bccd_is_read_split_by_split():
    splits = coco_splits(
        root=Path(__file__).parents[3] / ".." / "shared" / "data" / "bccd",
        train="annotations/instances_train.json",
        val="annotations/instances_val.json",
        test="annotations/instances_test.json",
    ).checked("error")

    # Counts as the data's README gives them.
    assert splits.test is not None
    parts = (splits.train, splits.val, splits.test)
    assert [len(part.images) for part in parts] == [205, 87, 72]
    assert [part.num_boxes for part in parts] == [2804, 1137, 945]
