"""The interface between calls and connections: the behaviour of an engine without it."""

import socket

import pytest

from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc._core.calls.calling_part import CallingPart
from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc._core.client.caller_state import CallerState
from fastrpc._core.io.blocking_io import SocketIO
from fastrpc._core.io.engine import PythonEngine
from fastrpc._core.native.connection import Connection
from fastrpc._core.wire.settings import usual_settings


@pytest.mark.parametrize(
    "engine", [PythonEngine(), Connection(is_client=True, settings=usual_settings(False))]
)
def test_an_engine_without_the_part_takes_no_calls(engine: PythonEngine) -> None:
    assert engine.calling is None
    assert not engine.is_usable
    state = CallerState(None, None, RetryBudget())
    with pytest.raises(TypeError, match="it must be an Engine that makes calls"):
        state.set_connections([engine])
    near, far = socket.socketpair()
    io = SocketIO(near)
    with pytest.raises(TypeError, match="makes no calls"):
        BlockingSession(engine, io=io, endpoint="nowhere")
    io.close()
    far.close()


def test_the_part_by_itself_knows_nothing() -> None:
    part = CallingPart()
    assert part.endpoint is None
    assert part.loop_state is None
    assert not part.is_settled
    assert not part.takes_values
