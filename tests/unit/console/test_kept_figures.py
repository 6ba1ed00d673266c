"""The memory of figures: of one server, of all servers, and of series by the servers that begin them."""

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest

from fastrpc.console import budget, kept, reading
from fastrpc.console import history as histories
from fastrpc.console.allowed import AllowedServers
from fastrpc.console.blocks import Table, Text
from fastrpc.console.fleet import Fleet
from fastrpc.console.history import FigureHistory, Totals
from fastrpc.console.pages import CallerEndpoint, FiguresPage, MethodFigures, ProcessFigures, ServedService
from fastrpc.console.servers import OTHER_STATUS, WHOLE_PATH, FleetServer
from fastrpc.console.service import made_view
from fastrpc.endpoint import Endpoint
from tests.support.admin_liar import admin_liar, answered
from tests.support.figure_series import add_series

pytestmark = pytest.mark.one_loop

LARGE = "\U0001f4a9" + "a" * 254


def row(method: str, calls: int, **more: int) -> MethodFigures:
    counts = {"OK": calls, **more}
    return MethodFigures("shop", method, "server", "native", 0, counts, 0, 0, 0.0, [(0.001, calls)])


def page_of(*rows: MethodFigures, revision: int = 1, **fields: Any) -> FiguresPage:
    return FiguresPage("a", revision, 1.0, list(rows), **fields)


def fleet_of(servers: int) -> tuple[Fleet, list[FleetServer]]:
    fleet = Fleet(None, AllowedServers())
    for number in range(1, servers + 1):
        label = {"admin": f"tcp://127.0.0.1:{20_000 + number}"}
        known = fleet.services.get("shop", {}).values()
        fleet.set_endpoints("shop", [*known, Endpoint(f"tcp://127.0.0.1:{number}", labels=label)])
    return fleet, list(fleet.servers.values())


def tell(fleet: Fleet, server: FleetServer, page: FiguresPage, *, path: str | None = None) -> None:
    """Tell figures as the answer to a path, which is the one that the server is asked for now unless given."""
    is_whole = (path or server.figures_path) == WHOLE_PATH
    fleet._take(server, server.count(page, server.name, fleet.has_figures, is_whole=is_whole))


def rows_of(count: int, calls: int = 1) -> list[MethodFigures]:
    return [row(f"m{number}", calls) for number in range(count)]


def test_methods_over_the_memory_of_a_server_are_left_out() -> None:
    fleet, [server] = fleet_of(1)
    server.most_bytes = 20_000
    tell(fleet, server, page_of(*rows_of(100)))
    found = len(server.counts)
    assert 5 < found < 20
    assert server.left_out == 100 - found
    assert fleet.budget.kept_bytes == server.kept_bytes <= 20_000
    # The kept ones are still counted, and the others do not come in their place.
    tell(fleet, server, page_of(*rows_of(100, calls=5), revision=2))
    assert len(server.counts) == found
    assert fleet.history.totals(("service", "shop"), 60).calls == pytest.approx(4 * found)
    assert fleet.budget.kept_bytes == server.kept_bytes <= 20_000


def test_methods_that_are_new_on_every_page_are_bounded_as_a_whole() -> None:
    fleet, [server] = fleet_of(1)
    server.most_bytes = 100_000
    for revision in range(1, 30):
        rows = [row(f"{revision} {number} {LARGE}"[:255], 1) for number in range(20)]
        tell(fleet, server, page_of(*rows, revision=revision))
    assert server.kept_bytes <= 100_000
    assert server.left_out == 20


def test_statuses_that_are_unknown_are_one() -> None:
    fleet, [server] = fleet_of(1)
    tell(fleet, server, page_of(row("get", 3, NOT_FOUND=2, **{LARGE: 4, "ODD": 1})))
    [counts] = server.counts.values()
    assert counts.calls == {"OK": 3, "NOT_FOUND": 2, OTHER_STATUS: 5}


def test_rows_and_endpoints_over_the_memory_of_a_server_are_left_out() -> None:
    fleet, [server] = fleet_of(1)
    server.most_bytes = 40_000
    services = [ServedService(LARGE, LARGE, LARGE)] * 1_000
    processes = [ProcessFigures(number, LARGE) for number in range(1_024)]
    tell(fleet, server, page_of(services=services, processes=processes, without=[1] * 1_000))
    assert server.page is not None
    assert len(server.page.services) in (0, 4)
    assert server.left_out >= 3_000
    server.keep_endpoints([CallerEndpoint(LARGE, LARGE)] * 1_000)
    assert 0 < len(server.endpoints) < 10
    assert server.kept_bytes <= 40_000


