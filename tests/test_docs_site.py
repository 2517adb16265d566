"""What the site adds to the documents: pages from the code, links between folders, docstrings."""

import re
import runpy
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tasks.common.run.options_page import options_page
from tests.configs.conftest import TRAININGS, composed

MKDOCS = Path(__file__).parents[1] / "docs" / "mkdocs"
PAGES = runpy.run_path(str(MKDOCS / "pages.py"))


@pytest.mark.parametrize(
    ("path", "link", "expected"),
    [
        ("docs/export.md", "../benchmarks/RESULTS.md", "benchmarks/RESULTS.md"),
        ("docs/how-to/a.md", "../../benchmarks/RESULTS.md", "../benchmarks/RESULTS.md"),
        ("docs/how-to/a.md", "../data.md", "../data.md"),
        ("benchmarks/RESULTS.md", "../docs/benchmark.png", "../benchmark.png"),
        ("CHANGELOG.md", "docs/export.md", "export.md"),
        ("docs/a.md", "https://arxiv.org/abs/1", "https://arxiv.org/abs/1"),
    ],
)
def test_links_between_the_folders_lead_to_pages_of_the_site(path, link, expected):
    relinked = PAGES["relinked"]
    assert relinked(f"[a]({link}#b) and ![c]({link})", path) == (
        f"[a]({expected}#b) and ![c]({expected})"
    )
    assert relinked(f"`[a]({link})`", path) == f"`[a]({link})`"
    assert relinked("[a](#b)", path) == "[a](#b)"


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<script src="https://unpkg.com/x"></script>', ["https://unpkg.com/x"]),
        ('<link rel="stylesheet" href="//fonts.example.org/a.css">', ["//fonts.example.org/a.css"]),
        ("<style>@import 'https://example.org/a.css';</style>", ["https://example.org/a.css"]),
        ('<p style="background: url(http://example.org/a.png)">', ["http://example.org/a.png"]),
        ('<img alt="a" src="https://example.org/a.png">', ["https://example.org/a.png"]),
        ('<a href="https://example.org">', []),
        ('<link rel="canonical" href="https://example.org/">', []),
        ('<script src="../assets/a.js"></script><link rel="icon" href="a.png">', []),
        ("<code>&lt;script src=https://example.org&gt;</code>", []),
    ],
)
def test_what_a_page_loads_from_the_network_is_found(html, found):
    assert PAGES["loaded"](html) == found


def test_every_page_has_a_place_in_the_navigation():
    """`make docs` says so as well, later."""
    written = {str(p.relative_to(MKDOCS.parent)) for p in MKDOCS.parent.rglob("*.md")}
    listed = re.findall(r"^ +- (\S+\.md)$", (MKDOCS / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted({*written, *PAGES["MADE"], *PAGES["ELSEWHERE"]})


@pytest.fixture(scope="module")
def pages():
    return {name: options_page(training) for name, training in TRAININGS.items()}


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
def test_the_page_of_options_has_every_option_with_its_meaning(training, pages):
    page = pages[training.task]
    entries = dict(re.findall(r"^\| `([\w.]+)` \| `[^`]+` \| (.+) \|$", page, re.MULTILINE))
    cfg = OmegaConf.to_container(composed(training.task, "data=sample"))
    groups = {k: v for k, v in cfg.items() if isinstance(v, dict)}
    options = {f"{group}.{key}" for group, keys in groups.items() for key in keys}
    for path in (training.configs / "data").glob("*.yaml"):
        content = OmegaConf.load(path)
        options |= {f"data.{key}" for key in content.get("data", content) if key != "defaults"}
    wanted = options | (cfg.keys() - groups.keys())
    assert wanted - {*entries} <= {"backbone.name", "data._target_"}
    assert all(len(text) > 10 for text in entries.values())
    assert "``" not in page


def test_the_page_of_options_says_defaults_limits_and_what_a_choice_sets(pages):
    page = pages["detection"]
    assert "| `recipe.epochs` | `12` | How often each image is seen. Takes an integer of" in page
    assert "| `recipe=ema` | `recipe.ema=0.998` | A moving average" in page
    assert "| `data.root` | `<required>` | The folder" in page
    assert r"'(video\d+)_'" in page
    assert "| `augment=flip` (default) |" in page
    assert "`data=coco`, `backbone=resnet18`, `data.test=annotations/instances_test.json`" in page


def test_doctests_and_tables_of_docstrings_become_markdown():
    pytest.importorskip("griffe")
    as_markdown = runpy.run_path(str(MKDOCS / "docstrings.py"))["as_markdown"]
    text = (
        "Say.\n\n>>> a(1,\n... 2)\n3\n\nAfter.\n\n"
        "==== =====\none  two\n     parts\n==== =====\n1    2 | 3\n     4\n5\n==== ====="
    )
    assert as_markdown(text) == (
        "Say.\n\n```pycon\n>>> a(1,\n... 2)\n3\n```\n\nAfter.\n\n"
        "| one | two parts |\n|---|---|\n| 1 | 2 \\| 3 4 |\n| 5 |  |"
    )
