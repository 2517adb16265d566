"""HTML read by Python's own parser, which refuses nothing: what it should refuse is noted."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"br", "img", "input", "meta", "link"}


@dataclass
class Node:
    """An element, with the text in it and in what it holds."""

    tag: str
    attributes: dict
    children: list = field(default_factory=list)
    own: list = field(default_factory=list)

    @property
    def text(self):
        return "".join(part if isinstance(part, str) else part.text for part in self.own)

    def all(self, tag, kind=None):
        """Every element inside of a tag, and of a class if one is given."""
        found = []
        for child in self.children:
            classes = (child.attributes.get("class") or "").split()
            if child.tag == tag and (kind is None or kind in classes):
                found.append(child)
            found += child.all(tag, kind)
        return found

    def one(self, tag, kind=None):
        (found,) = self.all(tag, kind)
        return found


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root = Node("root", {})
        self.open = [self.root]
        self.faults = []

    def handle_starttag(self, tag, attrs):
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        self.open[-1].own.append(node)
        if len(node.attributes) != len(attrs):
            self.faults.append(f"<{tag}> has an attribute twice")
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag):
        if self.open[-1].tag != tag:
            self.faults.append(f"</{tag}> closes <{self.open[-1].tag}>")
        else:
            self.open.pop()

    def handle_data(self, data):
        self.open[-1].own.append(data)


def parse(html):
    """The tree of an HTML text in which every tag is closed, in order."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    left = [node.tag for node in parser.open[1:]]
    assert (parser.faults, left) == ([], [])
    return parser.root


def everything(node):
    """Every element below a node."""
    for child in node.children:
        yield child
        yield from everything(child)
