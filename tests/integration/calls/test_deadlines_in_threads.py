"""A deadline is kept although its handler is in a thread: by every way in, and for every kind of handler."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    HTTP,
    Address,
    Admission,
    CallError,
    Client,
    DeadlineExceededError,
    Server,
    ServerConfig,
    Status,
    current_call,
)
from fastrpc.config.validation import SERVER_PROTOCOLS
from tests.support.generated import generated
from tests.support.grpc_peer import grpc_peer, message
from tests.support.http_talk import HttpClient
from tests.support.orders import ThreadOrders, item, order
from tests.support.raw_streams import stream_peer
from tests.support.waiting import eventually
from tests.support.ways_in import WAYS, Asked
from tests.support.wire_frames import Cancel

pytestmark = pytest.mark.one_loop

EVERYTHING = HTTP(jsonrpc=True, websocket=True, mcp=True, rpcx=True, phobos=True, grpc_web=True, connect=True)
#: The protocols that send no status for a failed call, or no status of this name.
SILENT = {"HEAD", "MCP", "the header gateway of Phobos", "the header gateway of rpcx"}
#: The ways by which a method of one answer is called, and waited for.
ANSWERED = [name for name, way in WAYS.items() if way.form not in {"lines", "a notification of JSON-RPC"}]
#: The ways by which a method that answers with a stream is called, and says how it ended.
STREAMING = [
    "events",
    "WebSocket",
    "gRPC",
    "gRPC-Web",
    "Connect",
    "gRPC-Web over HTTP/2",
    "Connect over HTTP/2",
    "events over HTTP/2",
    "WebSocket over HTTP/2",
]
#: The ends of a thread after its deadline.
ENDS = ["returns", "aborts", "crashes"]


@fastrpc.service("bench")
class Bench:
    """Handlers in threads that nothing ends but the test; the server ends their calls at once."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.end = "returns"
        self.begun: list[Any] = []
        self.ended = 0

    def hold(self) -> None:
        self.begun.append(current_call())
        assert self.may_end.wait(60)
        self.ended += 1
        if self.end == "aborts":
            raise CallError(Status.ABORTED, "the thread has ended in its own way")
        if self.end == "crashes":
            raise ZeroDivisionError("the thread has crashed")

    @fastrpc.method(timeout=0.1, safe=True, tool=True)
    def block(self) -> str:
        """Block the thread."""
        self.hold()
        return "too late"

    @fastrpc.method(timeout=0.1)
    def count(self) -> Iterator[str]:
        self.hold()
        yield "too late"

    @fastrpc.method(timeout=0.5)
    def begin(self) -> Iterator[str]:
        yield "in time"
        self.hold()
        yield "too late"

    @fastrpc.method
    async def quick(self) -> str:
        return "quick"


class Noting:
    """An interceptor that notes the statuses of calls."""

    def __init__(self) -> None:
        self.statuses: list[Any] = []

    async def __call__(self, call: Any, proceed: Any) -> Any:
        try:
            return await proceed(call)
        finally:
            if call.method != "bench.quick":
                self.statuses.append(call.status)


class Scene:
    def __init__(self, server: Server, address: Address, bench: Bench, noting: Noting) -> None:
        self.server = server
        self.address = address
        self.bench = bench
        self.noting = noting

    @property
    def target(self) -> str:
        return str(self.address)

    @property
    def calls(self) -> int:
        return int(self.server.stats()["live"]["calls"])

    async def ask(self, way: str, method: str, kind: str) -> Any:
        """Call a method by a way until its deadline passes in a thread: a busy machine may not start one in time."""
        async with asyncio.timeout(60):
            while True:
                told = await WAYS[way].ask(Asked(self.address, None, None, method, kind))
                await eventually(lambda: self.calls == len(self.bench.begun))
                if self.bench.begun:
                    return told

    async def see_the_end(self, *, intercepted: bool) -> None:
        """Release the threads, and see their calls end with the status that the caller got."""
        # Until then each call has its place, and its interceptors wait. A call whose deadline passed before it had a
        # thread ends without one.
        await eventually(lambda: self.calls == len(self.bench.begun))
        assert self.bench.begun
        assert self.bench.ended == 0
        assert all(call.cancelled for call in self.bench.begun)
        without_thread = len(self.noting.statuses)
        self.bench.may_end.set()
        await eventually(lambda: self.calls == 0)
        assert self.bench.ended == len(self.bench.begun)
        if intercepted:
            # The ways that use rpcx send a one-way call after the other call.
            assert Status.DEADLINE_EXCEEDED in self.noting.statuses[without_thread:]


