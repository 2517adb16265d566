import json
from functools import partial

import numpy as np
import pytest

from tasks.detection.data.layouts.coco import read_coco
from tests.backbones.errors import refuses
from tests.tasks.detection.conftest import coco_of


def content(**changes):
    return {
        "images": [
            {"id": 10, "file_name": "a.jpg", "height": 100, "width": 200},
            {"id": 5, "file_name": "sub/b.jpg", "height": 50, "width": 60},
        ],
        "annotations": [
            {"id": 0, "image_id": 10, "category_id": 9, "bbox": [1, 2, 3, 4]},
            {"id": 3, "image_id": 10, "category_id": 2, "bbox": [5, 6, 7, 8], "area": 50.5},
            {"id": 4, "image_id": 10, "category_id": 2, "bbox": [0, 0, 90, 90], "iscrowd": 1},
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 2, "name": "cat"}],
    } | changes


@pytest.fixture
def read(tmp_path):
    (tmp_path / "images" / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.jpg"):
        (tmp_path / "images" / name).touch()

    def write_and_read(what, encoding="utf-8", **options):
        file = tmp_path / "instances.json"
        file.write_text(what if isinstance(what, str) else json.dumps(what), encoding=encoding)
        return read_coco(file, tmp_path / "images", **options)

    return write_and_read


def changed(key, index, **values):
    """Return the good file with values of one entry replaced; None removes the key."""
    good = content()
    entry = good[key][index] | values
    good[key][index] = {name: value for name, value in entry.items() if value is not None}
    return good


image = partial(changed, "images", 1)
annotation = partial(changed, "annotations", 1)
category = partial(changed, "categories", 0)


def boxes(*rows):
    return [{"image_id": 10, "category_id": 2, "bbox": list(row)} for row in rows]


def test_images_boxes_and_the_truth_are_those_of_the_file(read):
    good = changed("annotations", 0, segmentation=[[0, 0, 1, 1, 1, 0]])
    good["images"].append({"id": 100, "file_name": "lost.jpg", "height": 9, "width": 9})

    annotations = read(good)

    images = [(r.image_id, r.height, r.width, len(r.boxes)) for r in annotations.images]
    assert images == [(10, 100, 200, 2), (5, 50, 60, 0), (100, 9, 9, 0)]
    assert annotations.images[1].path.is_file()
    assert annotations.images[2].path == annotations.images[0].path.with_name("lost.jpg")
    np.testing.assert_array_equal(annotations.images[0].boxes, [[1, 2, 4, 6], [5, 6, 12, 14]])
    keys = ("id", "category_id", "area", "iscrowd", "image_id", "bbox")
    truth = [tuple(entry[key] for key in keys[:4]) for entry in annotations.truth["annotations"]]
    assert truth == [(1, 9, 12, 0), (2, 2, 50.5, 0), (3, 2, 8100, 1)]
    assert all(set(entry) == set(keys) for entry in annotations.truth["annotations"])
    assert annotations.cleaned == {"crowd, kept for evaluation only": 1}
    lost = read(annotation(bbox=[float("nan"), 0, 5, 5]))
    assert (lost.num_boxes, lost.cleaned["with NaN or infinity"]) == (1, 1)


@pytest.mark.parametrize(
    ("classes", "ids", "labels"),
    [(None, [2, 9], [2, 1]), (["dog", "cat"], [9, 2], [1, 2]), (["dog ", "cat"], [9, 2], [1, 2])],
)
@pytest.mark.parametrize("name", ["dog", " dog "])
def test_labels_follow_the_category_ids_or_the_classes(read, name, classes, ids, labels):
    """Spaces around a category are no part of its name."""
    annotations = read(category(name=name), classes=classes)
    assert list(annotations.classes) == (classes or ["cat", "dog"])
    assert list(annotations.category_ids) == ids
    assert annotations.images[0].labels.tolist() == labels


def test_a_category_outside_the_classes_may_be_there_without_annotations(read):
    good = content()
    good["categories"].append({"id": 1, "name": "animals"})
    annotations = read(good, classes=["cat", "dog"])
    assert annotations.images[0].labels.tolist() == [2, 1]
    assert [entry["name"] for entry in annotations.truth["categories"]] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["cat", "dgo"], r"s.json: no category 'dgo' \(nearest: 'dog'\); it has 'dog', 'cat'"),
        (["Cat", "dog"], r"no category 'Cat' \(nearest: 'cat'\)"),
        (["cat", "dog", "cat"], "classes has 'cat' more than once"),
        (["dog"], r"categories that are not in classes: 'cat' \(2\); expected only 'dog'"),
    ],
)
def test_classes_that_do_not_fit_are_refused(read, classes, message):
    with refuses(message):
        read(content(), classes=classes)


