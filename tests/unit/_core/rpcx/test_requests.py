"""From the frames of requests to calls, and from their outcomes to frames."""

import gc

import pytest

from fastrpc import Limits, ServerConfig
from fastrpc._core.rpcx.server_wire import RpcxWire
from fastrpc._core.server.link import LinkedConnection
from tests.support.rpcx_arith import Arith
from tests.support.rpcx_link import served_rpcx
from tests.support.rpcx_wire import call


async def test_a_call_has_the_fields_of_its_frame() -> None:
    async with served_rpcx(Arith()) as talk:
        assert isinstance(talk.wire, RpcxWire)
        answer = await talk.ask(call("Arith", "Mul", {"A": 6, "B": 7}, sequence=2**63, version=9))
        assert (answer.sequence, answer.version, answer.path, answer.method) == (2**63, 9, "Arith", "Mul")
        assert answer.value() == {"C": 42}


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        ({"k": "x" * 5_000}, "RESOURCE_EXHAUSTED"),
        ({"frpc-code": "OK"}, "INVALID_ARGUMENT"),
        ({"__ServerTimeout": "0"}, "DEADLINE_EXCEEDED"),
    ],
)
async def test_metadata_is_checked_before_the_gate(metadata: dict[str, str], status: str) -> None:
    config = ServerConfig(limits=Limits(metadata_bytes=4_096))
    async with served_rpcx(Arith(), config=config) as talk:
        refused = await talk.ask(call("Arith", "Echo", "a", metadata=metadata))
        assert refused.metadata["frpc-code"] == status
        assert (await talk.ask(call("Arith", "Echo", "a"))).value() == "a"


async def test_answers_tell_clients_of_ours_that_the_connection_drains() -> None:
    async with served_rpcx(Arith(), config=ServerConfig()) as talk:
        assert isinstance(talk.engine.connection, LinkedConnection)
        assert "frpc-goaway" not in (await talk.ask(call("Arith", "Echo", "a"))).metadata
        talk.engine.begin_drain(0)
        assert talk.engine.connection.is_draining
        assert (await talk.ask(call("Arith", "Echo", "a"))).metadata["frpc-goaway"] == "1"
        assert (await talk.ask(call("Arith", "None", "a"))).metadata["frpc-goaway"] == "1"


async def test_a_connection_outlives_its_connection() -> None:
    async with served_rpcx(Arith()) as talk:
        connection = talk.engine.connection
        talk.lose()
        del talk.engine, talk.session
        gc.collect()
        connection.note_drain()
        assert connection.is_closed
        talk.lose = lambda: None  # type: ignore[method-assign]
