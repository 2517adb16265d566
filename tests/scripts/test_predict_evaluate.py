"""A finished run's checkpoint, scored and used by the other scripts."""

import json
import re
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from tasks.detection import read_regions
from tasks.detection.scores.metrics import coco_ap
from tests.scripts.conftest import ROOT, finished, in_process, read_json, rows, started
from tests.tasks.common.fakes import write_video
from tests.tasks.detection.conftest import voc_document, voc_object

CPU = "--device=cpu", "--precision=32"


def copied(source, pattern, folder):
    folder.mkdir()
    for path in source.glob(pattern):
        shutil.copy(path, folder)
    return folder


def scores_of(run):
    return read_json(run / "metrics.json")["scores"]


def test_evaluate_gives_the_scores_of_the_run(segmented, seg_root, tmp_path):
    """Those of a detector are compared below, with those of its predictions."""
    run, _ = segmented
    for kind in ("images", "masks"):
        copied(seg_root / kind, "test_*.png", tmp_path / kind)
    line = [run / "checkpoints" / "best.ckpt", "masks", "images", "--device=cpu"]
    in_process("evaluate.py", [*line, "--output=s.json", "--cases=c.csv"], tmp_path)
    scores, expected = read_json(tmp_path / "s.json"), scores_of(run)
    main = scores.pop("intervals")["scores"]["dice"]
    assert main["score"] == pytest.approx(expected["mean"]["dice"])
    assert scores.keys() == expected.keys()
    for name, row in expected.items():
        assert scores[name] == pytest.approx(row, abs=1e-6, nan_ok=True)
    cases = [row["case"] for row in rows(run / "cases.csv")]
    assert [row["case"] for row in rows(tmp_path / "c.csv")] == cases


@pytest.mark.slow
def test_predict_needs_nothing_but_the_checkpoint(segmented, seg_root, tmp_path):
    line = [segmented[0], seg_root / "images" / "test_0000.png"]
    output = finished("predict.py", [*line, "--output=out", "--device=cpu"], tmp_path)
    assert "test_0000: class 80 " in output
    with Image.open(tmp_path / "out" / "masks" / "test_0000.png") as mask:
        assert set(np.unique(mask)) <= {0, 80, 160, 255}
    assert (tmp_path / "out" / "overlays" / "test_0000.png").is_file()


@pytest.mark.slow
def test_predict_writes_results_that_pycocotools_scores_as_the_run_did(trained, root, tmp_path):
    run, _ = trained
    annotations = root / "annotations" / "instances_test.json"
    copied(root / "images", "test_*.png", tmp_path / "new")
    line = [run / "checkpoints" / "best.ckpt", "new", "--output=out", "--threshold=0", *CPU]
    output = finished("predict.py", [*line, f"--annotations={annotations}"], tmp_path)
    assert output.count("detections shown") == 4
    results = read_json(tmp_path / "out" / "predictions.json")
    truth = COCO(str(annotations))
    loaded = truth.loadRes(str(tmp_path / "out" / "predictions.json"))
    assert len(loaded.anns) == len(results) > 100
    scores = coco_ap(truth.dataset, results)
    assert scores["ap"] == pytest.approx(scores_of(run)["ap"], abs=1e-6)
    assert len(list((tmp_path / "out" / "overlays").glob("*.png"))) == 4


def test_a_run_folder_two_sources_and_a_damaged_file(trained, root, tmp_path, capsys):
    """The others' results are written, and the exit code is 3."""
    run, _ = trained
    content = (root / "images" / "test_0000.png").read_bytes()
    for name in ("a/1.png", "b/1.png", "b/cut.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content[: 99 if "cut" in name else None])
    names = {"a/1.png": 11, "b\\1.png": 22, "b/cut.png": 33}
    entries = [{"file_name": name, "id": number} for name, number in names.items()]
    (tmp_path / "ids.json").write_text(json.dumps({"images": entries}), encoding="utf-16")
    line = [run, "a", "b/*.png", "--annotations=ids.json", "--output=out", *CPU]
    message = r"^error: 1 of 3 files were skipped: 'b/cut.png'; everything else is in out"
    line += ["--max-detections=3", "--regions", "--min-regions=4", "--max-regions=4"]
    with pytest.raises(SystemExit, match=r"^3$"):
        in_process("predict.py", line, tmp_path)
    printed, error = capsys.readouterr()
    assert re.match(message, error)
    assert printed.startswith(f"checkpoint {run / 'checkpoints' / 'best.ckpt'}")
    assert "3 of 3 b/cut.png: skipped, " in printed
    assert "2 of 3 files predicted, 1 skipped; results are in out" in printed
    images = read_json(tmp_path / "out" / "images.json")["images"]
    assert {entry["file_name"]: entry["id"] for entry in images} == {"a/1.png": 11, "b/1.png": 22}
    results = read_json(tmp_path / "out" / "predictions.json")
    assert [result["image_id"] for result in results] == [11] * 3 + [22] * 3
    overlays = tmp_path / "out" / "overlays"
    assert sorted(overlays.glob("*/*.png")) == [overlays / "a/1.png", overlays / "b/1.png"]
    for name in ("a/1", "b/1"):
        regions = read_regions(tmp_path / "out" / "regions" / f"{name}.npz")
        assert (regions.image, regions.features.shape) == (f"{name}.png", (4, 32))


@pytest.mark.slow
def test_the_command_and_the_program_of_the_document_on_regions_run(
    trained, root, tmp_path, monkeypatch
):
    text = (ROOT / "docs" / "regions.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^python scripts/predict.py (.*)$", text, re.MULTILINE)
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "0001.png").write_bytes((root / "images" / "test_0000.png").read_bytes())
    given = {"runs/detection/<run>": str(trained[0]), "/path/to/images": str(tmp_path)}
    in_process("predict.py", [given.get(word, word) for word in line.split()], tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(program, "regions.md", "exec"), names)  # noqa: S102
    assert names["regions"].features.shape[1] == 32
    assert len(names["regions"].boxes) >= 10