RUNS = {"size": [5, 5], "counts": [25]}
FAR = boxes(*((x, 20, x + 30, 70) for x in range(0, 150, 10)))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ('{"images": [\n1 2]}', "not valid JSON at line 2, column 3"),
        ("", "not valid JSON at line 1, column 1"),
        ([], "holds a list; expected an object with the keys images"),
        ({"images": [], "categories": []}, r"'annotations' is missing; the file has 'categories'"),
        (content(images={}), "'images' is not a list of objects"),
        (content(annotations=[3]), "'annotations' is not a list of objects"),
        (content(images=[], annotations=[]), "has no images; expected at least one"),
        (content(categories=[]), "has no categories; expected at least one"),
        (content(annotations=FAR), r"\d+ of 15 boxes fit no image as \[x, y"),
        (category(id="x"), "category: id is 'x'; expected a whole number"),
        (category(name=None), "category 9: name is None; expected a text"),
        (category(id=2), r"category 2 \('cat'\) is there twice"),
        (category(name="cat "), r"category 2 \('cat'\) is there twice"),
        (image(id=10), "image id 10 is there twice: 'a.jpg' and 'sub/b.jpg'"),
        (image(id=None), "image: id is None; expected a whole number"),
        (image(file_name=None), "image 5: file_name is None; expected a text"),
        (image(height=None), r"image 5 \('sub/b.jpg'\): height is None"),
        (image(width="60"), r"image 5 \('sub/b.jpg'\): width is '60'"),
        (image(width=60.5), r"width is 60.5; expected a whole number"),
        (image(width=0), r"image 5 \('sub/b.jpg'\): 0x50 pixels; expected both"),
        (annotation(image_id=11), "annotation 3: image_id 11 is not the id of any"),
        (annotation(category_id=1), "annotation 3: category_id 1 is not .* 2, 9"),
        (annotation(category_id=None), "annotation 3: category_id is None"),
        (annotation(bbox=[], segmentation=RUNS), "3 has no bbox, and its .* has RLE of size .5, 5"),
        (annotation(bbox=None), "bbox is None, and there is no segmentation"),
        (annotation(bbox=[1, 2, 3]), r"annotation 3: bbox is \[1, 2, 3\]"),
        (annotation(bbox=[1, 2, 3, "4"]), r"bbox is \[1, 2, 3, '4'\]"),
        (annotation(bbox=[1, 2, 3, True]), r"bbox is \[1, 2, 3, True\]"),
        (annotation(id=None, bbox=0), "annotation at position 1: bbox is 0"),
        (annotation(area=-1), "annotation 3: area is -1; expected a number"),
        (annotation(area=float("nan")), "annotation 3: area is nan"),
        (annotation(iscrowd=2), "annotation 3: iscrowd is 2; expected 0 or 1"),
    ],
)
def test_a_malformed_file_is_refused_with_the_place_and_the_value(read, what, message):
    with refuses(f"instances.json.*{message}"):
        read(what)


def test_a_missing_file_or_folder_says_what_there_is(tmp_path):
    (tmp_path / "instances_train.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"annotation file .*holds 'instances_train.json'"):
        read_coco(tmp_path / "instances_val.json", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"image folder .*holds 'instances_train.json'"):
        read_coco(tmp_path / "instances_train.json", tmp_path / "images")


def test_coco128_has_the_boxes_and_classes_that_pycocotools_reads(real_data):
    file = real_data("coco128") / "annotations" / "instances_train2017.json"
    ours = read_coco(file, real_data("coco128") / "train2017")
    reference = coco_of(json.loads(file.read_text()))
    assert len(ours.images) == len(reference.imgs) == 128
    assert list(ours.category_ids) == sorted(reference.getCatIds())
    for record in ours.images:
        ids = reference.getAnnIds(imgIds=record.image_id, iscrowd=False)
        entries = reference.loadAnns(ids)
        expected = np.reshape([entry["bbox"] for entry in entries], (-1, 4))
        expected[:, 2:] += expected[:, :2]
        np.testing.assert_allclose(record.boxes, expected, atol=1e-4)
        names = [reference.cats[entry["category_id"]]["name"] for entry in entries]
        assert [ours.classes[label - 1] for label in record.labels] == names


def test_boxes_are_drawn_around_outlines_where_they_are_missing(read):
    runs = {"size": [100, 200], "counts": [205, 10, 19785]}  # rows 5 to 14 of the third column
    good = content()
    first, second, third = good["annotations"]
    first |= {"segmentation": [[1, 2, 4, 2, 4, 6]]}
    second |= {"bbox": [], "segmentation": runs, "area": None}
    third |= {"bbox": [0, 0, 0, 0], "segmentation": runs, "area": None}
    del first["bbox"]
    annotations = read(good)
    np.testing.assert_array_equal(annotations.images[0].boxes, [[1, 2, 4, 6], [2, 5, 3, 15]])
    assert [entry["area"] for entry in annotations.truth["annotations"]] == [6, 10, 10]
    assert [entry["bbox"] for entry in annotations.truth["annotations"]][2] == [2, 5, 1, 10]
    counts = {"crowd, kept for evaluation only": 1, "drawn around their outlines": 3}
    assert annotations.cleaned == counts


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_encodings_and_whole_numbers_as_floats_are_read(read, encoding):
    found = read(changed("images", 0, height=100.0), encoding=encoding)
    assert (found.num_boxes, found.images[0].height) == (2, 100)
    with refuses(r"instances.json: line 1 has the byte 0xe9"):
        read('{"images": "é"}', encoding="latin-1")


def test_boxes_that_are_counted_from_one_are_told_of(read):
    rows = [(1, y, 30, 20) for y in range(1, 70, 10)]
    assert read(content(annotations=boxes(*rows))).warnings == (
        "8 sides of boxes begin at 1 and none at 0, but COCO counts pixels from 0: if the boxes "
        "are counted from 1, all lie a pixel off",
    )
    assert read(content(annotations=boxes(*rows, (0, 31, 30, 20)))).warnings == ()