@pytest.fixture(params=[False, True], ids=["bare", "intercepted"])
def intercepted(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def scene(intercepted: bool) -> AsyncIterator[Scene]:
    bench, noting = Bench(), Noting()
    async with server_of(bench, [noting] if intercepted else []) as (server, address):
        try:
            yield Scene(server, address, bench, noting)
        finally:
            bench.may_end.set()


@asynccontextmanager
async def server_of(
    source: Any, interceptors: list[Any], **more: Any
) -> AsyncIterator[tuple[Server, Address]]:
    config = ServerConfig(protocols=tuple(SERVER_PROTOCOLS[:5]), http=EVERYTHING, **more)
    async with Server(source, interceptors=interceptors, config=config) as server:
        yield server, await server.listen("tcp://127.0.0.1:0")


@pytest.mark.parametrize("way", ANSWERED)
async def test_a_call_whose_handler_blocks_its_thread_is_answered_over_every_protocol(
    scene: Scene, intercepted: bool, way: str
) -> None:
    told = await scene.ask(way, "bench.block", "unary")
    assert WAYS[way].form in SILENT or told is Status.DEADLINE_EXCEEDED
    await scene.see_the_end(intercepted=intercepted)


@pytest.mark.parametrize("way", STREAMING)
async def test_a_stream_whose_generator_blocks_its_thread_is_ended_over_every_protocol(
    scene: Scene, intercepted: bool, way: str
) -> None:
    assert await scene.ask(way, "bench.count", "server_stream") is Status.DEADLINE_EXCEEDED
    await scene.see_the_end(intercepted=intercepted)


async def test_a_native_call_is_answered_with_an_unknown_outcome(scene: Scene, intercepted: bool) -> None:
    async with stream_peer(scene.target) as peer:
        one, other = peer.open("bench.block", flags=0), peer.open("bench.begin")
        for call in (one, other):
            answer = await peer.end(call)
            assert (answer.status, answer.outcome) == (Status.DEADLINE_EXCEEDED, 2)
        assert peer.messages(other) == ["in time"]
        # A frame for an ended call is no mistake of an honest peer.
        peer.peer.send(Cancel(one, 1).encode())
        assert (await peer.end(peer.open("bench.quick", flags=0))).status == Status.OK
        await scene.see_the_end(intercepted=intercepted)
        assert (await peer.end(peer.open("bench.quick", flags=0))).status == Status.OK
    assert scene.noting.statuses == [Status.DEADLINE_EXCEEDED] * 2 * intercepted


async def test_a_call_that_its_caller_ends_at_the_deadline_frees_its_slot(
    scene: Scene, intercepted: bool
) -> None:
    async with Client(scene.target) as client:
        view = client.with_options(timeout=0.05)
        while not scene.bench.begun:
            with pytest.raises(DeadlineExceededError) as late:
                await view.call(Bench.block)
            await eventually(lambda: scene.calls == len(scene.bench.begun))
        assert late.value.processed == "unknown"
        await eventually(lambda: client.stats()["live"]["calls"] == 0)
        await scene.see_the_end(intercepted=intercepted)


async def test_the_document_of_a_late_answer_says_that_its_outcome_is_unknown(
    scene: Scene, intercepted: bool
) -> None:
    async with await HttpClient.to(scene.address) as client:
        response = await client.ask("POST", "/bench/block", {})
        while not scene.bench.begun:
            # A busy machine had no time for the thread.
            assert (response.status, response.value["processed"]) == (504, "no")
            response = await client.ask("POST", "/bench/block", {})
        assert (response.status, response.value["processed"]) == (504, "unknown")
        # The connection stays usable meanwhile.
        assert (await client.ask("POST", "/bench/quick", {})).value == "quick"
        await scene.see_the_end(intercepted=intercepted)
        assert (await client.ask("POST", "/bench/quick", {})).value == "quick"


@pytest.mark.parametrize("end", ENDS)
async def test_every_end_of_the_thread_is_dropped(
    scene: Scene, intercepted: bool, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene.bench.end = end
    async with grpc_peer(scene.address) as peer:
        streams = [peer.open(f"/bench/{name}") for name in ("block", "begin")]
        for stream in streams:
            peer.send(stream, message(b""), ends=True)
        for stream in streams:
            assert (await peer.end(stream)).status == Status.DEADLINE_EXCEEDED
        await scene.see_the_end(intercepted=intercepted)
        quick = peer.open("/bench/quick")
        peer.send(quick, message(b""), ends=True)
        assert (await peer.end(quick)).status == Status.OK
        assert [len(peer.answers[stream].messages) for stream in streams] == [0, 1]
    # A crash is for the operator alone.
    assert ("ZeroDivisionError" in caplog.text) is (end == "crashes")


async def test_a_call_that_waits_for_a_thread_is_answered_as_not_started(intercepted: bool) -> None:
    bench, noting = Bench(), Noting()
    admission = Admission(handler_threads=1, queue_age=60)
    interceptors = [noting] if intercepted else []
    async with server_of(bench, interceptors, admission=admission) as (_, address):
        async with stream_peer(str(address)) as peer:
            first = peer.open("bench.block", flags=0)
            await eventually(lambda: bench.begun)
            waiting = [peer.open("bench.block", flags=0), peer.open("bench.count")]
            for call in waiting:
                answer = await peer.end(call)
                assert (answer.status, answer.outcome) == (Status.DEADLINE_EXCEEDED, 1)
            assert (await peer.end(first)).outcome == 2
            bench.may_end.set()
    assert len(bench.begun) == 1
    if intercepted:
        assert noting.statuses == [Status.DEADLINE_EXCEEDED] * 3


class Servicer(ThreadOrders):
    """A servicer with plain functions, which nothing ends but the test."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = threading.Event()
        self.begun: list[Any] = []
        self.ended = 0
        self.end = "returns"

    def hold(self, context: Any) -> None:
        self.begun.append(context)
        assert self.may_end.wait(60)
        self.ended += 1
        if self.end == "aborts":
            context.abort(Status.ABORTED, "the thread has ended in its own way")
        if self.end == "crashes":
            raise ZeroDivisionError("the thread has crashed")

    def Get(self, request: Any, context: Any) -> Any:
        self.hold(context)
        return order("too late")

    def Follow(self, request: Any, context: Any) -> Iterator[Any]:
        yield order("in time")
        self.hold(context)
        yield order("too late")


#: How a servicer with plain functions is served.
SERVED = ["threads of the server", "an executor", "grpc.server"]


@asynccontextmanager
async def servicing(how: str, servicer: Servicer) -> AsyncIterator[str]:
    """Serve a servicer; yield the address for peers of gRPC."""
    with ThreadPoolExecutor(2) as pool:
        register = generated().pb2_grpc.add_OrdersServicer_to_server
        if how == "grpc.server":
            server = fastrpc.grpc.server(pool)
            register(servicer, server)
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            try:
                yield f"127.0.0.1:{port}"
            finally:
                servicer.may_end.set()
                await asyncio.to_thread(server.stop(5).wait)
        else:
            made = fastrpc.grpc.aio.server(pool if how == "an executor" else None)
            register(servicer, made)
            port = made.add_insecure_port("127.0.0.1:0")
            await made.start()
            try:
                yield f"127.0.0.1:{port}"
            finally:
                servicer.may_end.set()
                await made.stop(5)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("how", SERVED)
async def test_a_servicer_that_blocks_its_thread_is_late(
    how: str, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    servicer = Servicer()
    servicer.end = end
    async with servicing(how, servicer) as address, grpc_peer(Address.parse(f"tcp://{address}")) as peer:
        streams = [
            peer.open(f"/shop.v1.Orders/{name}", [("grpc-timeout", "300m")]) for name in ("Get", "Follow")
        ]
        for stream in streams:
            peer.send(stream, message(item("tea").SerializeToString()), ends=True)
        async with asyncio.timeout(20):
            for stream in streams:
                assert (await peer.end(stream)).status == Status.DEADLINE_EXCEEDED
        assert [len(peer.answers[stream].messages) for stream in streams] == [0, 1]
        assert servicer.ended == 0
        assert not any(context.is_active() for context in servicer.begun)
        servicer.may_end.set()
        await eventually(lambda: servicer.ended == len(servicer.begun) == 2)
    assert ("ZeroDivisionError" in caplog.text) is (end == "crashes")


async def test_a_servicer_that_waits_for_an_executor_is_answered_as_not_started() -> None:
    servicer = Servicer()
    async with servicing("an executor", servicer) as address:
        async with grpc_peer(Address.parse(f"tcp://{address}")) as peer:
            streams = [peer.open("/shop.v1.Orders/Get", [("grpc-timeout", "300m")]) for _ in range(3)]
            for stream in streams:
                peer.send(stream, message(b""), ends=True)
            answers = [await peer.end(stream) for stream in streams]
            assert {answer.status for answer in answers} == {Status.DEADLINE_EXCEEDED}
            assert sorted(answer.end.get("frpc-outcome") == "1" for answer in answers) == [False, False, True]
    assert len(servicer.begun) == 2
