"""Views as data: their tables, their bounds, their links, and names of hostile servers."""

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from fastrpc import CallError, Status
from fastrpc.console.allowed import AllowedServers
from fastrpc.console.blocks import Chart, Column, Graph, Table, Text, Tree, View
from fastrpc.console.fleet import Fleet
from fastrpc.console.pages import CallerEndpoint, FiguresPage, MethodFigures, ProcessFigures, ServedService
from fastrpc.console.service import VIEWS, made_view
from fastrpc.console.views import base
from fastrpc.console.views.base import tree_of
from fastrpc.console.views.service import ENDPOINTS_TITLE
from fastrpc.endpoint import Endpoint
from fastrpc.escaping import printable

HOSTILE = [
    "<script>alert(1)</script>",
    "</title>\x1b[2J\x1b]0;owned\x07",
    "\u202egnp.exe",
    "\u200b\u2066zero",
    "=HYPERLINK(1)",
    "javascript:alert(1)",
    "a" * 255,
    "\U0001f4a9" * 200,
    "\x00" * 255,
    "name\nerror: forged",
]


class Clock:
    now = 50_000.0

    def __call__(self) -> float:
        return self.now


def row(service: str, method: str, side: str, calls: int, errors: int = 0) -> MethodFigures:
    counts = {"OK": calls - errors, "INTERNAL": errors}
    return MethodFigures(service, method, side, "native", 0, counts, 0, 0, 0.001 * calls, [(0.001, calls)])


