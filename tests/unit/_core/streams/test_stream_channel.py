"""The messages of a stream between two connections without sockets: taking, credit, waiting, ends."""

import asyncio
import gc
import sys
import time
import weakref
from typing import Any

import pytest

from fastrpc import StreamEndedError
from fastrpc_harness.recorded_stream import RecordedStream
from tests.support.linked_streams import LinkedStreams

#: The cost of a message of 100 bytes in its window.
COST = 116


async def waiting(coroutine: Any) -> "asyncio.Task[Any]":
    """Return a task that runs the coroutine and got as far as it goes by itself."""
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0)
    return task


class TestTaking:
    async def test_messages_come_in_order(self) -> None:
        link = LinkedStreams()
        near, far = link.open()
        for number in range(100):
            far.send_message(b"%d" % number)
        link.carry()
        assert near.waiting == 100
        assert [await near.receive() for _ in range(100)] == [b"%d" % number for number in range(100)]

    async def test_order_survives_a_ring_that_wraps_and_grows(self) -> None:
        link = LinkedStreams()
        near, far = link.open()
        sent, taken = 0, []
        for burst in (3, 4, 9, 40, 1, 200, 5):
            for _ in range(burst):
                far.send_message(b"%d" % sent)
                sent += 1
            link.carry()
            for _ in range(burst * 2 // 3):
                taken.append(await near.receive())
        taken += await near.receive_many()
        assert taken == [b"%d" % number for number in range(sent)]

    async def test_messages_that_have_arrived_cost_no_suspension(self) -> None:
        link = LinkedStreams()
        near, far = link.open()
        for number in range(5):
            far.send_message(b"%d" % number)
        link.carry()
        far.finish_input()
        near.finish_input()

        async def read() -> list[bytes]:
            return [message async for message in near]

        coroutine = read()
        with pytest.raises(StopIteration) as end:
            coroutine.send(None)
        assert end.value.value == [b"0", b"1", b"2", b"3", b"4"]

    @pytest.mark.parametrize("takes_many", [False, True])
    async def test_slow_reader_lets_other_tasks_run_although_messages_have_arrived(
        self, takes_many: bool
    ) -> None:
        link = LinkedStreams()
        near, far = link.open()
        for number in range(10):
            far.send_message(b"%d" % number)
        link.carry()

        def longer_than_a_slice(payload: bytes) -> bytes:
            until = time.perf_counter() + 0.012
            while time.perf_counter() < until:
                pass
            return payload

        near.decoder = longer_than_a_slice
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counter = await waiting(count_turns())
        received: list[bytes] = []
        if takes_many:
            while len(received) < 10:
                received += await near.receive_many(1)
        else:
            async for message in near:
                received.append(message)
                if len(received) == 10:
                    break
        counter.cancel()
        assert received == [b"%d" % number for number in range(10)]
        assert turns >= 8

    async def test_receive_many_returns_all_arrived_messages(self) -> None:
        link = LinkedStreams()
        near, far = link.open()
        for number in range(10):
            far.send_message(b"%d" % number)
        link.carry()
        assert await near.receive_many(3) == [b"0", b"1", b"2"]
        assert len(await near.receive_many()) == 7
        task = await waiting(near.receive_many())
        assert not task.done()
        far.send_message(b"late")
        far.send_message(b"later")
        link.carry()
        assert await task == [b"late", b"later"]

    @pytest.mark.parametrize("limit", [0, -1, 1.5, None, "3"])
    async def test_receive_many_of_no_message_is_refused(self, limit: Any) -> None:
        near, _ = LinkedStreams().open()
        with pytest.raises(ValueError, match="limit is"):
            near.receive_many(limit)

    async def test_reader_that_waits_is_woken(self) -> None:
        link = LinkedStreams()
        near, far = link.open()
        task = await waiting(near.receive())
        assert not task.done()
        far.send_message(b"here")
        link.carry()
        assert await task == b"here"

    async def test_cancelled_reader_loses_no_message(self) -> None:
        link = LinkedStreams()
        near, far = link.open()
        task = await waiting(near.receive())
        far.send_message(b"here")
        link.carry()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await near.receive() == b"here"

    async def test_reader_that_times_out_can_read_again(self) -> None:
        link = LinkedStreams()
        near, far = link.open()
        for read in (near.receive, near.__anext__):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await read()
        far.send_message(b"here")
        link.carry()
        assert await anext(near) == b"here"

    async def test_second_reader_is_refused(self) -> None:
        link = LinkedStreams()
        near, far = link.open()
        task = await waiting(near.receive())
        for second in (near.receive, near.receive_many, near.__anext__):
            with pytest.raises(RuntimeError, match="one receiver at a time"):
                await second()
        far.send_message(b"first")
        link.carry()
        assert await task == b"first"

    async def test_second_loop_over_a_stream_is_refused(self) -> None:
        near, _ = LinkedStreams().open()
        task = await waiting(anext(near))
        with pytest.raises(RuntimeError, match="one receiver at a time"):
            await anext(near)
        task.cancel()

    async def test_awaitable_of_one_message_is_awaited_once(self) -> None:
        link = LinkedStreams()
        near, far = link.open()
        far.send_message(b"a")
        link.carry()
        receiving = near.receive()
        assert await receiving == b"a"
        with pytest.raises(RuntimeError, match="already awaited"):
            await receiving

    async def test_message_that_cannot_be_decoded_ends_the_input(self) -> None:
        link = LinkedStreams()
        near, far = link.open()

        def decode(payload: bytes) -> int:
            return int(payload)

        near.decoder = decode
        for payload in (b"1", b"2", b"x", b"4"):
            far.send_message(payload)
        link.carry()
        assert await near.receive_many() == [1, 2]
        for _ in range(2):
            with pytest.raises(ValueError, match="invalid literal"):
                await near.receive()
        assert near.waiting == 0

    async def test_functions_of_interceptors_stand_around_messages(self) -> None:
        link = LinkedStreams()
        near, far = link.open()
        near.wrap(
            [lambda message: message + b"1", lambda message: message + b"2"],
            [lambda message: message + b"a", lambda message: message + b"b"],
        )
        far.send_message(near.wrapped(b"m"))
        link.carry()
        assert await near.receive() == b"m12ba"


class TestCredit:
    async def test_unread_stream_holds_its_window(self) -> None:
        link = LinkedStreams(window=16_384)
        near, far = link.open()
        sent = 0
        while not far.would_wait:
            far.send_message(bytes(100))
            sent += 1
        link.carry()
        assert near.waiting == 16_384 // COST
        assert sent == near.waiting + 1
        assert far.would_wait

    async def test_sender_continues_when_messages_are_taken(self) -> None:
        link = LinkedStreams(window=16_384)
        near, far = link.open()
        while not far.would_wait:
            far.send_message(bytes(100))
        room = far.wait_for_room()
        link.carry()
        assert not room.done()
        for _ in range(80):
            await near.receive()
        link.carry()
        assert room.done()
        assert not far.would_wait

    async def test_message_over_the_window_arrives(self) -> None:
        link = LinkedStreams(window=16_384, pool=1_000_000)
        near, far = link.open()
        for size in (200_000, 10, 1_000_000, 0):
            far.send_message(bytes(size))
            link.carry()
            assert len(await near.receive()) == size
        assert link.client.assembler.stream_pool_left == 16_777_216 + 500_000

    async def test_credit_of_messages_after_the_end_is_returned(self) -> None:
        link = LinkedStreams(window=16_384)
        near, far = link.open()
        near.finish_input()
        for _ in range(1_000):
            far.send_message(bytes(100))
            link.carry()
        assert not far.would_wait
        assert near.waiting == 0

    async def test_one_unread_stream_does_not_delay_another(self) -> None:
        link = LinkedStreams(window=16_384)
        unread, producer = link.open()
        near, far = link.open()
        while not producer.would_wait:
            producer.send_message(bytes(100))
        for number in range(1_000):
            far.send_message(b"%d" % number)
            link.carry()
            assert await near.receive() == b"%d" % number
        assert unread.waiting == 16_384 // COST


class TestSending:
    async def test_second_sender_is_refused(self) -> None:
        link = LinkedStreams(window=16_384)
        _, far = link.open()
        while not far.would_wait:
            far.send_message(bytes(100))
        room = far.wait_for_room()
        with pytest.raises(RuntimeError, match="one sender at a time"):
            far.wait_for_room()
        room.cancel()
        assert not far.wait_for_room().done()

    async def test_sender_waits_for_the_output_of_the_connection(self) -> None:
        _, far = LinkedStreams().open()
        far.has_full_output = True
        assert far.would_wait
        assert not far.wait_for_room().done()

    async def test_sender_that_waits_is_told_of_the_end(self) -> None:
        link = LinkedStreams(window=16_384)
        _, far = link.open()
        while not far.would_wait:
            far.send_message(bytes(100))
        room = far.wait_for_room()
        far.finish_output(KeyError("gone"))
        assert room.done()
        with pytest.raises(KeyError, match="gone"):
            far.send_message(b"more")
        assert far.wait_for_room().done()

    async def test_nothing_is_sent_after_its_own_end(self) -> None:
        near, _ = LinkedStreams().open()
        near.finish_output()
        with pytest.raises(RuntimeError, match="ended"):
            near.send_message(b"more")


class TestEnds:
    async def test_end_comes_after_the_last_message(self) -> None:
        link = LinkedStreams()
        near, far = link.open()
        near.send_message(b"last")
        link.client.push_end(near.call)
        link.carry()
        assert far.input_ended
        assert await far.receive() == b"last"
        for receive in (far.receive, far.receive_many):
            with pytest.raises(StreamEndedError):
                await receive()
        with pytest.raises(StopAsyncIteration):
            await anext(far)

    async def test_error_comes_after_the_last_message_each_time(self) -> None:
        link = LinkedStreams()
        near, far = link.open()
        far.send_message(b"last")
        link.carry()
        near.finish_input(KeyError("broken"))
        near.finish_input(KeyError("too late"))
        assert await near.receive_many() == [b"last"]
        for receive in (near.receive, near.receive_many, near.__anext__):
            with pytest.raises(KeyError, match="broken"):
                await receive()

    async def test_end_wakes_a_reader(self) -> None:
        near, _ = LinkedStreams().open()
        task = await waiting(near.receive())
        near.finish_input()
        with pytest.raises(StreamEndedError):
            await task

    async def test_close_drops_messages_and_wakes_everybody(self) -> None:
        link = LinkedStreams(window=16_384)
        near, far = link.open()
        while not far.would_wait:
            far.send_message(bytes(100))
        room = far.wait_for_room()
        reader = await waiting(far.receive())
        link.carry()
        near.end(KeyError("left"))
        link.carry()
        assert (near.waiting, near.is_held_by_call) == (0, False)
        with pytest.raises(KeyError, match="left"):
            await near.receive()
        assert room.done()
        far.end(KeyError("gone"))
        with pytest.raises(KeyError, match="gone"):
            await reader
        far.end()

    async def test_closed_stream_is_in_no_cycle(self) -> None:
        link = LinkedStreams()
        near, far = link.open()
        far.send_message(b"unread")
        far.send_message(b"read")
        link.carry()
        await anext(near)
        gc.collect()
        gc.disable()
        try:
            for stream in (near, far):
                before = sys.getrefcount(stream)
                stream.end()
                # The call let go of it, and so did its own awaitable.
                assert sys.getrefcount(stream) <= before - 1
                assert not [kept for kept in gc.get_referrers(stream) if type(kept).__name__ == "Receiving"]
        finally:
            gc.enable()

    async def test_payloads_of_a_stream_that_was_dropped_are_freed(self) -> None:
        class Payload:
            pass

        link = LinkedStreams()
        near, far = link.open()
        for number in range(50):
            far.send_message(b"%d" % number)
        link.carry()
        mark = Payload()
        near.decoder = lambda payload, _mark=mark: payload
        freed = weakref.ref(mark)
        call = near.call
        near.end()
        del near, mark, call
        link.client.cancel(1)
        gc.collect()
        assert freed() is None


class TestIdleWaits:
    async def test_reader_that_waits_too_long_is_noticed(self) -> None:
        near, _ = LinkedStreams().open(idle_ns=1_000_000)
        noticed = asyncio.Event()
        near.idle_callback = noticed.set
        task = await waiting(near.receive())
        await noticed.wait()
        task.cancel()

    async def test_sender_that_waits_too_long_is_noticed(self) -> None:
        link = LinkedStreams(window=16_384)
        _, far = link.open(idle_ns=1_000_000)
        noticed = asyncio.Event()
        far.idle_callback = noticed.set
        while not far.would_wait:
            far.send_message(bytes(100))
        far.wait_for_room()
        await noticed.wait()

    async def test_time_between_waits_is_not_counted(self) -> None:
        link = LinkedStreams()
        near, far = link.open(idle_ns=3_600_000_000_000)
        task = await waiting(near.receive())
        near.fire()
        far.send_message(b"a")
        link.carry()
        await task
        near.fire()
        assert near.idle_waits == 0


class TestTasks:
    async def test_receiving_can_be_made_a_task(self) -> None:
        link = LinkedStreams()
        near, far = link.open()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(near.receive())
            group.create_task(asyncio.sleep(0)).add_done_callback(
                lambda _: (far.send_message(b"a"), link.carry())
            )
        assert task.result() == b"a"

    def test_stream_without_a_loop_cannot_be_waited_for(self) -> None:
        link = LinkedStreams()
        near, _ = link.open(with_loop=False)
        with pytest.raises(AttributeError):
            near.receive().send(None)

    def test_channel_alone_can_do_nothing(self) -> None:
        with pytest.raises(TypeError):
            RecordedStream(None, None)  # type: ignore[arg-type]
