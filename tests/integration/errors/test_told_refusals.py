"""Errors of callers if a server did not start a call, or if a peer breaks the rules."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ConnectionLostError,
    DecodeError,
    OverloadedError,
    RemoteProtocolError,
    Status,
    SyncClient,
    UnavailableError,
    method,
    service,
)
from fastrpc.testing import connected
from tests.support.raw_peer import RawServer, raw_client
from tests.support.served import served
from tests.support.wire_frames import Request, Response, SettingsFrame, encode_frame
from tests.support.wire_parser import Preface

pytestmark = pytest.mark.one_loop

NEVER = 2**32 - 1
PREFACE = Preface(1, 1).encode()


@service("arith")
class Arith:
    def __init__(self) -> None:
        self.ran = 0

    @method
    async def mul(self, a: int, b: int) -> int:
        self.ran += 1
        return a * b


# Push-back


@pytest.mark.parametrize("kind", [OverloadedError, UnavailableError])
async def test_pause_of_an_interceptor_reaches_the_caller(kind: type[UnavailableError]) -> None:
    async def refuse(call: Any, proceed: Any) -> Any:
        raise kind("full", retry_after=0.25)

    arith = Arith()
    async with connected(arith, interceptors=[refuse]) as client:
        with pytest.raises(kind, match="full") as refused:
            await client.with_options(fail_mode="failfast").call(Arith.mul, 6, 7)
    assert type(refused.value) is kind
    assert refused.value.retry_after == 0.25
    assert (refused.value.processed, refused.value.retryable) == ("no", True)
    assert arith.ran == 0


async def test_refusal_of_a_server_behind_another_server_is_not_retried_in_front_of_it() -> None:
    refusals = 0

    async def refuse(call: Any, proceed: Any) -> Any:
        nonlocal refusals
        refusals += 1
        raise OverloadedError("full", retry_after=0.001)

    async with connected(Arith(), interceptors=[refuse]) as behind:

        async def ask(call: Any, proceed: Any) -> Any:
            await behind.with_options(fail_mode="failfast").call(Arith.mul, 1, 1)
            return await proceed(call)

        async with connected(Arith(), interceptors=[ask]) as client:
            with pytest.raises(CallError, match=r"a call it made failed \(RESOURCE_EXHAUSTED\)") as refused:
                await client.with_options(fail_mode="failover").call(Arith.mul, 6, 7)
    assert refusals == 1
    assert (refused.value.status, refused.value.processed, refused.value.retryable) == (
        Status.RESOURCE_EXHAUSTED,
        "yes",
        False,
    )


@asynccontextmanager
async def answering(*answers: Callable[[int], bytes]) -> AsyncIterator[tuple[str, list[float]]]:
    """Answer the requests of one connection in order; yield the address and the times of requests."""
    came: list[float] = []

    async def serve(server: RawServer) -> None:
        peer = await server.accept()
        peer.send(PREFACE, SettingsFrame().encode())
        for answer in answers:
            request = await peer.next(Request)
            came.append(asyncio.get_running_loop().time())
            peer.send(answer(request.id))
        await peer.ended()
        peer.close()

    async with RawServer() as server:
        serving = asyncio.create_task(serve(server))
        try:
            yield server.address, came
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            if not serving.cancelled():
                serving.result()


def unstarted(pushback_ms: int) -> Callable[[int], bytes]:
    return lambda id: Response(
        id, Status.UNAVAILABLE, outcome=1, message=b"leaving", pushback_ms=pushback_ms
    ).encode()


def value(id: int) -> bytes:
    return Response(id, payload=msgspec.msgpack.encode(42), codec=1).encode()


async def test_pause_of_a_server_that_leaves_is_kept_by_the_client() -> None:
    async with answering(unstarted(200), value) as (address, came), Client(address) as client:
        assert await client.with_options(fail_mode="failover").call("arith.mul", 6, 7) == 42
    assert came[1] - came[0] >= 0.19


async def test_server_that_leaves_and_forbids_retries_is_still_unavailable() -> None:
    async with answering(unstarted(NEVER)) as (address, came), Client(address) as client:
        with pytest.raises(UnavailableError, match="leaving") as refused:
            await client.with_options(fail_mode="failover").call("arith.mul", 6, 7)
    assert (refused.value.processed, refused.value.retryable, refused.value.retry_after) == (
        "no",
        False,
        None,
    )
    assert len(came) == 1


# Peers that break the rules

BROKEN: dict[str, tuple[Callable[[int], bytes], int]] = {
    "an unknown critical frame": (lambda id: encode_frame(0xFF), 2),
    "a frame too long": (lambda id: b"\xff\xff\xff\x7f\x83" + bytes(3) + id.to_bytes(8, "little"), 3),
    "an answer to nobody": (lambda id: Response(id + 20).encode(), 2),
    "SETTINGS of three bytes": (lambda id: SettingsFrame(b"abc").encode(), 8),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("idempotent", [False, True])
async def test_caller_is_told_that_the_server_broke_the_rules(what: str, idempotent: bool) -> None:
    answer, reason = BROKEN[what]
    async with answering(answer) as (address, _), Client(address) as client:
        view = client.with_options(fail_mode="failfast", idempotent=idempotent)
        with pytest.raises(
            RemoteProtocolError, match=r"arith\.mul.*broke the protocol.*may have run"
        ) as lost:
            await view.call("arith.mul", 6, 7)
    assert isinstance(lost.value, ConnectionLostError)
    assert (lost.value.reason, lost.value.processed, lost.value.retryable) == (reason, "unknown", idempotent)


async def test_blocking_caller_is_told_that_the_server_broke_the_rules() -> None:
    answer, reason = BROKEN["an unknown critical frame"]
    async with answering(answer) as (address, _):

        def call() -> Any:
            with SyncClient(address) as client:
                return client.with_options(fail_mode="failfast").call("arith.mul", 6, 7)

        with pytest.raises(RemoteProtocolError, match="broke the protocol") as lost:
            await asyncio.to_thread(call)
    assert lost.value.reason == reason


async def test_lost_connection_is_not_reported_as_a_broken_rule() -> None:
    async with RawServer() as server, Client(server.address) as client:
        call = asyncio.create_task(client.with_options(fail_mode="failfast").call("arith.mul", 6, 7))
        peer = await server.accept()
        peer.send(PREFACE, SettingsFrame().encode())
        await peer.next(Request)
        peer.close()
        with pytest.raises(ConnectionLostError) as lost:
            await call
    assert type(lost.value) is ConnectionLostError


# Codecs and compressors


@pytest.mark.parametrize(
    ("codec", "compressor", "text"),
    [
        (1, 0, "arith.mul: codec 'msgpack' is not accepted here, only json, raw"),
        (77, 0, "arith.mul: codec number 77 is not accepted here, only json, raw"),
        (2, 99, "compressor number 99 is unknown here; known are gzip"),
    ],
)
async def test_refused_codecs_and_compressors_are_called_by_their_names(
    codec: int, compressor: int, text: str
) -> None:
    config = fastrpc.ServerConfig(codecs=("json", "raw"))
    async with served(Arith(), scheme="tcp", config=config) as target, raw_client(target) as peer:
        peer.send(
            PREFACE,
            SettingsFrame().encode(),
            Request(1, b"arith.mul", b"[6,7]", codec=codec, compressor=compressor).encode(),
        )
        answer = await peer.next(Response)
    assert answer.status == Status.UNIMPLEMENTED
    assert answer.message.decode().startswith(text)


async def test_answers_in_another_codec_or_an_unknown_compressor_have_its_name_in_the_error() -> None:
    def answer(codec: int, compressor: int) -> Callable[[int], bytes]:
        return lambda id: Response(id, payload=b"42", codec=codec, compressor=compressor).encode()

    async with answering(answer(2, 0), answer(1, 99)) as (address, _), Client(address) as client:
        with pytest.raises(DecodeError, match="answered in codec 'json', asked was codec 'msgpack'"):
            await client.call("arith.mul", 6, 7)
        with pytest.raises(DecodeError, match="compressor number 99, unknown here"):
            await client.call("arith.mul", 6, 7)