class FleetOfPages:
    """A fleet whose servers send the pages of a test."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.fleet = Fleet(None, AllowedServers(), clock=self.clock)
        self._revision = 0

    def add(self, service: str, number: int, **options: Any) -> None:
        address = f"tcp://127.0.0.1:{number}"
        labels = {"admin": f"tcp://127.0.0.1:{number + 20_000}"}
        known = self.fleet.services.get(service, {}).values()
        self.fleet.set_endpoints(service, [*known, Endpoint(address, labels=labels, **options)])

    def tell(self, number: int, service: str, *rows: MethodFigures) -> None:
        self._revision += 1
        page = FiguresPage(
            "a", self._revision, 1.0, list(rows), ready=True, services=[ServedService(service)]
        )
        server = self.fleet.servers[f"tcp://127.0.0.1:{number + 20_000}"]
        self.fleet._take(server, server.count(page, server.name, self.fleet.has_figures, is_whole=True))

    async def view(self, name: str, *, is_detailed: bool = False, after: str = "", **arguments: str) -> View:
        view = await made_view(self.fleet, name, arguments, after, is_detailed=is_detailed)
        assert len(msgspec.json.encode(view)) <= 200_000
        return view


def tables(view: View) -> dict[str, Table]:
    return {one.title: one for one in view.blocks or () if isinstance(one, Table)}


async def test_services_are_sorted_searched_and_paged() -> None:
    pages = FleetOfPages()
    for number in range(1, 451):
        pages.add(f"service-{number:03}", number)
    for number in range(1, 451):
        pages.tell(number, f"service-{number:03}", row(f"service-{number:03}", "get", "server", 0))
    pages.clock.now += 10
    for number in range(1, 451):
        called = row(f"service-{number:03}", "get", "server", number * 10)
        pages.tell(number, f"service-{number:03}", called)
    first = tables(await pages.view("services"))["services"]
    assert (len(first.rows), first.total, first.page) == (200, 450, 1)
    assert first.rows[0][0] == "service-001"
    last = tables(await pages.view("services", page="3"))["services"]
    assert (len(last.rows), last.rows[-1][0]) == (50, "service-450")
    busiest = tables(await pages.view("services", sort="-rate"))["services"]
    assert busiest.rows[0][0] == "service-450"
    assert busiest.rows[0][4] == pytest.approx(450, rel=0.01)
    found = tables(await pages.view("services", search="E-44"))["services"]
    assert [one[0] for one in found.rows] == [f"service-44{digit}" for digit in range(10)]
    with pytest.raises(CallError, match="sort is 'colour', the columns are service"):
        await pages.view("services", sort="colour")


async def test_a_method_has_the_percentiles_of_each_minute_and_gaps_without_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages = FleetOfPages()
    pages.clock.now = 6_000.0
    pages.add("arith", 1)
    calls = 0
    for minute in range(4):
        # The third minute has no calls.
        calls += 100 * (minute != 2)
        pages.tell(1, "arith", row("arith", "get", "server", calls))
        pages.clock.now += 60
    pages.clock.now += 17
    monkeypatch.setattr(base.time, "time", lambda: 1e9)
    view = await pages.view("method", service="arith", method="get")
    charts = {one.title: one for one in view.blocks or () if isinstance(one, Chart)}
    chart = charts["durations"]
    assert (chart.unit, chart.step_seconds) == ("seconds", 60.0)
    assert {one.name for one in chart.lines} == {"p50", "p95", "p99"}
    for line in chart.lines:
        [*_, second, third, fourth] = line.values
        assert third is None
        assert second == fourth
        assert fourth is not None
        assert 0.0005 < fourth <= 0.001
    # The last minute ended 17 seconds ago, and so did the last slot after which each server was read.
    for one in charts.values():
        assert one.end == 1e9 - 17


async def test_an_empty_fleet_is_reported() -> None:
    pages = FleetOfPages()
    told = [one.text for one in (await pages.view("services")).blocks or () if isinstance(one, Text)]
    assert [text.partition(":")[0] for text in told] == ["There is no service yet"]
    pages.add("arith", 1)
    assert not any(isinstance(one, Text) for one in (await pages.view("services")).blocks or ())


async def test_a_view_that_the_reader_has_comes_without_blocks() -> None:
    pages = FleetOfPages()
    pages.add("arith", 1)
    view = await pages.view("services")
    assert (await pages.view("services", after=view.revision)).blocks is None
    pages.add("other", 2)
    assert (await pages.view("services", after=view.revision)).blocks is not None


async def test_failed_calls_of_other_callers_are_reported() -> None:
    pages = FleetOfPages()
    pages.add("arith", 1)
    for calls in (0, 100):
        pages.clock.now += 10
        pages.tell(1, "arith", row("arith", "mul", "server", calls, calls // 5))
    [link] = tables(await pages.view("service", service="arith"))["callers and callees"].rows
    assert link == ["calls it", "other callers", pytest.approx(10.0), pytest.approx(2.0)]


async def test_methods_without_a_call_since_the_first_reading_are_shown() -> None:
    pages = FleetOfPages()
    pages.add("arith", 1)
    pages.tell(1, "arith", row("arith", "mul", "server", 7), row("arith", "add", "server", 0))
    methods = tables(await pages.view("service", service="arith"))["methods"].rows
    assert [one[:2] for one in methods] == [["add", 0.0], ["mul", 0.0]]


async def test_the_endpoint_of_a_server_that_is_out_says_so() -> None:
    pages = FleetOfPages()
    pages.fleet.set_endpoints(
        "arith", [Endpoint("tcp://127.0.0.1:1", weight=0, labels={"admin": "tcp://127.0.0.1:20001"})]
    )
    pages.tell(1, "arith", row("arith", "mul", "server", 0))
    [endpoint] = tables(await pages.view("service", service="arith"))[ENDPOINTS_TITLE].rows
    assert endpoint[3:5] == [0, "out"]


async def test_links_of_twelve_services_are_exact() -> None:
    pages = FleetOfPages()
    names = [f"s{number}" for number in range(12)]
    # Each calls the next two, the last ones none; the first is only called by others.
    links = {(names[one], names[one + step]) for one in range(12) for step in (1, 2) if one + step < 12}
    for number, name in enumerate(names):
        pages.add(name, number + 1)
    for calls in (0, 100):
        pages.clock.now += 10
        for number, name in enumerate(names):
            callees = [row(callee, "get", "client", calls) for caller, callee in links if caller == name]
            callers = sum(callee == name for _, callee in links)
            served = row(name, "get", "server", calls * max(1, callers))
            pages.tell(number + 1, name, *callees, served)
    found = set()
    for name in names:
        graphs = [
            one for one in (await pages.view("service", service=name)).blocks or () if isinstance(one, Graph)
        ]
        edges = [(one.begin, one.end, one.calls_per_second) for one in graphs[0].edges]
        assert [rate for _, _, rate in edges] == pytest.approx([10.0] * len(edges), rel=0.01)
        found |= {(begin, end) for begin, end, _ in edges}
    assert found == links | {("other callers", "s0")}


async def test_a_service_without_pages_has_the_figures_of_its_callers() -> None:
    pages = FleetOfPages()
    pages.add("front", 1)
    pages.fleet.set_endpoints("go", [Endpoint("tcp://127.0.0.1:9")])
    for calls in (0, 50):
        pages.clock.now += 10
        pages.tell(1, "front", row("go", "get", "client", calls, calls // 5))
    view = await pages.view("service", service="go")
    assert any(isinstance(one, Text) and "figures of its callers" in one.text for one in view.blocks or ())
    [method] = tables(view)["methods"].rows
    assert method[:3] == ["get", pytest.approx(5.0), pytest.approx(1.0)]
    assert tables(view)[ENDPOINTS_TITLE].rows[0][4] == "listed"


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_hostile_names_are_bounded(hostile: str) -> None:
    pages = FleetOfPages()
    pages.add("arith", 1)
    texts = {"version": hostile[:60], "zone": hostile[:60]}
    known = pages.fleet.services["arith"].values()
    others = [Endpoint(f"tcp://127.0.0.1:{number}", **texts) for number in range(2, 300)]
    pages.fleet.set_endpoints("arith", [*known, *others])
    for calls in (0, 5):
        pages.clock.now += 10
        rows = [row(f"{number}{hostile}"[:255], hostile[:255], "server", calls) for number in range(250)]
        pages.tell(1, hostile[:255], *rows)
    key = "tcp://127.0.0.1:20001"
    for name, arguments in (
        ("services", {}),
        ("service", {"service": "arith"}),
        ("method", {"service": f"1{hostile}"[:255], "method": hostile[:255]}),
        ("server", {"server": key}),
        ("store", {}),
        ("console", {}),
    ):
        view = await pages.view(name, **arguments)
        for table in tables(view).values():
            assert all(len(cell) <= 121 for one in table.rows for cell in one if isinstance(cell, str))


def texts_of(value: Any) -> Iterator[str]:
    """Yield the texts that a view shows: all but names of columns and arguments of links, which are sent back."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            if name not in ("links", "link", "order") and not (isinstance(value, Column) and name == "name"):
                yield from texts_of(getattr(value, name))
    elif isinstance(value, dict):
        yield from texts_of([*value, *value.values()])
    elif isinstance(value, list):
        for one in value:
            yield from texts_of(one)


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_hidden_characters_are_shown_escaped(hostile: str) -> None:
    pages = FleetOfPages()
    pages.add("arith", 1)
    name = hostile[:255]
    pages.fleet.set_endpoints(name, [Endpoint("tcp://127.0.0.1:9", version=name[:60], zone=name[:60])])
    for calls in (0, 5):
        pages.clock.now += 10
        rows = [row(name, name, "client", calls), row("arith", name, "server", calls)]
        pages.tell(1, name, *rows)
    server = pages.fleet.servers["tcp://127.0.0.1:20001"]
    server.error = hostile
    server.endpoints = [CallerEndpoint(name, name, state=name)]
    page = pages.fleet.servers[server.key].page
    assert page is not None
    server.page = msgspec.structs.replace(page, fastrpc=name, python=name)
    pages.fleet.events.add("unreadable", service=name, place=server.key, text=hostile)
    for view, arguments in (
        ("services", {}),
        ("service", {"service": name}),
        ("method", {"service": "arith", "method": name}),
        ("server", {"server": server.key}),
        ("store", {}),
        ("console", {}),
    ):
        shown = await pages.view(view, is_detailed=view != "method", **arguments)
        assert [text for text in texts_of(shown) if printable(text, multiline=True) != text] == []
    nodes = tree_of({name: {name: hostile, "lines": "one\ntwo"}})
    assert [text for text in texts_of(nodes) if printable(text, multiline=True) != text] == []
    assert nodes[0].children[1].facts == {"value": "one\ntwo"}


