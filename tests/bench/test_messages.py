"""The comparison of brokers: its bars, and our side of it, at a size that a test can afford."""

from pathlib import Path

import msgspec
import pytest

from bench.beside import in_flight
from bench.messages import bare, flow, load
from bench.messages.bars import BARS, MEMORY
from bench.messages.record import BODY, Shop, order
from bench.messages.row import row
from fastrpc import Server
from fastrpc.brokers.remote.server import BrokerServer


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "IN_FLIGHT", 4)
    monkeypatch.setattr(in_flight, "WARM_SECONDS", 0)
    monkeypatch.setattr(flow, "PACE", 200)


def test_record_has_a_kibibyte() -> None:
    assert msgspec.json.encode(order()) == BODY
    assert len(BODY) == 1024


def test_our_client_has_each_kind_of_load_that_a_bar_names() -> None:
    named = {side.kind for bar in BARS for side in (bar.side, *bar.against) if side.client == "ours"}
    assert named == {"call", "backlog", MEMORY, *flow.KINDS}


def test_each_client_that_a_bar_names_is_known() -> None:
    named = {side.client for bar in BARS for side in (bar.side, *bar.against)}
    assert named == {"sqlite", *load.CLIENTS}


@pytest.mark.parametrize("sync", ["normal", "full"])
def test_row_has_a_figure(tmp_path: Path, sync: str) -> None:
    assert row(tmp_path / "rows", sync, 0.01) > 0


@pytest.mark.one_loop
@pytest.mark.parametrize("kind", flow.KINDS)
async def test_load_of_a_broker_has_a_figure(tmp_path: Path, kind: str) -> None:
    async with BrokerServer("tcp://127.0.0.1:0", data_dir=tmp_path / "broker", sync="normal") as server:
        assert await load.run("ours", kind, server.url, 0.05) > 0


@pytest.mark.one_loop
@pytest.mark.parametrize("kind", ["publish", "start"])
async def test_load_of_the_bare_program_has_a_figure(tmp_path: Path, kind: str) -> None:
    async with bare.serving(tmp_path, "normal") as (url, _):
        assert await load.run("bare", kind, url, 0.05) > 0


@pytest.mark.one_loop
async def test_load_of_a_group_that_lags_has_a_figure(tmp_path: Path) -> None:
    async with BrokerServer("tcp://127.0.0.1:0", data_dir=tmp_path / "broker", sync="normal") as server:
        assert await load.run("ours", "backlog", server.url, 0.05, 1_200) > 0


@pytest.mark.one_loop
async def test_load_of_calls_has_a_figure() -> None:
    async with Server(Shop()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        assert await load.run("ours", "call", str(address), 0.02) > 0
