"""scripts/benchmark.py from its command line."""

from dataclasses import replace

import pytest
import torch

from backbones import BackboneOptions
from benchmarks.catalogue import SCORES, SPEED, chosen
from benchmarks.harness import Comparison
from benchmarks.speed import detection, evaluation
from tasks.detection.model.card import DetectorCard
from tasks.detection.options import DetectorOptions
from tests.scripts.conftest import in_process, read_json


def measured(folder, name):
    """The comparisons of one name, on tiny images."""
    arguments = [name, "--small", "--repeats=1", "--threads=1", "--output=out"]
    in_process("benchmark.py", arguments, folder)
    return read_json(folder / "out" / "benchmark.json")["comparisons"]


def test_it_leaves_a_table_json_and_a_plot(tmp_path, capsys):
    (comparison,) = measured(tmp_path, "evaluation")
    assert comparison["title"] == "COCO evaluation, 50 images x 100 detections"
    assert list(comparison["systems"]) == ["pycocotools", "Keel"]
    table = (tmp_path / "out" / "benchmark.md").read_text()
    assert f"### {comparison['title']}" in table
    assert (tmp_path / "out" / "benchmark.png").stat().st_size > 10_000
    assert "| Keel |" in capsys.readouterr().out


def interrupt():
    raise KeyboardInterrupt


def test_ctrl_c_keeps_what_was_measured(tmp_path, monkeypatch, capsys):
    steps = iter([int, int, int, int, int, interrupt])
    systems = dict.fromkeys(("first", "second", "third"), lambda: lambda: next(steps)())
    half = Comparison(title="half", systems=systems, memory=False)
    monkeypatch.setattr(evaluation, "comparison", lambda *, small: half)  # noqa: ARG005
    with pytest.raises(SystemExit, match="130"):
        measured(tmp_path, "evaluation")
    (comparison,) = read_json(tmp_path / "out" / "benchmark.json")["comparisons"]
    assert list(comparison["systems"]) == ["first", "second"]
    assert "| second |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeats=0"], "--repeats takes an integer of at least 1, got 0"),
        (["--minutes=0"], "--minutes takes a number above 0, got 0"),
        (["evaluation", "--data=x"], "--data=x is for loading and epoch"),
        (["evaluatoin"], "unknown benchmark 'evaluatoin'; did you mean"),
        (["scores-plain-path", "dte"], "unknown task 'dte'; did you mean 'det'"),  # after the name
    ],
)
def test_a_command_that_does_not_fit_is_refused(tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message):
        in_process("benchmark.py", arguments, tmp_path)


def test_the_help_lists_every_name(tmp_path, capsys):
    with pytest.raises(SystemExit, match="0"):
        in_process("benchmark.py", ["--help"], tmp_path)
    printed = capsys.readouterr().out
    assert all(f"\n  {name} " in printed for name in (*SPEED, *SCORES))


def test_names_are_patterns_and_what_takes_minutes_a_step_is_measured_by_name():
    assert list(chosen(["opt*", "gates"], long=False)) == ["optimizer", "gates"]
    assert set(chosen([], long=True)) == set(SPEED)
    left_out = set(SPEED) - set(chosen([], long=False))
    assert left_out == {
        *("detection-training-gpu", "epoch-detection-resnet18", "epoch-detection-resnet50"),
        *("epoch-segmentation", "inference-batches", "inference-batches-compiled"),
    }


@pytest.mark.parametrize("entry", (SPEED | SCORES).values(), ids=[*SPEED, *SCORES])
def test_every_entry_is_a_function(entry):
    assert callable(entry.load())


@pytest.mark.slow
@pytest.mark.parametrize("name", SPEED)
def test_everything_can_be_measured(tmp_path, name):
    (comparison,) = measured(tmp_path, name)
    assert all(system["seconds"] for system in comparison["systems"].values())


@pytest.mark.slow
def test_a_run_on_the_plain_path_and_one_of_smp_are_scored(tmp_path, seg_root):
    options = [
        *("backbone=resnet18", "backbone.weights=random", "model.norm=batch"),
        *("data=folder", f"data.root={seg_root}", "input.patch=[64,64]", "input.patches=4"),
        *("recipe.epochs=1", "recipe.batch_size=2", "recipe.warmup=0"),
        *("trainer.accelerator=cpu", "trainer.threads=1"),
    ]
    in_process("benchmark.py", ["scores-smp-unet", *options, "run_dir=smp"], tmp_path)
    in_process("benchmark.py", ["scores-plain-path", "seg", *options, "run_dir=plain"], tmp_path)
    for folder in ("smp", "plain"):
        assert read_json(tmp_path / folder / "metrics.json")["scores"]


@pytest.mark.slow
def test_a_detector_is_scored_in_both_systems(tmp_path, trained, root, capsys):
    saved = torch.load(trained[0] / "checkpoints" / "best.ckpt", weights_only=True)["keel"]
    card = replace(
        DetectorCard.from_dict(saved),
        backbone="resnet18",
        options=DetectorOptions(min_size=64, max_size=96),  # torchvision's architecture
        backbone_options=BackboneOptions(norm="frozen_batch"),
    )
    state = {f"network.{key}": tensor for key, tensor in card.build().state_dict().items()}
    torch.save({"state_dict": state, "keel": card.to_dict()}, tmp_path / "best.ckpt")
    arguments = ["best.ckpt", root / "annotations/instances_test.json", root / "images"]
    in_process("benchmark.py", ["scores-inference-ap", *arguments], tmp_path)
    theirs, ours, _ = [line.partition("  AP ")[2] for line in capsys.readouterr().out.splitlines()]
    assert theirs == ours


def test_both_detectors_of_a_comparison_are_the_same_function():
    made = []
    for make in (detection.torchvision_detector, detection.keel_detector):
        torch.manual_seed(0)
        made.append(make("resnet18", size=(64, 96), freeze=2).eval())
    theirs, ours = made
    image = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        (found,), (expected,) = ours([image]), theirs([image])
    torch.testing.assert_close(found["boxes"], expected["boxes"], rtol=0, atol=1e-2)
    torch.testing.assert_close(found["scores"], expected["scores"], rtol=0, atol=1e-4)
