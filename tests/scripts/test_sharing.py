"""Real short runs hand their backbones and networks on: whole, and with their lineage."""

import re

import pytest

from tasks.detection import load_detector
from tasks.segmentation import load_segmenter
from tests.scripts.conftest import in_process


def loaded(printed):
    """The counts of loaded tensors, and of all, of each stage in the banner."""
    return [(int(a), int(b)) for a, b in re.findall(r"(\d+) of +(\d+) tensors", printed)]


@pytest.mark.slow
def test_a_backbone_goes_through_three_runs(tasks, trained, tmp_path, monkeypatch, capsys):
    """Detector, segmenter, detector: every tensor is loaded, and the lineage grows."""
    monkeypatch.setenv("COLUMNS", "1000")
    detection, segmentation = tasks["detection"], tasks["segmentation"]
    first, printed = trained
    assert "random initialisation -> detection on data (" in printed

    cells = load_detector(first).save_backbone(tmp_path / "cells.safetensors")
    options = f"backbone.weights={cells}", "backbone.norm=batch"
    second = segmentation.train(tmp_path / "second", *options)
    printed = capsys.readouterr().out
    counts = loaded(printed)
    assert len(counts) == 5
    assert all(got == there > 0 for got, there in counts)
    runs = r"detection on data \([\d-]+, sha256 \w{8}\) -> cells\.safetensors \(sha256 \w{8}\)"
    assert re.search(rf"{runs} -> segmentation on data \([\d-]+\) \(this run\)", printed)

    tissue = load_segmenter(second).save_backbone(tmp_path / "tissue.safetensors")
    third = detection.train(tmp_path / "third", f"backbone.weights={tissue}")
    printed = capsys.readouterr().out
    assert all(got == there for got, there in loaded(printed))
    rest = r"segmentation on data \([^)]+\) -> tissue\.safetensors \(sha256 \w{8}\) -> detection"
    assert re.search(rf"{runs} -> {rest}", printed)
    assert len(load_detector(third).card.lineage) == 5


@pytest.mark.slow
def test_scripts_take_a_shared_folder_like_the_run(task, first, tmp_path, capsys):
    """The same predictions; and a new run begins with it."""
    run, _ = first
    load = load_detector if task.script == "train_det.py" else load_segmenter
    folder = load(run).save_pretrained(tmp_path / "shared")
    readme = (folder / "README.md").read_text()
    assert "`recipe.batch_size`: " in readme
    assert "Not known." not in readme
    (image,) = (task.root / "images").glob("test_0000.png")
    for source, output in ((run, "a"), (folder, "b")):
        in_process("predict.py", [source, image, f"--output={output}", "--device=cpu"], tmp_path)
    there, here = (sorted((tmp_path / name).rglob("*.*")) for name in "ab")
    assert [path.name for path in there] == [path.name for path in here]
    assert [p.read_bytes() for p in there] == [p.read_bytes() for p in here]
    capsys.readouterr()
    line = task.line(tmp_path / "again", f"init_from={folder}", "trainer.max_steps=1")
    line.remove("backbone.weights=random")  # init_from brings its own
    in_process(task.script, line, tmp_path)
    assert "begins with" in capsys.readouterr().out
