"""scripts/benchmark.py from its command line."""

import json

import pytest
import torch

from benchmarks.speed import catalogue, detection


def test_it_leaves_a_table_json_and_a_plot(tmp_path, in_process, capsys):
    arguments = ["evaluation", "--small", "--repeats=1", "--threads=1", "--output=out"]
    in_process("benchmark.py", arguments, tmp_path)
    report = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    systems = {c["title"]: list(c["systems"]) for c in report["comparisons"]}
    assert systems == {
        "COCO evaluation, 50 images x 100 detections": ["pycocotools", "Keel"],
    }
    table = (tmp_path / "out" / "benchmark.md").read_text()
    assert all(f"### {title}" in table for title in systems)
    assert (tmp_path / "out" / "benchmark.png").stat().st_size > 10_000
    assert "| Keel |" in capsys.readouterr().out


def test_no_repeats_are_refused_before_anything_is_measured(tmp_path, in_process):
    with pytest.raises(SystemExit, match=r"--repeats takes an integer of at least 1, got 0"):
        in_process("benchmark.py", ["--repeats=0"], tmp_path)


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path, in_process):
    with pytest.raises(SystemExit, match=r"unknown benchmark 'evaluatoin'; did you mean"):
        in_process("benchmark.py", ["evaluatoin"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", catalogue.chosen([], small=True, data=None))
def test_everything_can_be_measured(tmp_path, in_process, name):
    arguments = [name, "--small", "--repeats=1", "--threads=1", "--output=out"]
    in_process("benchmark.py", arguments, tmp_path)
    (comparison,) = json.loads((tmp_path / "out" / "benchmark.json").read_text())["comparisons"]
    assert all(system["seconds"] for system in comparison["systems"].values())


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
