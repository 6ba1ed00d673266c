"""Every protocol passes the same limits, counters and access log; `test_access_by_protocol.py` checks callers."""

import logging
from typing import Any

import pytest

from fastrpc import HTTP, Call, Proceed, Server, ServerConfig, Status
from fastrpc._core.base.histogram import default_registry
from fastrpc.config.validation import SERVER_PROTOCOLS
from fastrpc.interceptors import AccessLog
from fastrpc.limits import RateLimit
from tests.support.access_table import Credentials
from tests.support.guarded import Shop
from tests.support.waiting import eventually
from tests.support.ways_in import WAYS, Asked, Way

pytestmark = pytest.mark.one_loop

#: Calls that an identity may make, few enough that none becomes free; a batch of JSON-RPC makes three at once.
MOST = 3
EVERYTHING = HTTP(jsonrpc=True, websocket=True, mcp=True, rpcx=True, phobos=True, grpc_web=True, connect=True)


def label_of(way: Way) -> str:
    return way.setting if way.setting in {"websocket", "grpc_web", "connect"} else way.protocol


@pytest.mark.parametrize("name", WAYS)
async def test_every_way_is_limited_counted_and_logged(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastrpc.access")
    way, started = WAYS[name], 0
    method, kind = ("shop.both", "both_ways") if WAYS[name].form == "lines" else ("shop.who", "unary")
    counters = default_registry.counters(method, "server", label_of(way))

    async def count(call: Call, proceed: Proceed) -> Any:
        nonlocal started
        started += 1
        return await proceed(call)

    def counted(status: str) -> int:
        return int(counters.snapshot()["calls"].get(status, 0))

    before = {status: counted(status) for status in ("OK", "RESOURCE_EXHAUSTED")}
    async with Server(
        Shop(),
        authenticate=Credentials(),
        interceptors=[AccessLog(), count],
        limits=[RateLimit(0.001, MOST, per="identity", methods="shop.**")],
        config=ServerConfig(protocols=tuple(SERVER_PROTOCOLS[:5]), http=EVERYTHING),
    ) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        told = [await way.ask(Asked(address, None, "Bearer allowed", method, kind)) for _ in range(MOST + 1)]
        assert told[0] in {Status.OK, None}
        assert told[-1] in {Status.RESOURCE_EXHAUSTED, None}
        await eventually(lambda: counted("OK") == before["OK"] + MOST)
        await eventually(lambda: counted("RESOURCE_EXHAUSTED") > before["RESOURCE_EXHAUSTED"])
        assert started == MOST
        # Another caller has a separate rate, and is refused in the same way.
        assert await way.ask(Asked(address, None, "Bearer unknown", method, kind)) in {
            Status.UNAUTHENTICATED,
            None,
        }
    records: list[Any] = [record for record in caplog.records if record.name == "fastrpc.access"]
    logged = [record for record in records if record.status == "OK"]
    assert {(record.service, record.method, record.identity) for record in logged} == {
        ("shop", method, "allowed")
    }
    assert [bool(record.peer) for record in logged] == [True] * MOST
