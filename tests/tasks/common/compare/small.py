"""Folders of runs, written by hand."""

import csv
import json

from omegaconf import OmegaConf

from tests.tasks.detection.scores.test_coco_eval import IMAGES, smooth

DETECTION = "tasks.detection.data.layouts.coco.coco_parts"
SEGMENTATION = "tasks.segmentation.data.layouts.folder.folder_cases"


def write_run(folder, *, target=DETECTION, scores=None, **options):
    """A run's configuration, metrics and curves."""
    folder.mkdir(parents=True)
    config = {"run_dir": str(folder), "recipe": {"lr": 0.1}, "data": {"_target_": target}}
    OmegaConf.save(OmegaConf.merge(config, options), folder / "config.yaml")
    metrics = {"scored split": "test", "scores": scores, "seconds": 60.0 * len(folder.name)}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    environment = {"git": {"commit": "0123456789", "changed files": "0"}, "gpu": "none"}
    (folder / "environment.json").write_text(json.dumps(environment))
    rows = ["epoch,step,train/loss,val/ap,val/dice", "0,1,3,,", "0,2,1,,", "0,2,,0.25,0.5"]
    (folder / "metrics.csv").write_text("\n".join([*rows, "1,4,1,,", "1,4,,0.5,0.75", ""]))
    return folder


def detected(folder, *, keep=1, seed=0, **options):
    """A detector's run on simulated images, of whose detections each ``keep``-th is there."""
    truth, results = smooth(seed)
    images = [{"id": id_, "file_name": f"{place}.png"} for place, id_ in enumerate(IMAGES)]
    write_run(folder, scores={"ap": 0.5, "ap50": 0.75, "ar_100": 0.5}, **options)
    (folder / "scored").mkdir()
    (folder / "scored" / "truth.json").write_text(json.dumps(truth | {"images": images}))
    (folder / "scored" / "predictions.json").write_text(json.dumps(results[::keep]))
    return folder


def segmented(folder, dice, **options):
    """A segmenter's run on as many cases."""
    write_run(folder, target=SEGMENTATION, **options)
    with (folder / "cases.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["case", "class", "dice", "truth_pixels"])
        table.writerows([f"case {n:02d}", "cell", one, 100 + n] for n, one in enumerate(dice))
    return folder
