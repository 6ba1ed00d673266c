"""Results of handlers that waited and become ready at once: each needs room in the process before output."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest

import fastrpc
from fastrpc import (
    HTTP,
    Address,
    CallError,
    Client,
    ClientConfig,
    Memory,
    Server,
    ServerConfig,
    Status,
    Timeouts,
)
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.config.validation import SERVER_PROTOCOLS
from fastrpc.grpc import aio
from tests.support.full_memory import MIB, full
from tests.support.http_talk import HttpClient
from tests.support.socket_client import opened_socket
from tests.support.waiting import eventually
from tests.support.ways_in import WAYS, Asked

CONFIG = ServerConfig(
    protocols=tuple(SERVER_PROTOCOLS[:5]),
    http=HTTP(jsonrpc=True, websocket=True, mcp=True, rpcx=True, phobos=True, grpc_web=True, connect=True),
    memory=Memory(process_bytes=64 * MIB),
)

#: Ways whose answer is one message and has a status, and ways by which errors have details.
UNARY = [
    name
    for name, way in WAYS.items()
    if way.form
    not in (
        "lines",
        "events",
        "a notification of JSON-RPC",
        "MCP",
        "the header gateway of rpcx",
        "the header gateway of Phobos",
    )
]


@fastrpc.service("late")
class Late:
    """Handlers that wait until `go_on` is set."""

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.waiting = 0
        self.yielded = 0
        self.ended = False
        self.turns: list[int] = []
        self.go_on = asyncio.Event()

    async def _wait(self) -> None:
        self.waiting += 1
        await self.go_on.wait()

    @fastrpc.method(idempotent=True, safe=True, tool=True)
    async def give(self) -> list[str]:
        await self._wait()
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[no-any-return]

    @fastrpc.method(codec="raw")
    async def give_bytes(self, data: bytes) -> bytes:
        await self._wait()
        return bytes(self.value)

    @fastrpc.method
    async def take_time(self) -> None:
        """Hold the loop for a millisecond."""
        await self._wait()
        time.sleep(0.001)
        self.turns.append(self.value())

    @fastrpc.method(safe=True)
    async def feed(self, count: int) -> AsyncIterator[str]:
        try:
            await self._wait()
            for number in range(count):
                yield str(number) * 2_000
                self.yielded += 1
        finally:
            await asyncio.sleep(0)
            self.ended = True

    @fastrpc.method
    async def echo_all(self, texts: AsyncIterator[str]) -> AsyncIterator[str]:
        async for text in texts:
            yield text * 2_000

    @fastrpc.method
    async def note_context(self) -> None:
        self.value = asyncio.current_task().get_context()  # type: ignore[union-attr]
        await self._wait()

    @fastrpc.method
    def feed_in_thread(self, count: int) -> Iterator[str]:
        for number in range(count):
            yield str(number) * 2_000
            self.yielded += 1


@asynccontextmanager
async def serving(*sources: Any, config: ServerConfig = CONFIG) -> AsyncIterator[str]:
    async with Server(*sources, config=config) as server:
        yield str(await server.listen("tcp://127.0.0.1:0"))


@pytest.mark.parametrize("name", UNARY)
async def test_a_result_that_became_ready_without_room_is_dropped_unencoded(name: str) -> None:
    late = Late()
    # No codec takes it: an attempt to encode it would end in INTERNAL.
    late.value = object()
    async with serving(late) as target, Client(target) as client:
        await client.call("fastrpc.health.check", "")
        asking = asyncio.ensure_future(
            WAYS[name].ask(Asked(Address.parse(target), None, None, "late.give", "unary"))
        )
        await eventually(lambda: late.waiting)
        with full():
            late.go_on.set()
            assert await asking == Status.RESOURCE_EXHAUSTED
    await eventually(lambda: bytes_held() == 0)


@pytest.mark.parametrize("value", [["x" * 2_000], "x" * 2_000])
async def test_the_caller_of_a_dropped_result_is_told_that_the_call_ran(value: Any) -> None:
    late = Late()
    late.value = value
    async with serving(late) as target, Client(target) as client:
        calling = asyncio.create_task(client.call("late.give"))
        await eventually(lambda: late.waiting)
        with full():
            late.go_on.set()
            with pytest.raises(CallError) as failed:
                await calling
        error = failed.value
        assert (error.status, error.processed, error.retryable) == (Status.RESOURCE_EXHAUSTED, "yes", False)
        assert "(Memory.process_bytes)" in str(error)


@pytest.mark.parametrize("size", [0, 1_000])
async def test_a_small_result_is_answered_while_memory_is_full(size: int) -> None:
    late = Late()
    late.value = size
    async with serving(late) as target, Client(target) as client:
        calling = asyncio.create_task(client.call(Late.give_bytes, b""))
        await eventually(lambda: late.waiting)
        with full():
            late.go_on.set()
            assert await calling == bytes(size)


async def test_results_that_become_ready_in_one_turn_count_before_they_leave() -> None:
    late = Late()
    late.value = 60_000
    config = ServerConfig(memory=Memory(process_bytes=4 * MIB))
    async with serving(late, config=config) as target, Client(target) as client:
        calls = [asyncio.create_task(client.call(Late.give_bytes, b"")) for _ in range(300)]
        await eventually(lambda: late.waiting == 300)
        late.go_on.set()
        found = await asyncio.gather(*calls, return_exceptions=True)
        errors = [one for one in found if isinstance(one, CallError)]
        assert {error.status for error in errors} == {Status.RESOURCE_EXHAUSTED}
        # Answers that had room count until they have left.
        assert all(one == bytes(60_000) for one in found if not isinstance(one, CallError))
        assert 0 < len(errors) < 300


@pytest.mark.parametrize("name", [name for name in UNARY if WAYS[name].form != "HEAD"])
async def test_an_error_without_room_keeps_its_status(name: str) -> None:
    late = Late()
    late.error = CallError(Status.ABORTED, "too late", details=["x" * 3_000])
    async with serving(late) as target, Client(target) as client:
        await client.call("fastrpc.health.check", "")
        asking = asyncio.ensure_future(
            WAYS[name].ask(Asked(Address.parse(target), None, None, "late.give", "unary"))
        )
        # All calls of a batch: one that came later would be refused.
        await eventually(lambda: late.waiting == (3 if "batch" in name else 1))
        with full():
            late.go_on.set()
            assert await asking == Status.ABORTED


async def test_an_error_without_room_keeps_its_text_and_loses_its_details() -> None:
    late = Late()
    late.error = CallError(Status.ABORTED, "too late", details=["x" * 3_000])
    async with serving(late) as target, Client(target) as client:
        calling = asyncio.create_task(client.call("late.give"))
        await eventually(lambda: late.waiting)
        with full():
            late.go_on.set()
            with pytest.raises(CallError) as failed:
                await calling
        assert (failed.value.status, failed.value.message) == (Status.ABORTED, "too late")
        assert failed.value.details is None
        with pytest.raises(CallError) as failed:
            await client.call("late.give")
        assert failed.value.details == ["x" * 3_000]


async def _native_feed(target: str, late: Late) -> list[str]:
    async with Client(target) as client, client.stream(Late.feed, 3) as messages:
        return [message async for message in messages]


async def _grpc_feed(target: str, late: Late) -> list[str]:
    async with (
        Client(target, config=ClientConfig(wire_protocol="grpc")) as client,
        client.stream(Late.feed, 3) as messages,
    ):
        return [message async for message in messages]


async def _threaded_feed(target: str, late: Late) -> list[str]:
    late.waiting = 1
    async with Client(target) as client, client.stream(Late.feed_in_thread, 3) as messages:
        return [message async for message in messages]


async def _lines(target: str, late: Late) -> list[str]:
    async with await HttpClient.to(Address.parse(target)) as client:
        answer = await client.ask("POST", "/late/feed", {"count": 3}, Accept="application/x-ndjson")
        return [line["value"] for line in answer.lines if "value" in line]


async def _events(target: str, late: Late) -> list[str]:
    async with await HttpClient.to(Address.parse(target)) as client:
        answer = await client.ask("POST", "/late/feed", {"count": 3}, Accept="text/event-stream")
        found = [line[6:] for line in answer.body.decode().splitlines() if line.startswith("data: ")]
        return [one.strip('"') for one in found if len(one) > 1_000]


async def _envelopes(target: str, late: Late) -> list[str]:
    async with (
        await HttpClient.to(Address.parse(target)) as client,
        opened_socket(client, "/ws/late/feed") as socket,
    ):
        socket.send({"arguments": {"count": 3}})
        found, _ = await socket.rest()
        return [one["value"] for one in found if "value" in one]


FEEDS = {
    "native": _native_feed,
    "gRPC": _grpc_feed,
    "lines": _lines,
    "events": _events,
    "WebSocket": _envelopes,
}


@pytest.mark.parametrize("name", FEEDS)
async def test_a_stream_continues_once_there_is_room_and_loses_nothing(name: str) -> None:
    late = Late()
    async with serving(late) as target, Client(target) as client:
        await client.call("fastrpc.health.check", "")
        taking = asyncio.create_task(FEEDS[name](target, late))
        await eventually(lambda: late.waiting)
        with full():
            late.go_on.set()
            await asyncio.wait([taking], timeout=0.1)
            assert (taking.done(), late.yielded) == (False, 0)
        assert await taking == [str(number) * 2_000 for number in range(3)]
    await eventually(lambda: bytes_held() == 0)


@pytest.mark.parametrize("wire", ["native", "grpc"])
async def test_a_wait_for_room_that_takes_too_long_is_no_slow_reader(wire: str) -> None:
    late = Late()
    config = replace(CONFIG, timeouts=Timeouts(stream_idle=0.2))
    # The connection that holds the most is of another server, which has room for it.
    roomy = Server(Late(), config=ServerConfig(memory=Memory(process_bytes=1_024 * MIB)))
    async with (
        serving(late, config=config) as target,
        roomy,
        Client(await roomy.listen("memory://roomy")) as held,
    ):
        await held.call("fastrpc.health.check", "")
        async with Client(target, config=ClientConfig(wire_protocol=wire)) as client:
            async with client.open(Late.echo_all) as messages:
                await messages.send("a")
                assert await messages.receive() == "a" * 2_000
                with full(budget=roomy._gate.memory):
                    await messages.send("b")
                    with pytest.raises(
                        CallError, match=r"no memory for its next message for 0\.2 s"
                    ) as failed:
                        await messages.receive()
    assert failed.value.status is Status.RESOURCE_EXHAUSTED
    assert "Memory.process_bytes" in failed.value.message
    assert "took no message" not in failed.value.message


async def test_a_generator_in_a_thread_waits_for_room_as_well() -> None:
    late = Late()
    async with serving(late) as target, Client(target) as client:
        async with client.stream(Late.feed_in_thread, 2_000) as messages:
            first = await messages.receive()
            with full():
                await asyncio.sleep(0)
            assert first == "0" * 2_000
            assert len([message async for message in messages]) == 1_999


@pytest.mark.parametrize("end", ["deadline", "cancel"])
async def test_a_stream_that_waits_for_room_ends_with_its_call(end: str) -> None:
    late = Late()
    async with serving(late) as target, Client(target) as client:
        stream = client.with_options(timeout=0.3 if end == "deadline" else 60).stream(Late.feed, 3)
        async with stream as messages:
            await eventually(lambda: late.waiting)
            with full():
                late.go_on.set()
                if end == "deadline":
                    with pytest.raises(fastrpc.DeadlineExceededError):
                        await messages.receive()
                else:
                    messages.cancel()
                await eventually(lambda: late.yielded == 0 and late.ended)


@pytest.mark.parametrize("end", ["deadline", "cancel", "leave"])
async def test_a_stopped_stream_handler_cleans_up_while_memory_is_full(end: str) -> None:
    late = Late()
    async with serving(late) as target, Client(target) as keeping, Client(target) as client:
        await keeping.call("fastrpc.health.check", "")
        stream = client.with_options(timeout=0.3 if end == "deadline" else 60).stream(Late.feed, 3)
        async with stream as messages:
            await eventually(lambda: late.waiting)
            with full():
                if end == "deadline":
                    with pytest.raises(fastrpc.DeadlineExceededError):
                        await messages.receive()
                elif end == "cancel":
                    messages.cancel()
                else:
                    await client.close()
                await eventually(lambda: late.ended)


async def test_a_handler_whose_context_a_thread_has_entered_fails_and_those_behind_it_continue() -> None:
    late, is_inside, leave = Late(), threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def stay() -> None:
        is_inside.set()
        leave.wait()

    def enter() -> None:
        threads.append(threading.Thread(target=late.value.run, args=(stay,)))
        threads[0].start()
        is_inside.wait()

    async with serving(late) as target, Client(target) as client:
        failing = asyncio.ensure_future(client.call("late.note_context"))
        await eventually(lambda: late.waiting)
        with full(50 * MIB):
            late.go_on.set()
            # After the callback that wakes the handler, and before the turn in which it would continue.
            asyncio.get_running_loop().call_soon(enter)
            with pytest.raises(CallError) as failed:
                await failing
            leave.set()
            threads[0].join()
            assert failed.value.status == Status.INTERNAL
            late.value = 3
            late.go_on.clear()
            calling = asyncio.ensure_future(client.call(Late.give_bytes, b""))
            await eventually(lambda: late.waiting == 2)
            late.go_on.set()
            assert await calling == bytes(3)


async def test_a_message_of_a_servicer_waits_if_its_room_is_taken_while_it_is_encoded() -> None:
    taken = ExitStack()
    encoded: list[bytes] = []

    def encode(message: bytes) -> bytes:
        encoded.append(message)
        if message == b"2":
            taken.enter_context(full(1 << 40))
        return message

    async def feed(request: bytes, context: Any) -> None:
        for message in (b"1", b"2", b"3"):
            await context.write(message)

    server = aio.server()
    handler = grpc.unary_stream_rpc_method_handler(feed, response_serializer=encode)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("late.Feeds", {"Feed": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        messages = aiter(channel.unary_stream("/late.Feeds/Feed")(b""))
        with taken:
            found = [await anext(messages)]
            await eventually(lambda: b"2" in encoded)
        found += [message async for message in messages]
    await server.stop(None)
    assert found == [b"1", b"2", b"3"]


async def test_handlers_that_were_woken_continue_in_later_turns_while_memory_is_short() -> None:
    late = Late()
    turn = 0
    late.value = lambda: turn
    async with serving(late) as target, Client(target) as client:
        calls = [asyncio.create_task(client.call(Late.take_time)) for _ in range(200)]
        await eventually(lambda: late.waiting == 200)

        async def count() -> None:
            nonlocal turn
            while True:
                turn += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        with full(50 * MIB):
            late.go_on.set()
            await asyncio.gather(*calls)
        counting.cancel()
        # The slices of one turn take at most 20 ms.
        assert len(set(late.turns)) >= 5
        assert len(late.turns) == 200
