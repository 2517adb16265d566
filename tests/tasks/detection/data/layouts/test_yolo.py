"""YOLO's layout: what data.yaml and the label files may say; the boxes of a COCO file."""

import numpy as np
import pytest
from PIL import Image

from tasks.detection.data.layouts.coco import read_coco
from tasks.detection.data.layouts.yolo import yolo_parts
from tasks.detection.data.splits import divide
from tasks.detection.options import DataOptions
from tests.backbones.errors import refuses

WIDTH, HEIGHT = 40, 20
FILES = {"train": ("a", "b"), "val": ("c",)}
YAML = "train: images/train\nval: images/val\nnames: [cat, dog]"


@pytest.fixture
def write(tmp_path):
    """Write images, labels (by the image's stem) and data.yaml, and return its folder."""

    def written(labels, *, yaml=YAML, images="images/{}", files=FILES):
        for split, names in files.items():
            folder = tmp_path / images.format(split)
            folder.mkdir(parents=True)
            for name in names:
                Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"{name}.png")
                place = tmp_path / images.replace("images", "labels").format(split)
                if name in labels:
                    place.mkdir(parents=True, exist_ok=True)
                    (place / f"{name}.txt").write_text(labels[name])
        (tmp_path / "data.yaml").write_text(yaml)
        return tmp_path

    return written


LABELS = {"a": "0 0.5 0.5 0.5 0.5\n1 0.125 0.25 0.25 0.5", "b": "1 .5 .5 1 1", "c": "0 .5 .5 1 1"}
BOXES = [[10, 5, 30, 15], [0, 0, 10, 10]]


def splits(root, **options):
    return divide(yolo_parts(root=root, **options), DataOptions())


def boxes(split, name):
    (record,) = [record for record in split.images if record.path.stem == name]
    return record.boxes.tolist(), record.labels.tolist()


@pytest.mark.parametrize(
    ("yaml", "images"),
    [
        (f"{YAML}\nnc: 2", "images/{}"),
        ("path: .\ntrain: images/train\nval: images/val\nnames: {1: dog, 0: cat}", "images/{}"),
        ("path: gone\ntrain: [images/train]\nval: images/val\nnames: [cat, dog]", "images/{}"),
        ("train: ../train/images\nval: ../val/images\nnames: [cat, dog]", "{}/images"),
        ("train: train/images\nvalidation: val/images\nnames: ['cat ', dog]", "{}/images"),
        (f"path: set\n{YAML}", "set/images/{}"),
    ],
)
def test_every_spelling_of_a_description_finds_images_and_labels(write, yaml, images):
    root = write(LABELS, yaml=yaml, images=images)
    for given in (root, root / "data.yaml"):
        found = splits(given)
        assert list(found.train.classes) == ["cat", "dog"]
        assert boxes(found.train, "a") == (BOXES, [1, 2])
        assert [r.path.stem for r in found.train.images] == ["a", "b"]
        assert [(r.path.stem, r.image_id) for r in found.val.images] == [("c", 1)]
        assert found.test is None


def test_lists_of_files_name_the_images_of_a_split(write):
    root = write(LABELS, yaml="train: [train.txt, more.txt]\nval: val.txt\nnames: [cat, dog]")
    (root / "train.txt").write_text("./images/train/b.png\n\nimages\\train\\a.png\n")
    (root / "more.txt").write_text(f"{root}/images/train/a.png\nimages/train/lost.png\n")
    (root / "val.txt").write_text("images/val/c.png")
    found = splits(root)
    assert [record.path.stem for record in found.train.images] == ["b", "a", "lost"]
    assert boxes(found.train, "a") == (BOXES, [1, 2])
    with refuses(r"1 of 3 images .*images/train/lost.png does not exist"):
        found.checked("error")


def test_polygons_become_their_boxes_and_repeated_lines_are_left_out(write):
    polygon = "1 0.25 0.25 0.75 0.25 0.5 0.75"
    found = splits(write(LABELS | {"a": f"{polygon}\n0 .5 .5 .5 .5\n\n0 0.5 0.50 .5 .5\n"}))
    assert boxes(found.train, "a") == ([[10, 5, 30, 15], [10, 5, 30, 15]], [2, 1])
    assert found.train.warnings == ("1 lines of label files repeat another and are left out",)


def test_images_without_labels_are_counted(write):
    files = {"train": ("a", "b", "d"), "val": ("c",)}
    found = splits(write(LABELS | {"b": ""}, files=files))
    assert boxes(found.train, "b") == boxes(found.train, "d") == ([], [])
    assert found.train.warnings == (
        "1 images have no label file and count as images without objects",
        "1 images have an empty label file and count as images without objects",
    )


def test_without_a_validation_split_the_training_images_are_divided(write):
    files = {"train": [str(number) for number in range(10)]}
    labels = dict.fromkeys(files["train"], "0 .5 .5 .5 .5")
    found = splits(write(labels, yaml="train: images/train\nnames: [cat]", files=files))
    assert [len(s.images) for s in (found.train, found.val, found.test)] == [7, 2, 1]
    assert found.drawn.startswith("train, val, test are drawn from 10 images by data.seed=0")


