"""Views as data: seven kinds of blocks, which a page, a terminal and `--json` render."""

from typing import Any, TypeAlias

import msgspec

__all__ = [
    "Act",
    "Block",
    "Button",
    "Buttons",
    "Cell",
    "Chart",
    "ChartLine",
    "Column",
    "Facts",
    "Graph",
    "GraphEdge",
    "GraphNode",
    "ViewLink",
    "Table",
    "Text",
    "Tree",
    "TreeNode",
    "View",
]

Cell: TypeAlias = str | int | float | bool | None


class ViewLink(msgspec.Struct, frozen=True):
    """Another view, with its arguments."""

    view: str
    arguments: dict[str, str] = {}


class Facts(msgspec.Struct, frozen=True, tag=True, tag_field="kind"):
    """Values with their names."""

    title: str
    facts: dict[str, Cell]
    #: The units of facts by name, as in `Column.unit`; facts without a unit are missing.
    units: dict[str, str] = {}


class Column(msgspec.Struct, frozen=True):
    """A column of a table."""

    name: str
    title: str
    #: "", "per second", "seconds", "bytes", "share" (of 1), "time" (seconds since 1970) or "line" (a small chart of
    #: numbers).
    unit: str = ""


class Table(msgspec.Struct, frozen=True, tag=True, tag_field="kind"):
    """The rows of one page."""

    title: str
    columns: list[Column]
    rows: list[list[Cell | list[float]]]
    #: `total`: the number of rows on all pages. `page`: the number of this page, from 1.
    total: int
    page: int = 1
    #: The view that each row opens; empty if rows open none.
    links: list[ViewLink | None] = []
    #: The column by which the table is sorted, with "-" before it if the largest value comes first. The arguments
    #: `search`, `sort` and `page` of the view change it. Empty for a table with a fixed order.
    order: str = ""


class ChartLine(msgspec.Struct, frozen=True):
    name: str
    #: None: there is no value, and the line has a gap.
    values: list[float | None]


class Chart(msgspec.Struct, frozen=True, tag=True, tag_field="kind"):
    """Lines over time."""

    title: str
    unit: str
    #: Seconds between two values; the last value is the newest.
    step_seconds: float
    lines: list[ChartLine]
    #: The instant of the newest value, in seconds since 1970, by the console's clock.
    end: float
    #: Whether each line is drawn on top of the one before it: together they are a sum.
    is_stack: bool = False


class TreeNode(msgspec.Struct, frozen=True):
    name: str
    facts: dict[str, Cell] = {}
    children: list["TreeNode"] = []


class Tree(msgspec.Struct, frozen=True, tag=True, tag_field="kind"):
    """A tree of names and values."""

    title: str
    nodes: list[TreeNode]
    #: The units of facts by name, as in `Column.unit`; facts without a unit are missing.
    units: dict[str, str] = {}


class GraphNode(msgspec.Struct, frozen=True):
    name: str
    link: ViewLink | None = None
    #: `x` and `y`: the centre of the node's box in pixels.
    x: float = 0.0
    y: float = 0.0


class GraphEdge(msgspec.Struct, frozen=True):
    """Calls from one node to another."""

    begin: str
    end: str
    calls_per_second: float


class Graph(msgspec.Struct, frozen=True, tag=True, tag_field="kind"):
    """Nodes and the calls between them."""

    title: str
    nodes: list[GraphNode]
    edges: list[GraphEdge]
    #: `width` and `height`: the size of the drawing in pixels.
    width: float = 0.0
    height: float = 0.0


class Text(msgspec.Struct, frozen=True, tag=True, tag_field="kind"):
    """A sentence about the view: a note, a warning or an error."""

    text: str
    level: str = "note"


class Act(msgspec.Struct, frozen=True):
    """An act on servers, as an argument of `fastrpc.console.act`.

    The user adds a token, and the values that `asks` names.
    """

    #: out, in, weight, serving, log_level, drain or roll.
    name: str
    #: The keys of the servers.
    servers: list[str]
    #: The body of the request; its `was` is the value that the view shows.
    values: dict[str, Any] = {}
    #: The names of the values that the user enters.
    asks: list[str] = []


class Button(msgspec.Struct, frozen=True):
    """A button that opens another view, or carries out an act."""

    title: str
    link: ViewLink | None = None
    act: Act | None = None


class Buttons(msgspec.Struct, frozen=True, tag=True, tag_field="kind"):
    """Buttons that open other views or carry out acts."""

    buttons: list[Button]


Block: TypeAlias = Facts | Table | Chart | Tree | Graph | Text | Buttons


class View(msgspec.Struct, frozen=True):
    """A view for a reader."""

    title: str
    #: None if the reader already has the blocks, by the revision that it gave.
    blocks: list[Block] | None
    #: Identifies this content: the title and the blocks.
    revision: str
    #: The time of the answer by the console's clock, in seconds since 1970, to which readers relate ages.
    time: float = 0.0
