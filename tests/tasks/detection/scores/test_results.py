"""Results files of other tools, scored as pycocotools scores them or refused with the reason."""

import json
import math
from contextlib import nullcontext

import numpy as np
import pytest

from tasks.detection.scores.evaluate import print_results
from tasks.detection.scores.results import evaluate_results, read_results, read_truth
from tests.backbones.errors import refuses
from tests.tasks.detection.conftest import by_pycocotools


def made(*, images=6, boxes=5):
    """Truth with gaps in its ids, and noisy detections with what tools write beside them."""
    rng = np.random.default_rng(0)
    shape = {"height": 400, "width": 500}
    entries = [{"id": 7 * n, "file_name": f"x/{n:03d}.jpg"} | shape for n in range(1, images + 1)]
    annotations, results = [], []
    for entry in entries:
        for _ in range(boxes):
            box = rng.uniform(5, 200, 4)
            of = {"image_id": entry["id"], "category_id": int(rng.choice([3, 90]))}
            number = {"id": len(annotations) + 1, "area": float(box[2] * box[3]), "iscrowd": 0}
            annotations.append(of | number | {"bbox": box.tolist()})
            near = (box + rng.normal(0, 8, 4)).clip(1).tolist()
            extra = {"segmentation": {"size": [400, 500], "counts": "x"}, "track": 1}
            results.append(of | extra | {"bbox": near, "score": float(rng.random())})
    categories = [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}]
    return {"images": entries, "annotations": annotations, "categories": categories}, results


@pytest.fixture
def write(tmp_path):
    """Write a truth and results; return the truth as it is read, and the path of the results."""

    def to_files(truth, results, name="r.json", encoding="utf-8"):
        (tmp_path / "t.json").write_text(json.dumps(truth))
        (tmp_path / name).write_text(json.dumps(results), encoding=encoding)
        return read_truth(tmp_path / "t.json"), tmp_path / name

    return to_files


def expected_ap(truth, results, limit=100):
    precision = by_pycocotools(truth, results, limit=limit).eval["precision"][..., 0, -1]
    return precision[precision > -1].mean()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_ap_of_a_results_file_is_that_of_pycocotools(write, encoding):
    split, results = write(*made(), encoding=encoding)
    scores, limit, suspicions, _ = evaluate_results(results, split, limit=None)
    assert (limit, suspicions) == (100, [])
    assert scores["ap"] == expected_ap(*made())
    assert 0.05 < scores["ap"] < 0.95
    assert {"ap/cat", "ap50/dog"} <= scores.keys()


@pytest.mark.parametrize(("limit", "counted"), [(None, 150), (100, 100), (5, 100), (300, 300)])
def test_as_many_detections_count_as_there_are_boxes_of_a_class(write, capsys, limit, counted):
    truth, _ = made(images=1, boxes=0)
    of = {"image_id": 7, "category_id": 3, "iscrowd": 0, "area": 4.0}
    truth["annotations"] = [of | {"id": n, "bbox": [3 * n, 9, 2, 2]} for n in range(150)]
    found = [of | {"bbox": one["bbox"], "score": 0.9} for one in truth["annotations"]]
    for one in truth["annotations"]:
        one["id"] += 1  # pycocotools takes 0 for "no match"
    split, results = write(truth, found)
    scores, used, *_ = evaluate_results(results, split, limit=limit)
    assert used == counted
    assert scores["ap"] == expected_ap(truth, found, counted)
    assert scores["ap"] == pytest.approx(67 / 101 if counted == 100 else 1.0)
    print_results(results, split, scores, limit=used, suspicions=["odd"])
    said = capsys.readouterr().out
    assert ("warning: images have up to 150 boxes of a class" in said) == (counted == 100)
    assert f"warning: {results}: odd" in said
    assert f"the best {counted} detections" in said


def changed(**values):
    """The good results with values of the third one replaced."""
    _, results = made()
    results[2] |= values
    return results


def reformed(convert):
    return [one | {"bbox": convert(*one["bbox"])} for one in made()[1]]