@pytest.mark.parametrize(
    ("run", "option", "message"),
    [
        ("trained", "--min-regions=3", "--min-regions is for --regions, which is not given; leave"),
        ("segmented", "--regions", "--regions is for detection only, and .* is a segmenter; leave"),
    ],
)
def test_options_of_regions_alone_are_refused(run, option, message, request, tmp_path):
    folder, _ = request.getfixturevalue(run)
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        in_process("predict.py", [folder, ".", option, "--device=cpu"], tmp_path)


def test_results_of_predict_have_the_scores_of_evaluate(trained, root, tmp_path):
    run, _ = trained
    truth = root / "annotations" / "instances_test.json"
    in_process("evaluate.py", [run, truth, root / "images", "--output=e.json", *CPU], tmp_path)
    sources = sorted((root / "images").glob("test_*.png"))
    line = [run, *sources, f"--annotations={truth}", "--output=out", *CPU]
    in_process("predict.py", line, tmp_path)
    results = ["--results=out/predictions.json", truth, "--output=r.json"]
    in_process("evaluate.py", results, tmp_path)
    scores = read_json(tmp_path / "e.json")
    assert read_json(tmp_path / "r.json") == scores
    assert scores.pop("intervals")["scores"]["ap"]["score"] == pytest.approx(scores["ap"])
    assert scores == pytest.approx(scores_of(run), abs=1e-6, nan_ok=True)
    assert scores["ar_100"] > 0


@pytest.mark.parametrize(
    ("card", "option", "read"),
    [
        (None, (), [9, 9, 30, 40]),  # a card of an earlier version
        (True, (), [9, 9, 30, 40]),
        (False, (), [10, 10, 30, 40]),
        (False, ("--one-based",), [9, 9, 30, 40]),
        (True, ("--no-one-based",), [10, 10, 30, 40]),
    ],
)
def test_coordinates_count_as_in_training(trained, root, tmp_path, monkeypatch, card, option, read):
    run, _ = trained
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["keel"].pop("one_based")
    checkpoint["keel"] |= {} if card is None else {"one_based": card}
    torch.save(checkpoint, tmp_path / "c.ckpt")
    (tmp_path / "xml").mkdir()
    document = voc_document(voc_object("disk", (10, 10, 30, 40)), width=64, height=64)
    (tmp_path / "xml" / "test_0000.xml").write_text(document)
    seen = []

    def spy(_model, split):
        seen.extend(split.images[0].boxes.tolist())
        return []

    monkeypatch.setattr("tasks.detection.scores.evaluate.detect", spy)
    in_process("evaluate.py", ["c.ckpt", "xml", root / "images", *CPU, *option], tmp_path)
    assert seen == [read]


@pytest.mark.parametrize(
    ("script", "line", "message"),
    [
        ("evaluate.py", ["RUN", "t.json"], "expected CHECKPOINT TRUTH IMAGES, got 2 paths"),
        ("evaluate.py", ["--results=r.json", "t.json", "x"], "expected TRUTH, got 2 paths"),
        ("evaluate.py", ["--max-detections=0", "a"], "--max-detections: expected a whole number"),
        ("predict.py", ["RUN"], "required: source"),
        ("predict.py", ["RUN", "x", "--device=gpu"], "--device: invalid choice: 'gpu'"),
        ("predict.py", ["RUN", "x", "--precision=bf61"], "--precision: invalid choice: 'bf61'"),
        (
            "predict.py",
            ["RUN", "x", "--treshold=0"],
            "option '--treshold'; did you mean '--threshold'?",
        ),
        ("predict.py", ["RUN", "x", "--wholly-else"], "unknown option '--wholly-else'."),
        ("predict.py", ["RUN", "x", "--format=cocco"], "format 'cocco'; did you mean 'coco'?"),
        ("predict.py", ["RUN", "x", "--format=yolo,yolo-labels"], "write the same files; give one"),
        ("predict.py", ["RUN", "x", "--every=0"], "--every: expected a whole number of at least 1"),
    ],
)
def test_a_wrong_command_line_is_refused(trained, tmp_path, capsys, script, line, message):
    line = [str(trained[0]) if part == "RUN" else part for part in line]
    with pytest.raises(SystemExit, match="2"):
        in_process(script, line, tmp_path)
    assert message in capsys.readouterr().err


