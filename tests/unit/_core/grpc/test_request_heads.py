"""Heads of requests: the fields of gRPC, the credential, and what a call brings."""

import asyncio
from typing import Any

import h2.events

from fastrpc.compressors.base import compressor_named
from tests.support.grpc_link import GrpcLink, Head, message


async def sent_head(link: GrpcLink) -> dict[str, str]:
    """Return the fields of the one request that the server got."""
    [event] = await link.heard(Head)
    return dict(event.headers)


async def test_a_request_has_the_fields_of_grpc() -> None:
    link = GrpcLink()
    call = await link.call(b"x", link.view(timeout=5.0))
    head = await sent_head(link)
    time_left = head.pop("grpc-timeout")
    assert time_left.endswith("u")
    assert 4_000_000 < int(time_left[:-1]) <= 5_000_000
    assert head.pop("user-agent").startswith("fastrpc/")
    assert head == {
        ":method": "POST",
        ":scheme": "http",
        ":authority": "here:1",
        ":path": "/shop.Desk/Get",
        "content-type": "application/grpc",
        "te": "trailers",
        "grpc-accept-encoding": "identity,gzip,deflate",
    }
    link.answer(1, message(b"y"))
    assert await call == b"y"


async def test_a_message_has_a_prefix_and_ends_the_stream() -> None:
    link = GrpcLink()
    await link.call(b"hello")
    events = list(await link.heard(h2.events.Event))
    [data] = [event.data for event in events if isinstance(event, h2.events.DataReceived)]
    assert data == message(b"hello")
    assert any(isinstance(event, h2.events.StreamEnded) for event in events)


async def test_a_call_without_a_deadline_states_none() -> None:
    link = GrpcLink()
    await link.call(b"", link.view(timeout=None))
    assert "grpc-timeout" not in await sent_head(link)


async def test_a_credential_goes_with_each_call() -> None:
    link = GrpcLink(credential=b"token")
    await link.call()
    await link.call()
    heads = [dict(event.headers) for event in await link.heard(Head)]
    assert [head["authorization"] for head in heads] == ["Bearer token"] * 2
    link.engine.present(b"other")
    await link.call()
    assert (await sent_head(link))["authorization"] == "Bearer other"


async def test_metadata_of_a_call_replaces_the_credential_alone() -> None:
    link = GrpcLink(credential=b"token")
    await link.call(b"", link.view(metadata={"authorization": "Basic x"}))
    await link.call(b"", link.view(metadata={"user-agent": "shop"}))
    first, second = [event.headers for event in await link.heard(Head)]
    assert [value for name, value in first if name == "authorization"] == ["Basic x"]
    assert [value for name, value in second if name == "authorization"] == ["Bearer token"]
    assert [value for name, value in second if name == "user-agent"] == ["shop"]


async def test_further_attempts_are_counted() -> None:
    link = GrpcLink()
    made = link.caller.call("shop.Desk.Get", b"")
    attempt = asyncio.ensure_future(made._attempt_on(link.engine, 2))
    await asyncio.sleep(0)
    assert (await sent_head(link))["grpc-previous-rpc-attempts"] == "2"
    made.close()
    attempt.cancel()


async def test_a_compressed_request_says_so() -> None:
    link = GrpcLink()
    await link.call(b"a" * 10_000, link.view(compressor=compressor_named("gzip")))
    events = await link.heard(h2.events.Event)
    [headers] = [event.headers for event in events if isinstance(event, Head)]
    head: dict[Any, Any] = dict(headers)
    data = b"".join(event.data for event in events if isinstance(event, h2.events.DataReceived))
    assert head["grpc-encoding"] == "gzip"
    assert data[:1] == b"\x01"
    assert compressor_named("gzip").decompress(data[5:], 10_000) == b"a" * 10_000


async def test_equal_heads_are_short() -> None:
    link = GrpcLink()
    sizes = []
    for _ in range(3):
        await link.call(b"", link.view(timeout=None))
        await asyncio.sleep(0)
        sizes.append(len(link.transport.written))
        await link.heard(Head)
    # A frame of 8 indexed fields, and one of an empty message.
    assert sizes[0] > 100
    assert sizes[1] == sizes[2] == (9 + 8) + (9 + 5)
