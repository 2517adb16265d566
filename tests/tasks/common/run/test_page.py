"""What a run keeps for its page: options that differ, and how it ended."""

import json

import pytest

from backbones.errors import UserError
from tasks.common.run.page import changed_options, end_page, how_it_ended
from tasks.detection.config import DETECTION


def changed(*overrides):
    cfg = DETECTION.compose(overrides)
    return {o["option"]: (o["value"], o["default"]) for o in changed_options(cfg, DETECTION)}


def test_options_that_differ_from_their_default_are_named_with_it():
    usual = changed("data=coco", "data.root=cells", "backbone=resnet18")
    found = changed(
        *("data=coco", "data.root=cells", "backbone=resnet18"),
        *("seed=3", "recipe.clip=0.5", "model.features=[c3,c4,c5]", "trainer.compile=true"),
        *("recipe.unfreeze={c5:1}",),
    )
    assert usual["data"] == ("coco", None)
    assert usual["data.root"] == ("cells", None)
    assert usual["backbone.name"] == ("resnet18", None)
    assert {name: both for name, both in found.items() if name not in usual} == {
        "seed": ("3", "0"),
        "recipe.clip": ("0.5", "0.0"),
        "model.features": ("[c3,c4,c5]", "[c2,c3,c4,c5]"),
        "trainer.compile": ("true", "false"),
        "recipe.unfreeze": ("{c5:1}", "{}"),
    }


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SystemExit(130), "interrupted by SIGINT"),
        (SystemExit(143), "interrupted by SIGTERM"),
        (KeyboardInterrupt(), "interrupted by SIGINT"),
        (UserError("lr is too high."), "stopped by an error (lr is too high.)"),
        (OSError("disk full"), "stopped by an error (OSError: disk full)"),
    ],
)
def test_what_ended_a_run(error, text):
    assert how_it_ended(error) == text


def test_a_page_notes_how_the_run_ended(tmp_path):
    (tmp_path / "run.json").write_text(
        '{"title": "Keel: x", "facts": {"data": "d"}, "ended": null}'
    )
    path = end_page(tmp_path, ended="interrupted by SIGINT")
    assert path == tmp_path / "report.html"
    assert "interrupted by SIGINT" in path.read_text()
    assert json.loads((tmp_path / "run.json").read_text())["ended"] == "interrupted by SIGINT"


def test_a_folder_that_is_gone_is_not_made_anew(tmp_path):
    with pytest.raises(FileNotFoundError):
        end_page(tmp_path / "gone", ended="finished")
    assert list(tmp_path.iterdir()) == []
