"""Long messages of requests, whose rest comes out of the stream pool of their connection."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable

import pytest

import fastrpc
from fastrpc import Limits, Memory
from tests.support.grpc_peer import ServedGrpc, message, served_grpc
from tests.support.raw_methods import Raw
from tests.support.waiting import eventually

TOTAL, HELD, LEAVING = (f"/test.v1.{name}/total" for name in ("Raw", "Held", "Leaving"))


@fastrpc.service("test.v1.Held")
class Held:
    """A method that reads nothing until its release."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    @fastrpc.method(codec="raw")
    async def total(self, parts: AsyncIterator[bytes]) -> bytes:
        await self.go_on.wait()
        return b"%d" % sum([len(part) async for part in parts])


@fastrpc.service("test.v1.Leaving")
class Leaving:
    """A method whose handler waits for a message until the test cancels that, and then reads nothing more."""

    def __init__(self) -> None:
        self.waits: list[asyncio.Task[bytes]] = []
        self.go_on = asyncio.Event()

    @fastrpc.method(codec="raw")
    async def total(self, parts: AsyncIterator[bytes]) -> bytes:
        async def take() -> bytes:
            return await anext(parts)

        self.waits.append(asyncio.ensure_future(take()))
        await asyncio.wait(self.waits[-1:])
        await self.go_on.wait()
        return b"%d" % sum([len(part) async for part in parts])


async def test_growth_of_a_window_goes_to_messages_that_wait_for_the_pool() -> None:
    memory, held = Memory(stream_pool=1_000_000), Held()
    async with served_grpc(Raw(), held, memory=memory, limits=Limits(message_bytes=800_000)) as link:
        fast = link.open(TOTAL)
        for _ in range(12):
            # Messages that take all the window, and end with it.
            link.send(fast, message(bytes(link.h2.local_flow_control_window(fast) - 5)))
            await link.talk()
        grown = 500_000 - link.engine.wire.http2.growth_left
        assert (grown > 150_000, link.engine.wire.http2.stream_pool_left) == (True, 1_300_000 - grown)
        long = message(bytes(700_000))
        first, second = link.open(HELD), link.open(HELD)
        for stream in (first, second):
            link.send(stream, long[:60_000])
            await link.talk()
        assert link.h2.local_flow_control_window(first) == 640_005
        assert link.h2.local_flow_control_window(second) < 6_000
        link.reset(fast)
        await link.talk()
        assert link.engine.wire.http2.growth_left == 500_000
        assert link.h2.local_flow_control_window(second) == 640_005
        for stream in (first, second):
            link.send(stream, long[60_000:], ends=True)
        held.go_on.set()
        assert [(await link.end(stream)).messages for stream in (first, second)] == [[b"700000"]] * 2
        assert link.engine.wire.http2.stream_pool_left == 1_300_000


async def test_a_part_of_a_frame_takes_nothing_more_from_the_pool() -> None:
    async with served_grpc(Raw()) as link:
        stream, long = link.open(TOTAL), message(bytes(700_000))
        link.send(stream, long[:60_000])
        await link.talk()
        left = link.engine.wire.http2.stream_pool_left
        link.send(stream, long[60_000:260_000])
        frame = link.h2.data_to_send()
        await link.give(frame[:50_000])
        assert link.engine.wire.http2.stream_pool_left == left
        await link.give(frame[50_000:])
        link.send(stream, long[260_000:], ends=True)
        assert (await link.end(stream)).messages == [b"700000"]


async def test_a_handler_that_waits_gets_its_message_before_handlers_that_read_nothing() -> None:
    memory, limits, held = Memory(stream_pool=1_000_000), Limits(message_bytes=800_000), Held()
    async with served_grpc(Raw(), held, memory=memory, limits=limits) as link:
        long = message(bytes(700_000))
        unread = [link.open(HELD) for _ in range(2)]
        waiting = [link.open(TOTAL) for _ in range(3)]

        def granted(streams: Iterable[int]) -> list[int]:
            return [one for one in streams if link.h2.local_flow_control_window(one) == 640_005]

        for stream in (*unread, *waiting):
            link.send(stream, long[:60_000])
            await link.talk()
        # The pool is used up, and one message at a time comes beyond it.
        assert granted(unread) == unread
        for number, stream in enumerate(waiting):
            assert granted(waiting[number:]) == [stream]
            link.send(stream, long[60_000:], ends=True)
            await link.talk()
        for stream in unread:
            link.send(stream, long[60_000:], ends=True)
        held.go_on.set()
        assert {(await link.end(stream)).status for stream in (*unread, *waiting)} == {0}
        assert link.engine.wire.http2.stream_pool_left == 1_300_000


