"""The comparison with etcd: its bars, and our side of it, at a size that a test can afford."""

import os

import pytest

from bench.agreement import load
from bench.agreement.bars import BARS
from bench.beside import in_flight
from bench.beside.bars import Bar, Side, sides_of
from bench.promises.server import Promised
from fastrpc import Server
from fastrpc.coordination import StoreServer


def test_bar_compares_the_medians_of_two_sides() -> None:
    mine, other = Side("store", "ours", "get"), Side("etcd", "etcd's", "get")
    bar = Bar("get", mine, (other,), 2, "times that of etcd")
    found = bar.found({mine: [4e-6, 9e-6, 1e-6], other: [2e-6, 1e-6, 8e-6]})
    assert (found.figure, found.is_kept) == (2, True)
    assert found.details == "4.0 (1.0 to 9.0) and 2.0 (1.0 to 8.0) µs"
    assert not bar.found({mine: [4.1e-6], other: [2e-6]}).is_kept


def test_bar_adds_up_the_sides_that_it_compares_with() -> None:
    mine, call, row = (
        Side("broker", "ours", "publish"),
        Side("call", "ours", "call"),
        Side("row", "sqlite", "row"),
    )
    bar = Bar("publish", mine, (call, call, row), 2, "times two calls and a row")
    assert bar.found({mine: [8e-6], call: [1e-6], row: [2e-6]}).figure == 2
    assert sides_of([bar]) == [call, row, mine]


def test_our_client_has_each_kind_of_load_that_a_bar_names() -> None:
    named = {side.kind for bar in BARS for side in (bar.side, *bar.against)}
    assert named == {"echo", "gateway", *load.KINDS}


@pytest.mark.one_loop
@pytest.mark.parametrize("kind", load.KINDS)
async def test_load_of_a_store_has_a_figure(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((in_flight, "IN_FLIGHT"), (load, "WAITERS"), (load, "WATCHERS")):
        monkeypatch.setattr(module, name, 4)
    monkeypatch.setattr(in_flight, "WARM_SECONDS", 0)
    async with StoreServer("tcp://127.0.0.1:0") as server:
        assert await load.run(kind, server.url, 0.02, os.getpid()) > 0


@pytest.mark.one_loop
async def test_load_of_echoes_has_a_figure() -> None:
    async with Server(Promised()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        assert await load.run("echo", str(address), 0.02, os.getpid()) > 0