def test_the_server_with_most_series_gives_room_to_other_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "FLEET_BYTES", 200_000)
    monkeypatch.setattr(budget, "LEAST_BYTES", 8_000)
    fleet, [large, *small] = fleet_of(4)
    for one in small:
        tell(fleet, one, page_of(*rows_of(10)))
    tell(fleet, large, page_of(*rows_of(120)))
    assert large.kept_bytes > 100_000
    assert fleet.budget.cuts == 0
    for one in small:
        tell(fleet, one, page_of(*rows_of(40), revision=2))
    assert (fleet.budget.cuts, [len(one.counts) for one in small]) == (1, [40, 40, 40])
    assert (large.counts, large.most_bytes) == ({}, 200_000 // 8)
    # Its next figures are all of them, and no calls since it started are counted as new.
    assert large.figures_path == "/figures"
    before = fleet.history.totals(("server", large.key), 60).calls
    tell(fleet, large, page_of(*rows_of(120, calls=1_000), revision=3))
    assert large.kept_bytes <= 25_000
    assert fleet.history.totals(("server", large.key), 60).calls == before
    assert large.figures_path == "/figures?after=3"
    [event] = fleet.events.last(9, place=large.key)
    assert event.kind == "cut"
    assert event.text.endswith("this server had most; it may keep 25,000 bytes now")
    assert fleet.budget.kept_bytes == sum(one.kept_bytes for one in fleet.servers.values()) <= 200_000


def test_changed_methods_that_were_read_during_a_cut_are_no_base() -> None:
    fleet, [server] = fleet_of(1)
    tell(fleet, server, page_of(row("idle", 1_000_000), row("busy", 5)))
    asked = server.figures_path
    server.cut(1_000_000)
    # The page has the method alone that changed since the last one.
    tell(fleet, server, page_of(row("busy", 6), revision=2), path=asked)
    assert (server.counts, server.figures_path) == ({}, "/figures")
    tell(fleet, server, page_of(row("idle", 1_000_000), row("busy", 7), revision=3))
    assert (len(server.counts), server.figures_path) == (2, "/figures?after=3")
    tell(fleet, server, page_of(row("idle", 1_000_001), row("busy", 9), revision=4))
    assert fleet.history.totals(("method", "shop", "idle"), 60).calls == 1
    assert fleet.history.totals(("method", "shop", "busy"), 60).calls == 2


def test_a_page_that_was_counted_before_a_cut_undoes_no_cut() -> None:
    fleet, [server] = fleet_of(1)
    tell(fleet, server, page_of(row("get", 5)))
    page = page_of(row("get", 8), revision=2)
    counted = server.count(page, server.name, fleet.has_figures, is_whole=False)
    server.cut(1_000_000)
    fleet._take(server, counted)
    assert (server.counts, server.figures_path) == ({}, "/figures")
    # Its own changes are true ones.
    assert fleet.history.totals(("method", "shop", "get"), 60).calls == 3


def test_a_method_that_had_no_room_begins_without_its_old_calls() -> None:
    fleet, [server] = fleet_of(1)
    server.most_bytes = 16_384
    server.keep_endpoints([CallerEndpoint(f"any://x{number}", "tcp://10.0.0.1:1") for number in range(20)])
    tell(fleet, server, page_of(*rows_of(40, calls=1_000_000)))
    assert 0 < (found := len(server.counts)) < 40
    # A page without the methods that were left out changes nothing about them.
    tell(fleet, server, page_of(*rows_of(1, calls=1_000_001), revision=2))
    server.keep_endpoints([])
    tell(fleet, server, page_of(*rows_of(40, calls=1_000_002), revision=3))
    assert (more := len(server.counts)) > found
    assert fleet.history.totals(("service", "shop"), 60).calls == 2 * found
    tell(fleet, server, page_of(*rows_of(40, calls=1_000_003), revision=4))
    assert fleet.history.totals(("service", "shop"), 60).calls == 2 * found + more


def test_methods_are_new_again_once_a_whole_page_had_room() -> None:
    fleet, [server] = fleet_of(1)
    server.most_bytes = 16_384
    tell(fleet, server, page_of(*rows_of(40)))
    assert server.left_out > 0
    server.cut(16_384)
    tell(fleet, server, page_of(*rows_of(1), revision=2))
    tell(fleet, server, page_of(row("new", 4), revision=3))
    assert fleet.history.totals(("method", "shop", "new"), 60).calls == 4


def test_a_known_method_that_outgrows_the_memory_of_its_server_is_left_out() -> None:
    fleet, [server] = fleet_of(1)
    server.most_bytes = 16_384
    tell(fleet, server, page_of(*rows_of(40)))
    found = len(server.counts)
    durations: list[tuple[float | None, int]] = [(0.0005 * 2.0**number, 1) for number in range(-9, 15)]
    grown = [
        MethodFigures("shop", f"m{number}", "server", "native", 0, {"OK": 24}, 0, 0, 0.0, durations)
        for number in range(found)
    ]
    tell(fleet, server, page_of(*grown, revision=2))
    assert server.kept_bytes <= 16_384
    assert 0 < len(server.counts) < found
    assert server.left_out == found - len(server.counts)
    # The calls that showed its growth are counted.
    assert fleet.history.totals(("service", "shop"), 60).calls == 23 * found


def test_a_server_that_is_forgotten_is_counted_no_more() -> None:
    fleet, [server] = fleet_of(1)
    tell(fleet, server, page_of(*rows_of(10)))
    assert fleet.budget.kept_bytes > 0
    fleet._forget(server)
    assert fleet.budget.kept_bytes == 0


def test_servers_with_few_series_have_room_next_to_servers_with_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "MOST_SERIES", 40)
    monkeypatch.setattr(histories, "MOST_BEGUN", 10)
    history = FigureHistory(lambda: 1_000.0)

    def add(owner: str, count: int) -> int:
        for number in range(count):
            add_series(history, ("method", owner, str(number)), 990, 1_000, Totals(1), owner=owner)
        return len(history.keys("method", owner))

    # Four servers fill the history; each other server still gets its share.
    assert [add(f"liar {number}", 100) for number in range(4)] == [10] * 4
    assert [add(f"honest {number}", 5) for number in range(4)] == [5] * 4
    assert [len(history.keys("method", f"liar {number}")) for number in range(4)] == [5] * 4
    assert (len(history), history.displaced) == (40, 20)
    # The kept ones of a server are the first.
    assert history.keys("method", "liar 0")[-1] == ("method", "liar 0", "4")
    assert add("another", 100) == 4