async def test_messages_that_wait_for_the_pool_come_in_their_order() -> None:
    memory, limits = Memory(stream_pool=1_000_000), Limits(message_bytes=800_000)
    async with served_grpc(Held(), memory=memory, limits=limits) as link:
        streams = [link.open(HELD) for _ in range(12)]
        for stream in streams:
            link.send(stream, message(bytes(700_000))[:60_000])
            await link.talk()
        # It would fit, and the ones before it do not.
        short = link.open(HELD)
        link.send(short, message(bytes(75_000))[:60_000])
        await link.talk()
        for number, stream in enumerate(streams):
            left = [*streams[number:], short]
            wider = [one for one in left if link.h2.local_flow_control_window(one) > 6_000]
            assert wider == left[: 2 if number < 10 else 3]
            link.reset(stream)
            await link.talk()


async def test_a_handler_that_waits_no_more_makes_room_for_the_next() -> None:
    memory, limits = Memory(stream_pool=1_000_000), Limits(message_bytes=800_000)
    held, leaving = Held(), Leaving()
    async with served_grpc(held, leaving, memory=memory, limits=limits) as link:
        long = message(bytes(700_000))
        unread = [link.open(HELD) for _ in range(2)]
        waiting = [link.open(LEAVING) for _ in range(3)]
        for stream in (*unread, *waiting):
            link.send(stream, long[:60_000])
            await link.talk()
        for number in range(3):
            granted = [one for one in waiting if link.h2.local_flow_control_window(one) == 640_005]
            assert granted == waiting[: number + 1]
            leaving.waits[number].cancel()
            await link.talk()
        # No message is lost.
        held.go_on.set()
        leaving.go_on.set()
        for stream in (*unread, *waiting):
            link.send(stream, long[60_000:], ends=True)
            assert (await link.end(stream)).messages == [b"700000"]
        assert link.engine.wire.http2.stream_pool_left == 1_300_000


async def test_handlers_that_wait_no_more_promise_no_more_than_memory_has() -> None:
    memory, limits = Memory(stream_pool=1_000_000, process_bytes=6_000_000), Limits(message_bytes=800_000)
    leaving = Leaving()
    async with served_grpc(leaving, memory=memory, limits=limits) as link:
        streams = [link.open(LEAVING) for _ in range(12)]
        for number, stream in enumerate(streams):
            link.send(stream, message(bytes(700_000))[:60_000])
            await link.talk()
            leaving.waits[number].cancel()
            await link.talk()
        promised = [one for one in streams if link.h2.local_flow_control_window(one) == 640_005]
        assert promised == streams[: len(promised)]
        assert 4 <= len(promised) <= 8


async def test_a_message_comes_once_another_connection_has_left_it_the_memory() -> None:
    memory, limits = Memory(stream_pool=1_000_000, process_bytes=6_000_000), Limits(message_bytes=800_000)
    raw, held = Raw(), Held()
    async with served_grpc(raw, held, memory=memory, limits=limits) as link:
        other = ServedGrpc(link.server)
        other.h2.initiate_connection()
        await other.talk()
        for number in range(5):
            await other.pour(other.open("/test.v1.Raw/wait"), message(bytes(750_000)))
            await other.talk()
            assert raw.started == number + 1
        long = message(bytes(700_000))
        first, second = link.open(HELD), link.open(HELD)
        for stream in (first, second):
            link.send(stream, long[:60_000])
            await link.talk()
        left = link.engine.wire.http2.stream_pool_left
        assert link.h2.local_flow_control_window(first) == 640_005
        assert link.h2.local_flow_control_window(second) < 6_000
        # Nothing happens on its own connection.
        other.lose()
        await eventually(lambda: link.engine.wire.http2.stream_pool_left < left)
        await link.talk()
        assert link.h2.local_flow_control_window(second) == 640_005


@pytest.mark.measures
async def test_a_message_costs_the_same_for_any_number_of_waiting_messages() -> None:
    raw, limits = Raw(), Limits(message_bytes=800_000, streams=300, concurrent_calls=300)
    async with served_grpc(raw, Held(), memory=Memory(stream_pool=1_000_000), limits=limits) as link:
        stream = link.open(TOTAL)

        async def seconds() -> float:
            """Return the processor time of 1,000 messages that are granted nothing."""
            for _ in range(50):
                link.send(stream, message(b"x") * 20)
            data = link.h2.data_to_send()
            began = time.thread_time()
            await link.give(data)
            for _ in range(60):
                await asyncio.sleep(0)
            taken = time.thread_time() - began
            await link.talk()
            return taken

        alone = min([await seconds() for _ in range(10)])
        for _ in range(250):
            link.send(link.open(HELD), message(bytes(700_000))[:60_000])
            await link.talk()
        assert min([await seconds() for _ in range(10)]) < 4 * alone
