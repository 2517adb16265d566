"""What a page says in words: paragraphs, facts, commands and large numbers."""

from typing import Final

from tasks.common.report.page.blocks import Alerts, Code, Facts, Figures, Text
from tasks.common.report.page.markup import Markup, element

_SHORT: Final = 8  # letters of a number in large print; a longer text is set smaller


def text(block: Text) -> Markup:
    """Return paragraphs."""
    return element("div", {"class": "prose"}, *(element("p", {}, p) for p in block.paragraphs))


def facts(block: Facts) -> Markup:
    """Return names with their texts, whose line breaks are kept."""
    pairs = (
        element("div", {}, element("dt", {}, name), element("dd", {}, fact))
        for name, fact in block.facts.items()
    )
    title = element("figcaption", {}, element("h3", {}, block.title)) if block.title else ""
    return element("figure", {"class": "card facts"}, title, element("dl", {}, *pairs))


def alerts(block: Alerts) -> Markup:
    """Return a list that stands out."""
    items = (element("li", {}, text) for text in block.texts)
    title = element("figcaption", {}, element("h3", {}, block.title))
    return element("figure", {"class": "card alerts"}, title, element("ul", {}, *items))


def code(block: Code) -> Markup:
    """Return a command in letters of one width; ``page.js`` adds a button that copies it."""
    box = {"tabindex": "0", "role": "region", "aria-label": block.title}
    return element(
        "figure",
        {"class": "card code"},
        element("figcaption", {}, element("h3", {}, block.title)),
        element("pre", box, element("code", {}, block.text)),
    )


def figures(block: Figures) -> Markup:
    """Return numbers in large print."""
    tiles = (
        element(
            "div",
            {"class": "tile"},
            element("dt", {}, figure.label),
            element("dd", {"class": "long" if len(figure.value) > _SHORT else None}, figure.value),
            element("dd", {"class": "note"}, figure.note) if figure.note else "",
        )
        for figure in block.figures
    )
    return element("dl", {"class": "tiles"}, *tiles)
