"""Every command of the documents on trained networks is run by a test; or the reason is here."""

import re

import pytest

from backbones.registry import BUILDERS
from tasks.common.recipe.backbone import BackboneChoice
from tasks.detection.model.build import new_detector
from tasks.detection.scores.trained import TrainedDetector
from tasks.segmentation.model.build import new_segmenter
from tasks.segmentation.options import InputOptions, UNetOptions
from tasks.segmentation.scores.trained import TrainedSegmenter
from tests.backbones.networks import tiny
from tests.scripts.conftest import ROOT, in_process
from tests.tasks.data_sets import boxes, masks
from tests.tasks.test_sharing import WHOLE

DOCUMENTS = "export.md", "regions.md", "use_in_python.md"
FENCED = re.compile(r"```bash\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`((?:python|pip|hf|trtexec) [^`\n]+)`")

TRAINING = {
    "python scripts/train_seg.py backbone=resnet34 backbone.weights=shared/cells.safetensors",
    "python scripts/train_det.py backbone=resnet34 backbone.weights=shared/tissue.safetensors",
}
TESTED = {  # by which test of which file
    r"python scripts/export\.py RUN .*": "test_export.py::test_every_command_of_the_document_runs",
    r"python scripts/predict\.py .* --regions": "test_predict_evaluate.py::"
    "test_the_command_and_the_program_of_the_document_on_regions_run",
    "|".join(map(re.escape, TRAINING)): "test_documented_commands.py::"
    "test_the_backbone_of_the_other_task_is_trained_on",
}
NOT_RUN = {  # and why
    r"pip install .*": "tests use no network, and change no environment",
    r"hf upload owner/name shared/detector": "tests use no network; that the hub gives "
    "the folder back is tested with a hub of its own, in tests/tasks/test_sharing.py",
}


def commands():
    """Every command that the documents show, in blocks and in sentences."""
    found = []
    for name in DOCUMENTS:
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        found += [line for block in FENCED.findall(text) for line in block.splitlines() if line]
        found += INLINE.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return found


def test_every_documented_command_is_run_or_says_why_not():
    known = [*TESTED, *NOT_RUN]
    shown = commands()
    assert [line for line in shown if not any(re.fullmatch(way, line) for way in known)] == []
    assert [way for way in known if not any(re.fullmatch(way, line) for line in shown)] == []
    assert set(shown) >= TRAINING
    for place in TESTED.values():
        file, name = place.split("::")
        assert f"def {name}(" in (ROOT / "tests" / "scripts" / file).read_text(encoding="utf-8")


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A folder with ``shared/``, as the programs of docs/use_in_python.md leave it."""
    monkeypatch.setitem(BUILDERS, "resnet34", tiny)
    choice = BackboneChoice(name="resnet34", weights="random")
    how = {"norm": "batch", "freeze": 0}
    network, card = new_detector(choice, WHOLE, data=boxes("cat"), **how)
    detector = TrainedDetector(network=network, card=card)
    detector.save_backbone(tmp_path / "shared" / "cells.safetensors")
    inputs = InputOptions(normalisation="imagenet", patch=(64, 64))
    decoder = UNetOptions(norm="batch", channels=(16,) * 5)
    data = masks("background", "vessel")
    network, card = new_segmenter(choice, decoder, inputs, data=data, channels=3, **how)
    segmenter = TrainedSegmenter(network=network, card=card)
    segmenter.save_backbone(tmp_path / "shared" / "tissue.safetensors")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(TRAINING))
def test_the_backbone_of_the_other_task_is_trained_on(command, tasks, shared, capsys, monkeypatch):
    """As documented, but on a small data set and for an epoch."""
    monkeypatch.setenv("COLUMNS", "1000")
    _, script, *given = command.split()
    name = "segmentation" if "train_seg" in script else "detection"
    task = tasks[name]
    small = [
        option
        for option in task.line(shared / "run", "backbone.norm=batch", "recipe.epochs=1")
        if not option.startswith(("backbone=", "backbone.weights="))
    ]
    in_process(task.script, [*given, *small], shared)
    printed = capsys.readouterr().out
    file = given[1].rpartition("/")[2]
    lineage = rf"\b{re.escape(file)} \(sha256 \w{{8}}\) -> {name} on data \("
    assert re.search(lineage, printed)
    counts = re.findall(r"(\d+) of +(\d+) tensors", printed)
    assert counts
    assert all(got == there for got, there in counts)
    assert (shared / "run" / "checkpoints" / "best.ckpt").is_file()