def test_options_of_another_task_are_refused(trained, segmented, root, tmp_path):
    detector, segmenter = trained[0], segmented[0]
    images = [root / "images", "--device=cpu"]
    for script, line, flags, said in (
        ("evaluate.py", [detector, "t", *images], ["--cases=c.csv", "--tolerance=1"], "a detector"),
        ("predict.py", [segmenter, *images], ["--threshold=0", "--precision=bf16"], "a segmenter"),
        ("predict.py", [segmenter, *images], ["--annotations=a"], "a segmenter"),
        ("evaluate.py", ["--results=r.json", "t"], ["--mask-suffix=_m"], "results of a detector"),
        ("evaluate.py", ["--results=.", "t"], ["--max-detections=9"], "results of a segmenter"),
    ):
        for flag in flags:
            only = f"{'segmentation' if 'detector' in said else 'detection'} only"
            message = f"^error: {flag.partition('=')[0]} is for {only}, and .* {said}; leave it out"
            with pytest.raises(SystemExit, match=message):
                in_process(script, [*line, flag], tmp_path)
    with pytest.raises(SystemExit, match=r"^error: --one-based is for checkpoints; leave it out"):
        in_process("evaluate.py", ["--results=r.json", "t", "--one-based"], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_done(trained, root, tmp_path):
    """After the first line, in a process of its own."""
    images = copied(root / "images", "test_0000.png", tmp_path / "many")
    for number in range(400):
        shutil.copy(images / "test_0000.png", images / f"{number:03d}.png")
    line = [trained[0], images, "--output=out", *CPU]
    with started("predict.py", line, tmp_path) as process:
        while "detections shown" not in process.stdout.readline():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; what was done is in out" in rest
    done = read_json(tmp_path / "out" / "images.json")["images"]
    results = read_json(tmp_path / "out" / "predictions.json")
    assert 1 <= len(done) < 400
    assert {result["image_id"] for result in results} == {entry["id"] for entry in done}


@pytest.mark.parametrize(
    ("run", "option", "message"),
    [
        (
            "trained",
            ["--overlays=masks"],
            "--overlays masks does not fit, as .* detector; give box",
        ),
        ("segmented", ["--overlays=boxes"], "--overlays boxes .* a segmenter; give masks or none"),
        ("trained", ["--format=csv", "--annotations=a"], "--annotations is for --format coco, whi"),
        ("segmented", ["--format=csv"], "--format is for detection only, and .* is a segmenter"),
    ],
)
def test_options_that_do_not_fit_are_refused(run, option, message, request, root, tmp_path):
    folder, _ = request.getfixturevalue(run)
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        in_process("predict.py", [folder, root / "images", *option, "--device=cpu"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_run_is_told_before_a_full_output_folder(tmp_path):
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "kept.png").touch()
    with pytest.raises(SystemExit, match=r"^error: no checkpoint or run folder 'gone'"):
        in_process("predict.py", ["gone", "x"], tmp_path)


def test_annotations_for_a_video_are_refused(trained, root, tmp_path):
    (tmp_path / "v.mp4").touch()
    line = [trained[0], "v.mp4", f"--annotations={root / 'annotations/instances_test.json'}", *CPU]
    with pytest.raises(SystemExit, match=r"gives ids to images, and 'v.mp4' is a video; predict v"):
        in_process("predict.py", line, tmp_path)


def test_several_formats_of_batches_and_a_video_that_is_cut_off(trained, root, tmp_path, capsys):
    """The exit code is 3, the rest is done, and the table has what the JSON file has."""
    copied(root / "images", "test_*.png", tmp_path / "in")
    levels = np.random.default_rng(0).integers(0, 255, 40)
    cut = write_video(tmp_path / "in" / "clip.avi", levels)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    line = [trained[0], "in", "--output=out", "--overlays=none", "--batch-size=4", "--every=5"]
    with pytest.raises(SystemExit, match=r"^3$"):
        in_process("predict.py", [*line, "--format=coco,csv,voc,yolo-labels", *CPU], tmp_path)
    printed, error = capsys.readouterr()
    assert "error: 1 of 5 files are cut short: 'clip.avi' ends after " in error
    assert "5 of 5 files predicted, 1 cut short; results are in out" in printed
    results = read_json(tmp_path / "out" / "predictions.json")
    images = read_json(tmp_path / "out" / "images.json")["images"]
    assert images[1]["file_name"] == "clip.avi#000005"
    table = rows(tmp_path / "out" / "predictions.csv")
    names = {entry["id"]: entry["file_name"] for entry in images}
    assert [row["file"] for row in table] == [names[result["image_id"]] for result in results]
    assert [float(row["score"]) for row in table] == [result["score"] for result in results]
    assert len(list((tmp_path / "out" / "labels").iterdir())) == len(images)
    assert len(list((tmp_path / "out" / "Annotations").iterdir())) == len(images)
    assert not (tmp_path / "out" / "overlays").exists()