ELSEWHERE = [one | {"image_id": one["image_id"] + 1000} for one in made()[1]]
CORNERS = reformed(lambda x, y, width, height: [x, y, x + width, y + height])
NO_CATEGORY = {"image_id": 7, "bbox": [1, 2, 3, 4], "score": 1}
NO_BOX = {"image_id": 7, "category_id": 3, "score": 1, "segmentation": []}


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (changed(image_id=8), "1 of 7 images with detections are not among the 6 .*such as 8; it"),
        (changed(image_id="7"), "the truth has the number 7, not the text: write ids as numbers"),
        (changed(image_id="002"), "'002' is the file name of the image 14: give its id"),
        (changed(image_id=None), "detection 2: image_id is None; expected an id"),
        (changed(category_id=0), "1 of 3 categories .*: 0; it has 3 'cat', 90 'dog'.*from 0"),
        (changed(category_id=[3]), r"detection 2: category_id is \[3\]"),
        (changed(bbox=[1, 2, 3]), r"detection 2: bbox is \[1, 2, 3\]; expected 4 numbers"),
        (changed(bbox=[1, 2, math.nan, 4]), "detection 2: bbox is"),
        (changed(bbox=[1, 2, True, 4]), "detection 2: bbox is"),
        (changed(bbox=[50, 50, -10, 4]), "negative size; expected .x, y, width, height., not two"),
        (changed(bbox=None), "detection 2: bbox is None"),
        (changed(score="0.5"), "detection 2: score is '0.5'; expected a number"),
        (changed(score=math.inf), "detection 2: score is inf"),
        (ELSEWHERE, r"6 of 6 images .* Was the file made for another set\?"),
        (CORNERS, "boxes fit no image as .x, y, width, height., .* as .x1, y1, x2, y2."),
        ({"images": [], "annotations": []}, "holds a dict with the keys 'annotations', 'images';"),
        ("text", "holds a str; expected a list of detections"),
        ([3], "detection 0 is 3; expected a list"),
        ([NO_CATEGORY], "lacks 'category_id', it has 'bbox'"),
        ([NO_BOX], "lacks 'bbox'"),
    ],
)
def test_a_file_that_cannot_be_scored_is_refused_with_the_reason(write, results, message):
    split, path = write(made()[0], results)
    with refuses(f"r.json.*{message}"):
        read_results(path, split.truth)


def test_a_file_that_is_missing_damaged_or_a_folder_is_named(write, tmp_path):
    split, results = write(*made())
    results.write_text(results.read_text()[:100])
    with refuses(r"r.json: not valid JSON at line 1, .* complete\?"):
        read_results(results, split.truth)
    with pytest.raises(FileNotFoundError, match=r"file of results '.*none.json' does not exist"):
        read_results(tmp_path / "none.json", {})
    with refuses(r"is a folder; .* scored with a COCO file"):
        read_truth(tmp_path)


def test_without_a_detection_the_ap_is_0(write):
    split, results = write(made()[0], [])
    assert evaluate_results(results, split, limit=None)[0]["ap"] == 0


def named(*names):
    """Our own ``images.json``; without --annotations predict.py counts images from 1."""
    return json.dumps({"images": [{"id": number, "file_name": name} for number, name in names]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (named((7, "001.jpg")), ""),
        (named((14, "001.jpg")), "14 is '001.jpg' in .*images.json, but 'x/002.jpg' .*--annot"),
        (named((7, "y/001.jpg"), (9, "x/001.jpg")), "7 is 'y/001.jpg' in .*, but 'x/001.jpg' in t"),
        # More folders in front, and Windows' slashes, are no other image.
        (named((7, r"set\x\001.jpg"), (14, "002.jpg")), ""),
        # The files of other tools.
        *((other, "") for other in ('["a.jpg"]', '{"images": ["a"]}', "{}", "{")),
        ('{"images": [{"file_name": "a"}]}', ""),
    ],
)
def test_image_names_beside_predictions_are_those_of_the_truth(write, tmp_path, content, message):
    split, results = write(*made(), name="predictions.json")
    (tmp_path / "images.json").write_text(content)
    with refuses(message) if message else nullcontext():
        assert len(read_results(results, split.truth)[0]) == 30


def test_what_is_twice_in_the_truth_is_told_of(write, capsys):
    truth, results = made()
    truth["annotations"] += [{**entry, "id": entry["id"] + 100} for entry in truth["annotations"]]
    truth["images"].append({**truth["images"][0], "id": 1})
    split, results = write(truth, results)
    scores, limit, suspicions, _ = evaluate_results(results, split, limit=None)
    print_results(results, split, scores, limit=limit, suspicions=suspicions)
    out = " ".join(capsys.readouterr().out.split())
    assert "7 images, 60 boxes" in out
    assert "warning: 30 of 60 boxes in the truth repeat another of their class" in out
    assert "x/001.jpg and x/001.jpg in the truth are the same image with different boxes" in out


def test_boxes_in_a_corner_are_suspect(write):
    split, path = write(made()[0], reformed(lambda *sides: [side / 4 for side in sides]))
    (suspicion,) = read_results(path, split.truth)[1]
    assert "lie in the upper left" in suspicion
