"""A deadline is kept although its request is unfinished: the caller is answered, and no handler starts."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import HTTP, Address, Keepalive, Server, ServerConfig, Status
from fastrpc.config import HTTPLimits
from fastrpc.config.validation import SERVER_PROTOCOLS
from tests.support.access_table import Credentials
from tests.support.grpc_peer import GrpcPeer, grpc_peer, message
from tests.support.http2_client import Http2Client
from tests.support.http_talk import HttpClient, Response
from tests.support.peer_writing import write_to
from tests.support.raw_streams import StreamPeer, stream_peer
from tests.support.rpcx_talk import RpcxTalk
from tests.support.rpcx_wire import JSON as JSON_TYPE
from tests.support.rpcx_wire import call as rpcx_call
from tests.support.waiting import eventually
from tests.support.web_talk import CONNECT, trailers_of
from tests.support.wire_frames import Data, Goaway, Request

pytestmark = pytest.mark.one_loop

EVERYTHING = HTTP(
    jsonrpc=True,
    grpc_web=True,
    connect=True,
    rpcx=True,
    limits=HTTPLimits(body_idle_seconds=1_000),
)
#: No patience ends these requests within a test.
PATIENT = Keepalive(interval=500, timeout=500)
#: The deadline of each request, in milliseconds.
DEADLINE = 150
TEXT = "the deadline passed while its request came in; the call was not started"


@fastrpc.service("desk")
class Desk:
    def __init__(self) -> None:
        self.started: list[str] = []

    @fastrpc.method
    async def take(self, text: str) -> int:
        self.started.append(text)
        return len(text)


@contextlib.asynccontextmanager
async def desk_of(**options: Any) -> AsyncIterator[tuple[Desk, Server, Address]]:
    desk = Desk()
    config = ServerConfig(protocols=tuple(SERVER_PROTOCOLS[:5]), http=EVERYTHING, keepalive=PATIENT)
    async with Server(desk, config=config, **options) as server:
        yield desk, server, await server.listen("tcp://127.0.0.1:0")


#: Sends an incomplete request with this deadline in milliseconds; returns the status, the text and `processed` of its
#: answer. The connection has to end, or to stay usable, as the protocol demands.
Wire = Callable[[Address, int], Awaitable[tuple[Status, str, str]]]


# Natively

ARGUMENTS = msgspec.msgpack.encode(("x" * 150_000,))


async def refused(peer: StreamPeer, call: int) -> tuple[Status, str, str]:
    end = await peer.end(call)
    return Status(end.status), end.message.decode(), "no" if end.outcome == 1 else "not no"


async def see_the_next_call(peer: StreamPeer) -> None:
    assert (await peer.end(peer.open("desk.take", "abc", flags=0))).status == Status.OK


def native_request(milliseconds: int, payload: bytes, **fields: Any) -> Request:
    return Request(1, b"desk.take", payload, codec=1, timeout_us=milliseconds * 1_000, **fields)


def cut_at(share: float, payload: bytes = ARGUMENTS) -> Wire:
    """Return a native request that is cut within its frame."""

    async def ask(address: Address, milliseconds: int) -> tuple[Status, str, str]:
        async with stream_peer(str(address)) as peer:
            frame = native_request(milliseconds, payload).encode()
            at = int(len(frame) * share) if share else 32
            peer._next_id = 3
            peer.peer.send(frame[:at])
            told = await refused(peer, 1)
            # The unread part of it has no effect.
            peer.peer.send(frame[at:])
            await see_the_next_call(peer)
            return told

    return ask


@pytest.mark.parametrize("at", [32, 80_000])
async def test_the_id_of_a_request_that_was_refused_unfinished_is_used(at: int) -> None:
    async with desk_of() as (desk, _, address), stream_peer(str(address)) as peer:
        frame = native_request(DEADLINE, ARGUMENTS).encode()
        peer.peer.send(frame[:at])
        await refused(peer, 1)
        peer.peer.send(frame[at:], frame)
        goaway = await peer.peer.next(Goaway)
        assert goaway.reason != 0
        assert b"ids up to 1 are used" in goaway.text
        assert desk.started == []


async def native_in_pieces(address: Address, milliseconds: int) -> tuple[Status, str, str]:
    async with stream_peer(str(address)) as peer:
        first, second = ARGUMENTS[:60_000], ARGUMENTS[60_000:100_000]
        peer._next_id = 3
        peer.peer.send(native_request(milliseconds, first, total=len(ARGUMENTS)).encode())
        peer.peer.send(Data(1, second, cont=True, more=True, codec=1).encode())
        told = await refused(peer, 1)
        peer.peer.send(Data(1, ARGUMENTS[100_000:], cont=True, codec=1).encode())
        await see_the_next_call(peer)
        return told


async def native_cut_in_its_first_piece(address: Address, milliseconds: int) -> tuple[Status, str, str]:
    async with stream_peer(str(address)) as peer:
        frame = native_request(milliseconds, ARGUMENTS[:120_000], total=len(ARGUMENTS)).encode()
        peer._next_id = 3
        peer.peer.send(frame[:80_000])
        told = await refused(peer, 1)
        peer.peer.send(frame[80_000:], Data(1, ARGUMENTS[120_000:], cont=True, codec=1).encode())
        await see_the_next_call(peer)
        return told


# By HTTP/2


async def on_http2(
    address: Address, send: Callable[[GrpcPeer], int], told: Callable[[Response], tuple[Status, str, str]]
) -> tuple[Status, str, str]:
    async with grpc_peer(address) as peer:
        answer = await Http2Client(peer).end(send(peer))
        assert not peer.is_closed
        assert (await peer.call("/desk/take", b"\x0a\x03abc")).status == Status.OK
        return told(answer)


def grpc_of(sent: bytes, **fields: str) -> Wire:
    async def ask(address: Address, milliseconds: int) -> tuple[Status, str, str]:
        async with grpc_peer(address) as peer:
            stream = peer.open("/desk/take", [("grpc-timeout", f"{milliseconds}m"), *fields.items()])
            if sent:
                peer.send(stream, sent)
            end = (await peer.end(stream)).end
            following = await peer.call("/desk/take", b"\x0a\x03abc", fields.items())
            assert following.status == Status.OK
            processed = "no" if end.get("frpc-outcome") == "1" else "not no"
            return Status(int(end["grpc-status"])), end["grpc-message"], processed

    return ask


def told_by_trailers(response: Response) -> tuple[Status, str, str]:
    found = (
        {**dict(response.fields), **trailers_of(response.body)} if response.body else dict(response.fields)
    )
    processed = "no" if found.get("frpc-outcome") == "1" else "not no"
    return Status(int(found["grpc-status"])), found["grpc-message"], processed


def told_by_connect(response: Response) -> tuple[Status, str, str]:
    # Connect has no field for it.
    return Status[response.value["code"].upper()], response.value["message"], "no"


WEB = {"content-type": "application/grpc-web+proto"}
JSON = {"content-type": "application/json", "connect-protocol-version": "1"}


def web_over_http2(fields: dict[str, str], name: str, told: Any) -> Wire:
    async def ask(address: Address, milliseconds: int) -> tuple[Status, str, str]:
        def send(peer: GrpcPeer) -> int:
            value = f"{milliseconds}m" if name == "grpc-timeout" else f"{milliseconds}"
            return peer.open("/desk/take", [*fields.items(), (name, value)], kind=None)

        return await on_http2(address, send, told)

    return ask


# By HTTP/1.1


def told_by_document(response: Response) -> tuple[Status, str, str]:
    assert response.status == 504
    return Status[response.value["code"]], response.value["detail"], response.value["processed"]


def http1(target: str, told: Any, body: bytes = b'{"te', chunked: bool = False, **fields: str) -> Wire:
    async def ask(address: Address, milliseconds: int) -> tuple[Status, str, str]:
        given = {name.replace("_", "-"): value for name, value in fields.items()}
        given |= {"Host": "localhost"}
        given |= {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": "1000"}
        if "Connect-Protocol-Version" in given:
            given["Connect-Timeout-Ms"] = f"{milliseconds}"
        elif "grpc-web" in given.get("Content-Type", ""):
            given["grpc-timeout"] = f"{milliseconds}m"
        else:
            given["Timeout-Ms"] = f"{milliseconds}"
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        async with await HttpClient.to(address) as client:
            client.send(f"POST {target} HTTP/1.1\r\n{lines}\r\n".encode())
            client.send(b"%x\r\n%b\r\n" % (len(body), body) if chunked else body)
            response = await client.response()
            # The unread part cannot be told from a next request.
            assert response["connection"] == "close"
            assert await client.is_closed()
            return told(response)

    return ask


# By rpcx


def rpcx_cut_at(share: float, token: str = "", size: int = 100_000) -> Wire:
    async def ask(address: Address, milliseconds: int) -> tuple[Status, str, str]:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            talk = RpcxTalk(reader, writer, 0x08)
            metadata = {"__ServerTimeout": f"{milliseconds}"} | ({"__AUTH": token} if token else {})
            request = rpcx_call("desk", "take", {"text": "x" * size}, serialize=JSON_TYPE, metadata=metadata)
            sent = request.encode(talk.magic)
            at = int(len(sent) * share)
            write_to(writer, sent[:at])
            answer = await talk.hear()
            # The rest of it changes nothing.
            write_to(writer, sent[at:])
            metadata = {"__AUTH": token} if token else {}
            following = rpcx_call("desk", "take", {"text": "abc"}, serialize=JSON_TYPE, metadata=metadata)
            assert not (await talk.ask(following)).status
            told = answer.metadata
            return Status[told["frpc-code"]], told["__rpcx_error__"], told.get("frpc-processed", "not no")
        finally:
            writer.close()

    return ask


WIRES: dict[str, Wire] = {
    "a native frame cut behind its timeout": cut_at(0),
    "a short native frame cut in the middle": cut_at(0.5, msgspec.msgpack.encode(("x" * 100,))),
    "a long native frame cut in the middle": cut_at(0.5),
    "a long native frame without its last bytes": cut_at(0.999),
    "native pieces": native_in_pieces,
    "a native first piece that is cut": native_cut_in_its_first_piece,
    "rpcx, a short frame": rpcx_cut_at(0.9, size=1_000),
    "rpcx, a long frame": rpcx_cut_at(0.5),
    "gRPC, a head alone": grpc_of(b""),
    "gRPC, a part of a prefix": grpc_of(message(b"x" * 1_000)[:3]),
    "gRPC, a part of a message": grpc_of(message(b"x" * 1_000)[:100]),
    "gRPC, a message without the end": grpc_of(message(b"\x0a\x03abc")),
    "gRPC-Web over HTTP/2": web_over_http2(WEB, "grpc-timeout", told_by_trailers),
    "Connect over HTTP/2": web_over_http2(JSON, "connect-timeout-ms", told_by_connect),
    "gRPC-Web": http1("/desk/take", told_by_trailers, b"\0\0", Content_Type="application/grpc-web+proto"),
    "Connect": http1("/desk/take", told_by_connect, Content_Type="application/json", **CONNECT),
    "JSON": http1("/desk/take", told_by_document, Content_Type="application/json"),
    "JSON in chunks": http1("/desk/take", told_by_document, chunked=True, Content_Type="application/json"),
    "msgpack": http1("/desk/take", told_by_document, b"\x81", Content_Type="application/msgpack"),
    "JSON-RPC": http1("/jsonrpc", told_by_document, Content_Type="application/json"),
}


@pytest.mark.parametrize("wire", WIRES)
async def test_an_unfinished_request_is_answered_at_its_deadline(wire: str) -> None:
    async with desk_of() as (desk, server, address):
        async with asyncio.timeout(15):
            assert await WIRES[wire](address, DEADLINE) == (Status.DEADLINE_EXCEEDED, TEXT, "no")
        assert server.stats()["live"]["calls"] == 0
        assert {*desk.started} <= {"abc"}
        # Nothing of it is held.
        await eventually(lambda: sum(one.connection.held_bytes for one in server._gate.engines) == 0)  # type: ignore[union-attr]


TOKEN = "Bearer allowed"
#: The requests of callers with a credential, which is judged before the remaining bytes of a long request arrive.
KNOWN: dict[str, Wire] = {
    "gRPC": grpc_of(message(b"x" * 1_000)[:100], authorization=TOKEN),
    "JSON": http1("/desk/take", told_by_document, Content_Type="application/json", Authorization=TOKEN),
    "JSON in chunks": http1(
        "/desk/take", told_by_document, chunked=True, Content_Type="application/json", Authorization=TOKEN
    ),
    "JSON-RPC": http1("/jsonrpc", told_by_document, Content_Type="application/json", Authorization=TOKEN),
    "rpcx": rpcx_cut_at(0.5, TOKEN),
}


@pytest.mark.parametrize("wire", KNOWN)
async def test_an_unfinished_request_of_a_known_caller_is_answered_at_its_deadline(wire: str) -> None:
    async with desk_of(authenticate=Credentials()) as (desk, _, address):
        async with asyncio.timeout(15):
            assert await KNOWN[wire](address, DEADLINE) == (Status.DEADLINE_EXCEEDED, TEXT, "no")
        assert {*desk.started} <= {"abc"}


@pytest.mark.measures
@pytest.mark.parametrize("wire", WIRES)
async def test_the_answer_comes_within_fifty_milliseconds_of_the_deadline(wire: str) -> None:
    async with desk_of() as (_, _, address):
        began = time.perf_counter()
        await WIRES[wire](address, 300)
        assert 0.3 <= time.perf_counter() - began < 0.35
