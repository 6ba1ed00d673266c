"""The facts of an answer by HTTP that a server sends to a gateway, in metadata that programs do not see."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import Client, Server, current_call
from fastrpc._core.client.caller_view import add_entry
from fastrpc._core.http.forwarded_answer import ASKS_FIELDS
from fastrpc.rpc.reply import received_block

pytestmark = pytest.mark.one_loop


@fastrpc.service("told")
class Told:
    @fastrpc.method(safe=True)
    async def fields(self, number: int) -> int:
        current_call().http(status=201, headers={"X-Own": "ä", "Cache-Control": "no-cache"})
        current_call().http(headers={"x-own": "b"}, compress=True)
        return number

    @fastrpc.method
    async def plain(self) -> None:
        current_call().reply_metadata["seen"] = "yes"

    @fastrpc.method
    async def fail(self) -> None:
        current_call().http(status=201)
        raise fastrpc.CallError(fastrpc.Status.ABORTED, "no")

    @fastrpc.method
    async def stream(self) -> AsyncIterator[int]:
        current_call().http(status=201)
        yield 1


@pytest.fixture
async def client() -> AsyncIterator[Any]:
    async with Server(Told()) as server:
        async with Client(await server.listen("memory://told")) as found:
            yield found


def asking(client: Any, **metadata: str) -> Any:
    view = client.with_options(metadata=metadata)
    add_entry(view, ASKS_FIELDS)
    return view


async def test_a_gateway_that_asks_is_told(client: Any) -> None:
    for number in range(3):
        reply = await asking(client, user="ada").request(Told.fields, number)
        _, _, told = received_block(reply).partition(b"frpc-http-bin")
        assert msgspec.msgpack.decode(told) == [
            201,
            [["x-own", "b"], ["Cache-Control", "private, no-cache"]],
            True,
        ]
        assert (reply.value, dict(reply.metadata.entries)) == (number, {})
        # The object of the call serves later calls, too.
        reply = await asking(client).request(Told.plain)
        assert (b"frpc" in received_block(reply), dict(reply.metadata.entries)) == (False, {"seen": "yes"})


async def test_other_callers_errors_and_streams_are_told_nothing(client: Any) -> None:
    reply = await client.request(Told.fields, 1)
    assert received_block(reply) == b""
    with pytest.raises(fastrpc.CallError) as raised:
        await asking(client).call(Told.fail)
    assert dict(raised.value.metadata.entries if hasattr(raised.value, "metadata") else {}) == {}
    async with asking(client).stream(Told.stream) as messages:
        assert [one async for one in messages] == [1]
        assert received_block(messages.reply) == b""
