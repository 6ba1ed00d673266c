"""Small output goes past the loop's own transports; which those are is known by the names of private classes."""

from typing import Any

import pytest

from fastrpc import Client
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.who import Who


@pytest.mark.parametrize(("scheme", "is_direct"), [("tcp", True), ("unix", True), ("memory", False)])
async def test_sessions_send_directly_on_sockets_of_every_loop(scheme: str, is_direct: bool) -> None:
    async with served(Who("one"), scheme=scheme) as target, Client(target) as client:
        await client.ready()
        state: Any = target.server._gate
        await eventually(lambda: len(state.engines) == 1)
        for engine in (*client._pool.connections, *state.engines):
            # A class that was renamed by another version of the loop shows here, and nowhere else but in benchmarks.
            assert (engine.stream.descriptor >= 0) is is_direct, type(engine.transport)