def endless(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        peer.sendall(b"10000\r\n" + bytes(65_536) + b"\r\n")


def silent(peer: socket.socket) -> None:
    peer.recv(1)


def figures(number: int) -> bytes:
    """Return figures whose names take four times their bytes."""
    rows = [
        {"service": LARGE, "method": f"{number} {one} {LARGE}"[:255], "side": LARGE, "protocol": LARGE}
        | {"in_flight": 0, "calls": {}, "received_bytes": 0, "sent_bytes": 0, "sum_seconds": 0, "buckets": []}
        for one in range(200)
    ]
    return json.dumps(
        {"server": LARGE, "revision": 1, "started": 1.0, "methods": rows}, ensure_ascii=False
    ).encode()


Lie: TypeAlias = tuple[Callable[[int], Callable[[socket.socket], None]], str]

SILENT: Lie = (lambda number: silent, "no answer in time")
LIES: list[Lie] = [
    (lambda number: endless, "more bytes than the limit"),
    (lambda number: answered(b"", "200 OK", "Content-Length: 1073741824"), "Content-Length"),
    (lambda number: answered(b"{]"), "does not fit"),
    (
        lambda number: answered(b"", "302 Found", "Location: http://127.0.0.1:1/"),
        "redirects are not followed",
    ),
    (lambda number: answered(figures(number)), ""),
]


async def test_two_hundred_addresses_that_lie_are_bounded_and_each_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "PAGE_BYTES", 1_000_000)
    monkeypatch.setattr(budget, "FLEET_BYTES", 2_000_000)
    with ExitStack() as stack:
        # The silent ones hold a thread for three seconds each.
        lies = [SILENT if number % 13 == 0 else LIES[number % len(LIES)] for number in range(200)]
        liars = [stack.enter_context(admin_liar(make(number))) for number, (make, _) in enumerate(lies)]
        fleet = Fleet(None, AllowedServers())
        records = [
            Endpoint(f"tcp://127.0.0.1:{number}", labels={"admin": liar.address})
            for number, liar in enumerate(liars, 1)
        ]
        fleet.set_endpoints("shop", records)
        async with asyncio.timeout(120):
            await fleet.poll(is_forced=True)
        assert fleet.budget.kept_bytes <= 2_000_000
        for liar, (_, reason) in zip(liars, lies, strict=True):
            server = fleet.servers[liar.address]
            assert reason in (server.error or ""), server.error
            assert (server.error is None) == (not reason)
            told = [one.kind for one in fleet.events.last(9, place=liar.address)]
            assert ("unreadable" in told) == bool(reason)
        assert fleet.budget.cuts > 20
        assert len([one for one in fleet.events.last(999) if one.kind == "cut"]) == fleet.budget.cuts
        view = await made_view(fleet, "console", {"sort": "-left_out"}, is_detailed=False)
        texts = [one.text for one in view.blocks or () if isinstance(one, Text)]
        assert any("which were over the budget" in text for text in texts)
        [table] = [one for one in view.blocks or () if isinstance(one, Table) and one.title == "servers"]
        assert table.total == 200
        await fleet.__aexit__(None, None, None)


@pytest.mark.measures
def test_the_counted_memory_of_figures_is_close_to_the_allocation_of_python() -> None:
    import tracemalloc

    for names, statuses in (("m", 1), (LARGE, 10)):
        fleet, [server] = fleet_of(1)
        rows = [
            row(
                f"{number} {names}"[:255],
                5,
                **dict.fromkeys(["NOT_FOUND", "INTERNAL", "CANCELLED"][:statuses], 1),
            )
            for number in range(3_000)
        ]
        page = page_of(*rows)
        tracemalloc.start()
        counted = server.count(page, "shop", fleet.has_figures, is_whole=True)
        allocated = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        # Without the names, which the page has allocated.
        names_bytes = sum(kept.method_bytes(key, 0) - kept.method_bytes((), 0) for key in counted.counts)
        assert 0.5 < (counted.counts_bytes - names_bytes) / allocated < 2.0
