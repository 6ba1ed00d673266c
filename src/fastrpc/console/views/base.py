"""A view for the console: `async def view(asked)` returns a title and blocks."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from fastrpc.console.blocks import Block, Cell, Chart, ChartLine, Column, Table, TreeNode, ViewLink
from fastrpc.console.events import FleetEvent
from fastrpc.console.fleet import Fleet
from fastrpc.console.history import SeriesKey, Totals, percentiles_of
from fastrpc.console.servers import FleetServer
from fastrpc.errors import CallError
from fastrpc.escaping import printable
from fastrpc.status import Status

__all__ = [
    "CHART_POINTS",
    "EVENTS",
    "FIGURES",
    "PERCENTILE_SECONDS",
    "ROWS",
    "Asked",
    "Row",
    "Show",
    "chart_of",
    "cut",
    "events_table",
    "figures_of",
    "newest_rows_table",
    "plain_table",
    "quoted",
    "rows_table",
    "server_link",
    "sorted_table",
    "tree_of",
    "unit_of",
]

#: The most rows of a page (ROWS) and the most characters of a text (TEXT). In a table of more than TABLE_BYTES a text
#: has at most SHORT_TEXT characters.
ROWS: Final = 200
TEXT: Final = 120
SHORT_TEXT: Final = 24
TABLE_BYTES: Final = 60_000

#: Values of a chart of an hour: the current slot is not over, and up to two slots before it are not settled.
CHART_POINTS: Final = 357

#: Values of a small chart in a row.
LINE_POINTS: Final = 20

#: Seconds over which tables take rates (RATE_SECONDS) and percentiles (PERCENTILE_SECONDS).
RATE_SECONDS: Final = 60.0
PERCENTILE_SECONDS: Final = 300.0

#: Most events of a view. MOST_NODES: most nodes of a tree; each 100 characters count as one more node. VALUE_TEXT: most
#: characters of a value in a tree.
EVENTS: Final = 50
MOST_NODES: Final = 1_000
VALUE_TEXT: Final = 2_000

#: The columns that `figures_of` fills.
FIGURES: Final = (
    Column("rate", "calls/s", "per second"),
    Column("errors", "errors/s", "per second"),
    Column("p50", "p50", "seconds"),
    Column("p99", "p99", "seconds"),
    Column("line", "calls", "line"),
)

#: Columns of admin pages with seconds since 1970.
_INSTANTS: Final = frozenset({"ended", "started", "time"})

T = TypeVar("T")

#: The cells of a row, and the view that it opens.
Row: TypeAlias = tuple[Sequence[Cell | list[float]], ViewLink | None]


class Asked(NamedTuple):
    """A request for a view."""

    fleet: Fleet
    arguments: Mapping[str, str]
    #: Whether the caller may see peers, identities, logs, settings and keys.
    is_detailed: bool

    def argument(self, name: str) -> str:
        """Return an argument.

        Raises:
            CallError: the argument is missing.
        """
        try:
            return self.arguments[name]
        except KeyError:
            raise CallError(
                Status.INVALID_ARGUMENT, f"the view needs the argument {name}", hint=f"add ?{name}=…"
            ) from None

    async def server(self) -> FleetServer:
        """Return the server that the arguments name, and poll it more often from now on.

        Raises:
            CallError: there is no such server.
        """
        key = self.argument("server")
        server = await self.fleet.server_named(key)
        if server is None:
            hint = (
                self.fleet.trouble
                or "the view 'services' links to all servers; name a server as http://host:port"
            )
            raise CallError(Status.NOT_FOUND, f"there is no server {quoted(key)}", hint=hint)
        self.fleet.show(server)
        return server


def chart_of(
    asked: Asked,
    title: str,
    unit: str,
    step_seconds: float,
    lines: list[ChartLine],
    *,
    is_stack: bool = False,
) -> Chart:
    """Return a chart that ends with the last settled slot of the history."""
    # Use whole seconds, so that views of the same instant are equal, and a reader that has the view gets no new one.
    end = round(time.time() - asked.fleet.history.newest(step_seconds))
    return Chart(title, unit, step_seconds, lines, end, is_stack)


#: A view: returns its title and its blocks.
Show: TypeAlias = Callable[[Asked], Awaitable[tuple[str, list[Block]]]]


def cut(text: str) -> str:
    """Return a text of another program: invisible characters are escaped, and long texts are cut for a view."""
    return _shown(text, TEXT)


def quoted(text: str) -> str:
    """Return a text of a caller as errors name it: in quotes, escaped and cut."""
    return f"'{cut(text)}'"


def server_link(key: str) -> ViewLink:
    return ViewLink("server", {"server": key})


def figures_of(asked: Asked, key: SeriesKey) -> list[Cell | list[float]]:
    """Return the cells of a series for the columns `FIGURES`."""
    history = asked.fleet.history
    rates: Totals = history.rates(key, RATE_SECONDS)
    p50, p99 = percentiles_of(history.durations(PERCENTILE_SECONDS, key), 0.5, 0.99)
    line = [round(one, 2) for one in history.points(key, "calls", LINE_POINTS)]
    return [round(rates.calls, 3), round(rates.errors, 3), p50, p99, line]


def sorted_table(
    asked: Asked, title: str, columns: Sequence[Column], rows: Iterable[Row], *, order: str
) -> Table:
    """Return the page of a table that the arguments `search`, `sort` and `page` choose.

    Args:
        order: the column to sort by if the arguments name none; a "-" before it puts the largest values first.
    """
    wanted = asked.arguments.get("search", "").casefold()
    found = [row for row in rows if not wanted or wanted in _text_of(row)]
    order = asked.arguments.get("sort", order)
    names = [one.name for one in columns]
    if order.removeprefix("-") not in names:
        raise CallError(
            Status.INVALID_ARGUMENT, f"sort is {quoted(order)}, the columns are {', '.join(names)}"
        )
    number = names.index(order.removeprefix("-"))
    # Rows without a value come last in either order.
    known = [row for row in found if row[0][number] is not None]
    known.sort(key=lambda row: _sort_key(row[0][number]), reverse=order.startswith("-"))
    found = known + [row for row in found if row[0][number] is None]
    text = asked.arguments.get("page", "1")
    page = int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 1
    begin = (max(1, page) - 1) * ROWS
    table = _bounded(title, columns, found[begin : begin + ROWS], len(found), max(1, page))
    return msgspec.structs.replace(table, order=order)


def plain_table(title: str, columns: Sequence[Column], rows: Iterable[Row]) -> Table:
    """Return a table of the first rows, in the given order, with the number of all rows."""
    found = list(rows)
    return _bounded(title, columns, found[:ROWS], len(found), 1)


def rows_table(title: str, rows: Any) -> Table:
    """Return the rows of an admin page as a table; its columns are the keys of the first row."""
    return plain_table(title, *_read_rows(rows))


def newest_rows_table(asked: Asked, title: str, rows: Any) -> Table:
    """Return the rows of an admin page with an instant, to search and sort; the newest come first."""
    columns, found = _read_rows(rows)
    instants = [column.name for column in columns if column.unit == "time"]
    if not instants:
        return plain_table(title, columns, found)
    return sorted_table(asked, title, columns, found, order=f"-{instants[0]}")


def _read_rows(rows: Any) -> tuple[list[Column], list[Row]]:
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    names = [str(name) for name in found[0]][:20] if found else []
    columns = [Column(cut(name), cut(name.replace("_", " ")), unit_of(name)) for name in names]
    return columns, [([_cell(row.get(name)) for name in names], None) for row in found]


def events_table(events: Sequence[FleetEvent]) -> Table:
    columns = [
        Column("time", "time", "time"),
        *(Column(name, name) for name in ("event", "service", "place", "text")),
    ]
    return plain_table(
        "events", columns, [([one.time, one.kind, one.service, one.place, one.text], None) for one in events]
    )


def unit_of(name: str) -> str:
    """Return the unit of the column of this name in admin pages."""
    last = name.rpartition("_")[2]
    return last if last in ("bytes", "seconds") else "time" if name in _INSTANTS else ""


def tree_of(values: Any) -> list[TreeNode]:
    """Return nested values of an admin page as nodes, at most `MOST_NODES`."""
    left = [MOST_NODES]
    return _nodes(values, left, 8)


def _nodes(values: Any, left: list[int], depth: int) -> list[TreeNode]:
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    nodes = []
    for name, value in pairs:
        if left[0] <= 0:
            break
        left[0] -= 1
        if isinstance(value, dict | list) and depth:
            nodes.append(TreeNode(cut(str(name)), children=_nodes(value, left, depth - 1)))
        else:
            cell = _cell(value)
            cell = _shown(cell, VALUE_TEXT, multiline=True) if isinstance(cell, str) else cell
            left[0] -= len(cell) // 100 if isinstance(cell, str) else 0
            nodes.append(TreeNode(cut(str(name)), {"value": cell}))
    return nodes


def _cell(value: Any) -> Cell:
    if value is None or isinstance(value, bool | int | float):
        return value
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _sort_key(value: Any) -> tuple[bool, Any]:
    # A server is not trusted, and may mix numbers and texts in a column.
    return (True, value.casefold()) if isinstance(value, str) else (False, value)


def _text_of(row: Row) -> str:
    return "\n".join(one for one in row[0] if isinstance(one, str)).casefold()


def _bounded(title: str, columns: Sequence[Column], rows: Sequence[Row], total: int, page: int) -> Table:
    """Return a table with its texts cut, and cut shorter if hostile names would make the table too large."""
    for length in (TEXT, SHORT_TEXT):
        cells = [[_cut_to(length, one) for one in row] for row, _ in rows]
        links = [link if _is_short(link, length) else None for _, link in rows]
        if not any(links):
            links = []
        table = Table(title, list(columns), cells, total, page, links)
        if len(msgspec.json.encode(table)) <= TABLE_BYTES:
            break
    return table


def _cut_to(length: int, cell: T) -> T | str:
    return _shown(cell, length) if isinstance(cell, str) else cell


def _shown(text: str, length: int, *, multiline: bool = False) -> str:
    """Return a text with its invisible characters escaped, cut to a number of characters."""
    escaped = printable(text[: length + 1], multiline=multiline)
    return escaped if len(escaped) <= length else f"{escaped[:length]}…"


def _is_short(link: ViewLink | None, length: int) -> bool:
    """Return whether a row keeps its link: the names in the link, which are not cut, must not be too long."""
    return link is not None and all(len(one) <= 4 * length for one in link.arguments.values())
