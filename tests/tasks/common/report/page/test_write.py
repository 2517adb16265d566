"""The file as a whole: nothing is loaded, nothing breaks out, equal pages are equal files."""

import base64
import hashlib
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from tasks.common.report.page import blocks as module
from tasks.common.report.page.blocks import Page, Section, Text
from tasks.common.report.page.write import page_html, write_page
from tests.tasks.common.report.page.conftest import blocks
from tests.tasks.common.report.page.parsed import everything, parse

BAD = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&lt;"
STYLES = Path(module.__file__).parent


@pytest.fixture
def tree(page):
    return parse(page_html(page()))


def test_every_kind_of_block_is_tried():
    kinds = {type(block) for block in blocks("a")}
    assert kinds == set(get_args(module.Block))


def test_a_name_from_the_data_stays_a_name(page):
    tree = parse(page_html(page(BAD)))
    assert len(tree.all("script")) == 1
    assert all(node.attributes.get("src", "data:").startswith("data:") for node in everything(tree))
    assert not [n for n in everything(tree) for name in n.attributes if name.startswith("on")]
    assert tree.one("h1").text == BAD
    assert tree.all("h2")[0].text == BAD
    assert tree.all("button", "key")[0].text == BAD
    assert tree.all("img")[0].attributes["alt"] == BAD
    assert tree.all("pre")[0].text.startswith(f"python {BAD}")


def test_names_of_elements_are_there_once_and_links_lead_to_them(tree):
    names = [node.attributes["id"] for node in everything(tree) if "id" in node.attributes]
    assert len(names) == len(set(names))
    links = [node.attributes["href"] for node in tree.all("a")]
    assert {link.removeprefix("#") for link in links} <= set(names)
    labelled = [n.attributes["aria-labelledby"] for n in tree.all("section")]
    assert set(labelled) <= set(names)


@pytest.mark.parametrize(
    ("titles", "expected"),
    [
        (["Scores", "Scores", "Per class: AP"], ["scores", "scores-2", "per-class-ap"]),
        (["a", "a", "a 2"], ["a", "a-2", "a-2-2"]),
        (["血", "é"], ["section", "section-2"]),
        (["Main content", "theme auto"], ["main-content", "theme-auto"]),
    ],
)
def test_a_section_is_named_by_its_title(titles, expected):
    sections = [Section(title=title, blocks=[Text(paragraphs=["x"])]) for title in titles]
    tree = parse(page_html(Page(title="t", subtitle="", sections=sections)))
    assert [node.attributes["id"] for node in tree.all("section")] == expected


def test_every_picture_has_an_alt_text_and_every_chart_a_sentence(tree):
    assert all(image.attributes["alt"] == "cell" for image in tree.all("img"))
    charts = [*tree.all("div", "plot"), *tree.all("div", "rows")]
    assert [chart.attributes["aria-label"] for chart in charts] == ["cell"] * 8


def test_nothing_is_loaded_from_elsewhere(page):
    html = page_html(page())
    assert re.findall(r"(?:https?:)?//[a-z]", re.sub(r"base64,[^\"]*", "", html)) == []
    assert "url(" not in html
    assert "@import" not in html


def test_the_browser_runs_our_script_alone(tree):
    script = tree.one("script").text
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(
        node.attributes["content"]
        for node in tree.all("meta")
        if node.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_style_and_script_do_not_end_the_element_that_they_are_in():
    for name in ("page.css", "page.js", "chart.js"):
        text = (STYLES / name).read_text(encoding="utf-8")
        assert "</" not in text
        assert len(text.splitlines()) <= 300, "split it, as any other file"


def test_every_heading_that_sorts_is_a_button(tree):
    table = tree.all("table", "sortable")[0]
    assert len(table.one("thead").all("button")) == 21


def test_equal_pages_are_equal_files(page, tmp_path):
    for name in "ab":
        write_page(page(), tmp_path / name / "report.html")
    first, second = ((tmp_path / name / "report.html").read_bytes() for name in "ab")
    assert first == second
    assert first.startswith(b'<!doctype html>\n<html lang="en">')
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["report.html"]


def test_blocks_take_their_parts_by_name_alone():
    for block in get_args(module.Block):
        assert all(field.kw_only for field in fields(block))
