"""A handler that waits for another server, which is missing."""

import pytest

import fastrpc
from fastrpc import CallError, Client, Status, SyncClient
from tests.support.served import served

# Nothing listens there.
AWAY = "tcp://127.0.0.1:1"

pytestmark = pytest.mark.filterwarnings("ignore:a SyncClient blocks:RuntimeWarning")


@fastrpc.service("front")
class Front:
    @fastrpc.method
    async def ready(self) -> None:
        async with Client(AWAY) as client:
            await client.ready(timeout=0.05)

    @fastrpc.method
    def ready_in_thread(self) -> None:
        with SyncClient(AWAY) as client:
            client.ready(timeout=0.05)

    @fastrpc.method
    async def ready_blocking(self) -> None:
        with SyncClient(AWAY) as client:
            client.ready(timeout=0.05)

    @fastrpc.method
    async def call(self) -> None:
        async with Client(AWAY) as client:
            await client.with_options(timeout=0.05, wait_for_ready=True).call("a.b")


@pytest.mark.parametrize("method", ["ready", "ready_in_thread", "ready_blocking", "call"])
async def test_a_wait_for_a_server_that_is_away_is_reported_as_unavailable(method: str) -> None:
    async with served(Front, scheme="tcp") as target, Client(target) as client:
        with pytest.raises(CallError, match="a call it made failed") as failed:
            await client.call(f"front.{method}")
        assert failed.value.status is Status.UNAVAILABLE
