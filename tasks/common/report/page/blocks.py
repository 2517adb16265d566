"""What a page is made of: plain data, with no HTML in it; ``write.py`` turns it into a file.

Every text is plain: ``<``, ``&`` and quotes stand for themselves. ``alt`` says in a sentence what a
reader who does not see a chart or a picture should know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.common.report.panels import Color, Image8

Cell = str | int | float | None
Limits = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve through ``(x[i], y[i])``; a value that is not finite is a gap.

    ``low`` and ``high``, as long as ``y``, are the edges of a band around it. Lines of one name
    share colour and key; a ``faint`` one is drawn thin, such as values that another line averages.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    faint: bool = False


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point of a line chart that is pointed out, with the text beside it."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """Lines on common axes; limits that are not given are those of the data."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    marks: Sequence[Mark] = ()
    x_limits: Limits | None = None
    y_limits: Limits | None = None
    alt: str


@dataclass(frozen=True, kw_only=True)
class BoxPlot:
    """Groups of named values: median, quartiles, whiskers of 1.5 quartile ranges, every point.

    ``groups`` is ``{group: [(name, value), ...]}``; a point's name is shown on hover.
    """

    title: str
    y_label: str
    groups: Mapping[str, Sequence[tuple[str, float]]]
    alt: str


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A bar per name; ``low`` and ``high`` are the ends of an interval around its value."""

    title: str
    x_label: str
    values: Mapping[str, float]
    low: Mapping[str, float] | None = None
    high: Mapping[str, float] | None = None
    alt: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """A named point of a scatter chart; ``low`` and ``high`` are the ends of an interval of y."""

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """Named points on common axes."""

    title: str
    x_label: str
    y_label: str
    points: Sequence[Point]
    alt: str


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Counts or shares: ``values[i][j]`` is that of ``rows[i]`` and ``columns[j]``.

    A confusion matrix has the truth in its rows (``row_label="truth"``). A cell's shade is its
    share of its row.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]
    row_label: str
    column_label: str
    alt: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells, sortable by a click on a heading; None is shown as a dash.

    Floats are shown with 3 digits behind the point, all else as it is.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image (H, W, 3), RGB, uint8, with short texts beside its caption, as ``("2 missed",)``."""

    image: Image8
    caption: str
    alt: str
    badges: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Pictures in the order given, each opened by a click; ``legend`` says what colours mean."""

    title: str
    pictures: Sequence[Picture]
    note: str = ""
    legend: Mapping[str, Color] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Text:
    """Paragraphs."""

    paragraphs: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that a reader should see first, such as ``0.404``, ``AP on test``."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Numbers in large print, side by side."""

    figures: Sequence[Figure]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Names with a text each; line breaks in a text are kept."""

    title: str
    facts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Alerts:
    """What a reader should know before all else, such as warnings."""

    title: str
    texts: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Code:
    """A command or a file, as it is."""

    title: str
    text: str


Chart = LineChart | BoxPlot | Bars | Scatter
Block = Chart | Matrix | Table | Gallery | Text | Figures | Facts | Alerts | Code


@dataclass(frozen=True, kw_only=True)
class Section:
    """Blocks under a heading, which the page's contents link to."""

    title: str
    blocks: Sequence[Block]
    intro: str = ""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A whole page; ``subtitle`` is the line under its title."""

    title: str
    subtitle: str
    sections: Sequence[Section]