async def test_a_sorted_table_tells_its_order_and_a_view_its_time() -> None:
    pages = FleetOfPages()
    pages.add("arith", 1)
    before = time.time()
    view = await pages.view("services", sort="-rate")
    assert tables(view)["services"].order == "-rate"
    assert before <= view.time <= time.time()
    found = tables(await pages.view("service", service="arith"))
    assert (found["methods"].order, found[ENDPOINTS_TITLE].order) == ("method", "")
    # A later time alone is no change.
    assert (await pages.view("services", sort="-rate", after=view.revision)).blocks is None


async def test_the_chart_of_a_service_stacks_failed_calls_on_successful_ones() -> None:
    pages = FleetOfPages()
    pages.add("arith", 1)
    for calls in (0, 100, 200):
        pages.clock.now += 10
        pages.tell(1, "arith", row("arith", "mul", "server", calls, calls // 4))
    pages.clock.now += 14
    [chart] = [
        one for one in (await pages.view("service", service="arith")).blocks or () if isinstance(one, Chart)
    ]
    assert chart.is_stack
    assert [(line.name, line.values[-1]) for line in chart.lines] == [("successful", 7.5), ("failed", 2.5)]


async def test_neighbours_have_places_in_the_drawing() -> None:
    pages = FleetOfPages()
    for number, name in enumerate(("front", "orders", "stock"), 1):
        pages.add(name, number)
    for calls in (0, 50):
        pages.clock.now += 10
        pages.tell(1, "front", row("orders", "get", "client", calls), row("front", "get", "server", 0))
        pages.tell(2, "orders", row("stock", "get", "client", calls), row("orders", "get", "server", calls))
        pages.tell(3, "stock", row("stock", "get", "server", calls))
    [graph] = [
        one for one in (await pages.view("service", service="orders")).blocks or () if isinstance(one, Graph)
    ]
    assert [one.name for one in sorted(graph.nodes, key=lambda node: node.x)] == ["front", "orders", "stock"]
    assert all(0 < one.x < graph.width and 0 < one.y < graph.height for one in graph.nodes)


@pytest.mark.parametrize(
    ("name", "arguments", "status"),
    [
        ("nothing", {}, Status.NOT_FOUND),
        ("service", {}, Status.INVALID_ARGUMENT),
        ("service", {"service": "nothing"}, Status.NOT_FOUND),
        ("method", {"service": "arith", "method": "nothing"}, Status.NOT_FOUND),
        ("server", {"server": "nothing"}, Status.NOT_FOUND),
        ("server", {"server": "tcp://127.0.0.1:20001", "show": "logs"}, Status.PERMISSION_DENIED),
    ],
)
async def test_a_missing_view_is_refused(name: str, arguments: dict[str, str], status: Status) -> None:
    pages = FleetOfPages()
    pages.add("arith", 1)
    with pytest.raises(CallError) as refused:
        await pages.view(name, **arguments)
    assert refused.value.status is status


async def test_a_refused_detail_names_the_service_that_shows_it() -> None:
    pages = FleetOfPages()
    pages.add("arith", 1)
    with pytest.raises(CallError) as refused:
        await pages.view("server", server="tcp://127.0.0.1:20001", show="logs")
    assert "fastrpc.console shows no logs of servers" in refused.value.message
    assert "call fastrpc.console.detail.view with the same arguments" in str(refused.value.hint)


@pytest.mark.parametrize("form", ["tcp://127.0.0.1:20001", "http://127.0.0.1:20001/", "127.0.0.1:20001"])
async def test_a_server_is_found_by_each_form_of_its_address(form: str) -> None:
    pages = FleetOfPages()
    pages.add("arith", 1)
    blocks = (await pages.view("server", server=form)).blocks
    assert blocks is not None
    assert blocks[0].facts["admin pages"] == "tcp://127.0.0.1:20001"  # type: ignore[union-attr]


async def test_processes_and_values_of_trees_are_bounded() -> None:
    pages = FleetOfPages()
    pages.add("arith", 1)
    processes = [ProcessFigures(number, "worker", descriptors=3) for number in range(1_024)]
    server = pages.fleet.servers["tcp://127.0.0.1:20001"]
    page = FiguresPage("a", 1, 1.0, [], processes=processes)
    pages.fleet._take(server, server.count(page, "", pages.fleet.has_figures, is_whole=True))
    [tree] = [
        one for one in (await pages.view("server", server=server.key)).blocks or () if isinstance(one, Tree)
    ]
    assert (tree.title, len(tree.nodes)) == ("processes, 200 of 1,024", 200)
    assert tree.nodes[7].name == "worker 7"
    assert tree.nodes[7].facts["descriptors"] == 3
    nodes = tree_of({str(number): "a" * 1_000_000 for number in range(1_000)})
    assert len(nodes[0].facts["value"]) == 2_001  # type: ignore[arg-type]
    assert len(msgspec.json.encode(nodes)) < 110_000


async def test_figures_of_a_server_are_shown_as_figures_of_no_single_service() -> None:
    pages = FleetOfPages()
    pages.add("arith", 1)
    pages.fleet.set_endpoints(
        "idle", [Endpoint("tcp://127.0.0.1:2", labels={"admin": "tcp://127.0.0.1:20001"})]
    )
    pages.tell(1, "arith", row("arith", "mul", "server", 3, 1))
    found = tables(await pages.view("server", server="tcp://127.0.0.1:20001"))["records in the registry"]
    assert [column.name for column in found.columns] == ["service", "address"]
    assert found.rows == [["arith", "tcp://127.0.0.1:1"], ["idle", "tcp://127.0.0.1:2"]]
    found = tables(await pages.view("service", service="idle"))
    assert "endpoints, with the figures of their servers" in found


async def test_views_without_details_ask_no_server_for_more() -> None:
    pages = FleetOfPages()
    pages.add("arith", 1)
    pages.tell(1, "arith", row("arith", "mul", "server", 3, 1))
    for name in VIEWS:
        if name != "store":
            await pages.view(name, service="arith", method="mul", server="tcp://127.0.0.1:20001")
    assert pages.fleet.servers["tcp://127.0.0.1:20001"].reader is None


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("{}", {}),
        ("service", {"service": "{}"}),
        ("method", {"service": "{}", "method": "{}"}),
        ("server", {"server": "{}"}),
        ("services", {"sort": "{}"}),
        ("server", {"server": "tcp://127.0.0.1:20001", "show": "{}"}),
    ],
)
async def test_an_error_names_a_text_of_its_caller_cut_and_escaped(
    name: str, arguments: dict[str, str]
) -> None:
    pages = FleetOfPages()
    pages.add("shop", 1)
    for hostile, shown in (("x" * 1_000_000, "x" * 120 + "…"), ("a\x00\u202eb", r"a\x00\u202eb")):
        given = {key: value.replace("{}", hostile) for key, value in arguments.items()}
        with pytest.raises(CallError) as error:
            await made_view(pages.fleet, name.replace("{}", hostile), given, is_detailed=True)
        assert shown in error.value.message
        assert len(error.value.message) < 600