def test_classes_fix_the_labels_and_refuse_others(write):
    root = write(LABELS)
    assert boxes(splits(root, classes=["dog", "cat"]).train, "a") == (BOXES, [2, 1])
    with refuses(r"no category 'dgo' \(nearest: 'dog'\); it has 'ca"):
        yolo_parts(root=root, classes=["cat", "dgo"])
    with refuses(r"data.yaml: classes has 'cat' more than once"):
        yolo_parts(root=root, classes=["cat", "cat", "dog"])
    with refuses(r"a.txt: line 2: an object of 'dog'; expected only"):
        yolo_parts(root=root, classes=["cat"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 .5 .5 .5", r"a.txt: line 2: 4 columns; expected 5 \(class cx cy w h\)"),
        ("0 .5 .5 .5 .5 .9", "line 2: 6 columns"),
        ("0 .1 .1 .2 .2 .3 .3 .4", "line 2: 8 columns"),
        ("cat .5 .5 .5 .5", "line 2: 'cat .5 .5 .5 .5' has a word; expected numbers"),
        ("2 .5 .5 .5 .5", "line 2: the class is 2; expected 0 to 1"),
        ("-1 .5 .5 .5 .5", "line 2: the class is -1"),
        ("0.5 .5 .5 .5 .5", r"line 2: the class is 0\.5"),
        ("0 nan .5 .5 .5", "line 2: a number is nan; expected finite ones"),
        ("0 .5 inf .5 .5", "line 2: a number is inf"),
        ("0 .5 .5 20 .5", "line 2: a coordinate is 20; expected shares .* Divide pixels"),
        ("0 .5 -.02 .5 .5", r"line 2: a coordinate is -0\.02"),
        ("0 .1 .1 .2 .1 .2 1.02", r"line 2: a coordinate is 1\.02"),
    ],
)
def test_a_malformed_line_is_refused_with_the_file_and_the_line(write, line, message):
    with refuses(message):
        yolo_parts(root=write(LABELS | {"a": f"0 .5 .5 .5 1.005\n{line}"}))


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("train: [", "data.yaml: not valid YAML"),
        ("[1]", "no names; expected the names of the classes"),
        ("train: images/train", "no names"),
        ("names: [a]", "no train; expected the folder of the training images"),
        ("train: 3\nnames: [a]", "train is 3; expected a path, or a list of paths"),
        ("train: images/trian\nnames: [a]", "train is 'images/trian', which does not exist below"),
        ("train: .\nval: labels\nnames: [cat, dog]", "val has no images; expected at least one"),
        ("train: .\nnames: {1: a, 2: b}", "names has the indices '1', '2'; expected each from 0"),
        ("train: .\nnames: a", "names is 'a'; expected a list, or a table by index"),
        ("train: .\nnames: [yes, b]", "names has True; expected a text. Put it in quotes"),
        ("train: .\nnames: [a, a]", "names has 'a' more than once"),
        ("train: .\nnames: [a]\nnc: 2", "nc is 2, but names has 1 names"),
        ("train: .\nnames: [a]\nkpt_shape: [17, 3]", "kpt_shape says that labels are key points"),
    ],
)
def test_a_malformed_description_is_refused(write, yaml, message):
    root = write(LABELS, yaml=yaml)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        yolo_parts(root=root)


def test_a_missing_description_and_missing_labels_say_what_there_is(write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no YAML files; expected data.yaml.*is empty"):
        yolo_parts(root=tmp_path)
    with refuses(r"none of the 2 images of train has a label file; .*a.txt"):
        yolo_parts(root=write({}))


def test_boxes_lie_on_the_upright_image(write):
    root = write(LABELS)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images" / "train" / "a.png", exif=exif)
    (record, _) = splits(root).train.images
    assert (record.width, record.height) == (HEIGHT, WIDTH)
    assert record.boxes[0].tolist() == [5, 10, 15, 30]


def test_a_converted_set_has_the_boxes_of_its_coco_file(real_data, tmp_path):
    data = real_data("microctl")
    coco = read_coco(data / "annotations" / "instances_val.json", data / "images")
    for record in coco.images:
        image = tmp_path / "images" / record.name
        label = (tmp_path / "labels" / record.name).with_suffix(".txt")
        for path in (image, label):
            path.parent.mkdir(exist_ok=True)
        image.symlink_to(record.path.resolve())
        corners = record.boxes / np.tile([record.width, record.height], 2)
        centres, extents = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        rows = np.concatenate([record.labels[:, None] - 1, centres, extents], axis=1)
        np.savetxt(label, rows, fmt="%.6f")
    names = ", ".join(coco.classes)
    (tmp_path / "data.yaml").write_text(f"train: images\nval: images\nnames: [{names}]")

    yolo = splits(tmp_path).val

    expected = {record.name: record for record in coco.images}
    assert len(yolo.images) == len(coco.images)
    for record in yolo.images:
        other = expected[record.path.name]
        assert (record.width, record.height) == (other.width, other.height)
        assert record.labels.tolist() == other.labels.tolist()
        np.testing.assert_allclose(record.boxes, other.boxes, atol=2e-3)
