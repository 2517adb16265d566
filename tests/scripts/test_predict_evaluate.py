"""A finished run's checkpoint, scored and used by the other scripts."""

import json

import pytest
from pycocotools.coco import COCO

from tasks.detection.metrics import coco_ap


@pytest.mark.slow
def test_evaluate_gives_the_scores_of_the_run(trained, root, tmp_path, finished):
    run, _ = trained
    finished(
        "evaluate.py",
        [
            run / "checkpoints" / "best.ckpt",
            root / "annotations" / "instances_test.json",
            root / "images",
            "--output=scores.json",
            "--device=cpu",
            "--precision=32",
        ],
        tmp_path,
    )
    scores = json.loads((tmp_path / "scores.json").read_text())
    expected = json.loads((run / "metrics.json").read_text())["scores"]
    assert scores == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert scores["ar_100"] > 0


@pytest.mark.slow
def test_predict_writes_results_that_pycocotools_scores_as_the_run_did(
    trained, root, tmp_path, finished
):
    run, _ = trained
    annotations = root / "annotations" / "instances_test.json"
    images = tmp_path / "test_images"
    images.mkdir()
    for path in (root / "images").glob("test_*.png"):
        (images / path.name).write_bytes(path.read_bytes())
    output = finished(
        "predict.py",
        [
            run / "checkpoints" / "best.ckpt",
            images,
            "--output=out",
            f"--annotations={annotations}",
            "--device=cpu",
            "--precision=32",
            "--threshold=0",
        ],
        tmp_path,
    )
    assert output.count("detections shown") == 4
    results = json.loads((tmp_path / "out" / "predictions.json").read_text())
    truth = COCO(str(annotations))
    loaded = truth.loadRes(str(tmp_path / "out" / "predictions.json"))
    assert len(loaded.anns) == len(results) > 100
    scores = coco_ap(truth.dataset, results)
    expected = json.loads((run / "metrics.json").read_text())["scores"]
    assert scores["ap"] == pytest.approx(expected["ap"], abs=1e-6)
    assert len(list((tmp_path / "out" / "overlays").glob("*.png"))) == 4
