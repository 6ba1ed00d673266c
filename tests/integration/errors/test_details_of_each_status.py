"""An error reaches the caller with its status, text, details and pause, for every status and protocol."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

import fastrpc.grpc
from fastrpc import CallError, ClientConfig, FastRPCError, ServerConfig, Status
from fastrpc.grpc import aio
from fastrpc.rpc.protobuf.status_details import encode_details
from tests.support.either_client import CLIENTS, connected, either, in_own_thread
from tests.support.scripted_grpc import ScriptedPeer, scripted_grpc

pytestmark = pytest.mark.one_loop

DETAILS = {"missing": ["tea"], "of": 3}
#: A google.rpc.Status whose own number and text differ from the status of its call.
OTHER = encode_details(5, "other", [StringValue(value="some")])
ERRORS = [status for status in Status if status is not Status.OK]


@fastrpc.service("desk")
class Desk:
    @fastrpc.method
    async def refuse(self, status: int) -> int:
        raise CallError(Status(status), "not today", details=DETAILS, retry_after=2.5)

    @fastrpc.method
    async def stream(self, status: int) -> AsyncIterator[int]:
        yield 1
        raise CallError(Status(status), "not today", details=DETAILS, retry_after=2.5)


def check(error: Any, status: Status) -> None:
    assert isinstance(error, FastRPCError)
    assert (error.status, error.message, error.details) == (status, "not today", DETAILS)
    assert error.retry_after == 2.5  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("wire", ["native", "grpc"])
async def test_each_status_has_its_details(wire: str, kind: str) -> None:
    speaking = ServerConfig(protocols=("native", "grpc"))
    calling = ClientConfig(wire_protocol=wire)
    async with either(
        kind, Desk(), scheme="tcp", server_config=speaking, config=calling, fail_mode="failfast"
    ) as client:
        for status in ERRORS:
            with pytest.raises(FastRPCError) as caught:
                await client.call(Desk.refuse, status)
            check(caught.value, status)
            [error] = await client.call_many(Desk.refuse, [(status,)], return_exceptions=True)
            check(error, status)
            with pytest.raises(FastRPCError) as caught:
                async with client.stream(Desk.stream, status) as numbers:
                    assert [number async for number in numbers] == [1]
            check(caught.value, status)


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("outcome", [{}, {"frpc_outcome": "1", "grpc_retry_pushback_ms": "-1"}])
async def test_each_status_of_a_stranger_has_its_details(kind: str, outcome: dict[str, str]) -> None:
    """A stranger says less: whether a call ran that has UNAVAILABLE, for example."""

    async def script(peer: ScriptedPeer) -> None:
        for status in ERRORS:
            peer.refuse(
                await peer.request(),
                grpc_status=str(int(status)),
                grpc_message="not today",
                grpc_status_details_bin=base64.b64encode(OTHER).decode(),
                **outcome,
            )

    async with scripted_grpc(script) as server:
        async with connected(kind, server.target, fail_mode="failfast") as client:
            for status in ERRORS:
                with pytest.raises(FastRPCError) as caught:
                    await client.call("test.Echo.Echo", b"")
                assert (caught.value.status, caught.value.message) == (status, "not today")
                assert [one.value for one in caught.value.details] == [b"\n\x04some"]


async def refuse_all(peer: ScriptedPeer, sent: bytes) -> None:
    for status in ERRORS:
        details = base64.b64encode(sent).decode()
        peer.refuse(await peer.request(), grpc_status=str(int(status)), grpc_status_details_bin=details)


# A status without messages, and bytes that are no status, are passed on as well.
@pytest.mark.parametrize("sent", [OTHER, b"\x08\x05\x12\x05other", b"\xff"])
async def test_channels_pass_details_on_unchanged(sent: bytes) -> None:
    async with scripted_grpc(lambda peer: refuse_all(peer, sent)) as server:
        async with aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            for status in ERRORS:
                with pytest.raises(grpc.RpcError) as caught:
                    await channel.unary_unary("/test.Echo/Echo")(b"")
                assert caught.value.code().value[0] == status
                assert dict(caught.value.trailing_metadata()) == {"grpc-status-details-bin": sent}
        blocking = fastrpc.grpc.insecure_channel(f"127.0.0.1:{server.port}")
        for status in ERRORS:
            with pytest.raises(grpc.RpcError) as caught:
                await in_own_thread(blocking.unary_unary("/test.Echo/Echo"), b"")
            assert caught.value.code().value[0] == status
            assert dict(caught.value.trailing_metadata()) == {"grpc-status-details-bin": sent}
        await in_own_thread(blocking.close)
