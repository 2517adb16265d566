"""No text breaks out of its place."""

from tasks.common.report.page.markup import Markup, element, joined
from tests.tasks.common.report.page.parsed import parse

BAD = "<script>alert('1')</script> & \"quoted\""


def test_a_text_is_the_same_after_it_was_parsed():
    made = parse(element("p", {"title": BAD}, BAD))
    assert made.one("p").text == BAD
    assert made.one("p").attributes == {"title": BAD}
    assert made.all("script") == []


def test_what_is_made_already_is_not_escaped_again():
    inner = element("b", {}, "a & b")
    assert element("p", {}, inner, " < c") == "<p><b>a &amp; b</b> &lt; c</p>"
    assert joined([inner, "<"]) == "<b>a &amp; b</b>&lt;"
    assert isinstance(joined([]), Markup)


def test_elements_without_content_are_not_closed():
    assert element("img", {"alt": "", "width": 3}) == '<img alt="" width="3">'
