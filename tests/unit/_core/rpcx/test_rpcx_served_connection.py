"""What the gate tells of the calls of one connection."""

import gc

from fastrpc import ServerConfig
from fastrpc._core.rpcx.rpcx_served_connection import RpcxServedConnection
from tests.support.rpcx_arith import Arith
from tests.support.rpcx_link import served_rpcx
from tests.support.rpcx_wire import call


async def test_answers_tell_clients_of_ours_that_the_connection_drains() -> None:
    async with served_rpcx(Arith(), config=ServerConfig()) as talk:
        assert isinstance(talk.engine.connection, RpcxServedConnection)
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
