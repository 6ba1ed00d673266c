"""A server is taken out and put back in under load: no call fails, and calls go where the records say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc import Server
from fastrpc.coordination import RegistryServer
from fastrpc.server.override import CONFIGURED, Override
from tests.support.paced_calls import paced_calls
from tests.support.who import Who

pytestmark = pytest.mark.one_loop


@asynccontextmanager
async def listening(name: str, registry: str) -> AsyncIterator[Any]:
    """Serve a name at two addresses, and yield the object that keeps the records of the server."""
    async with Server(Who(name), registry=registry) as server:
        for _ in range(2):
            await server.listen("tcp://127.0.0.1:0")
        yield server._offer.advertising


async def override(server: Any, override: Override) -> None:
    """Change the records, and wait until the registry has them."""
    server.records.set_override(override)
    assert await server.records.problem(20) == ""


async def test_a_server_is_taken_out_and_in_without_a_failed_call() -> None:
    async with (
        RegistryServer("tcp://127.0.0.1:0") as registry,
        listening("a", registry.url) as a,
        listening("b", registry.url) as b,
        paced_calls(registry.url) as calls,
    ):
        await calls.go_to("a", "b")
        for _ in range(3):
            await override(a, Override(True))
            await calls.go_to("b")
            await override(a, CONFIGURED)
            await calls.go_to("a", "b")
        # The last server that is in gets all calls; if all of them are out each gets some.
        await override(b, Override(weight=0))
        await calls.go_to("a")
        await override(a, Override(True))
        await calls.go_to("a", "b")
