"""The budget of idle work of a connection that has pages: who spends it, and who fills it again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import fastrpc
from fastrpc import Address, CallError, Server, ServerConfig, Status
from fastrpc_harness.idle_work import idle_work
from tests.support.grpc_peer import GrpcClient, ServedGrpc
from tests.support.still_transport import StillTransport
from tests.support.waiting import eventually

COUNT = 20


@fastrpc.service("tries")
class Tries:
    def __init__(self) -> None:
        self.cancelled = self.started = 0

    @fastrpc.method
    async def wait(self) -> None:
        self.started += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1

    @fastrpc.method
    async def echo(self, text: str) -> str:
        return text

    @fastrpc.method
    async def fail(self) -> None:
        raise CallError(Status.NOT_FOUND, "planted")


class DetectedTransport(StillTransport):
    """A transport whose protocol changes once it is detected."""

    def __init__(self) -> None:
        super().__init__()
        self.session: Any = None

    def set_protocol(self, protocol: Any) -> None:
        self.session = protocol


class DetectedLink(ServedGrpc):
    """One connection of a server that serves pages and gRPC."""

    def __init__(self, server: Server) -> None:
        GrpcClient.__init__(self)
        self.transport = self.detected = DetectedTransport()
        first: Any = server._accepting.session_maker(Address.parse("tcp://127.0.0.1:1"))()
        self.session = self.detected.session = first
        self.engine: Any = SimpleNamespace(is_closed=False)
        self._read = 0
        first.connection_made(self.transport)

    def _receive(self, data: bytes) -> int:
        size = super()._receive(data)
        if self.session is not self.detected.session:
            self.session = self.detected.session
            self.engine = self.session.engine
        return size


@asynccontextmanager
async def served(tries: Tries) -> AsyncIterator[ServedGrpc]:
    async with Server(tries, config=ServerConfig(protocols=("grpc", "http"))) as server:
        link = DetectedLink(server)
        try:
            link.h2.initiate_connection()
            await link.talk()
            yield link
        finally:
            link.lose()


def ask(link: ServedGrpc, name: str, body: bytes) -> int:
    stream = link.open(f"/tries/{name}", kind="application/json")
    link.send(stream, body, ends=True)
    return stream


async def test_cancelled_requests_return_nothing_when_their_handlers_end() -> None:
    tries = Tries()
    async with served(tries) as link:
        before = idle_work(link.engine)
        streams = [ask(link, "wait", b"{}") for _ in range(COUNT)]
        await link.talk()
        assert tries.started == COUNT
        for stream in streams:
            link.reset(stream)
        await link.talk()
        await eventually(lambda: tries.cancelled == COUNT)
        assert idle_work(link.engine) == before - COUNT


async def test_answers_of_any_status_return_one_each() -> None:
    async with served(Tries()) as link:
        before = idle_work(link.engine)
        for _ in range(COUNT):
            link.reset(link.open("/tries/echo", kind="application/json"))
        await link.talk()
        spent = before - idle_work(link.engine)
        assert spent == COUNT
        for name, body, status in (("echo", b'{"text": "a"}', "200"), ("fail", b"{}", "404")):
            assert (await link.end(ask(link, name, body))).head[":status"] == status
        assert idle_work(link.engine) == before - COUNT + 2


async def test_refused_requests_spend_one_each_and_return_nothing() -> None:
    async with served(Tries()) as link:
        before = idle_work(link.engine)
        streams = [ask(link, "nothing", b"{}") for _ in range(10)] + [
            ask(link, "echo", b"[") for _ in range(10)
        ]
        for stream in streams:
            assert int((await link.end(stream)).head[":status"]) >= 400
        assert before - COUNT <= idle_work(link.engine) < before
