"""The end of generators that do not end by themselves: the exception at their `yield`, and the code that waits."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fastrpc import (
    Admission,
    CallError,
    Client,
    ConnectionLostError,
    DeadlineExceededError,
    Server,
    ServerConfig,
    Status,
    Timeouts,
    current_call,
    method,
    service,
)
from tests.support.feed import Feed
from tests.support.raw_streams import stream_peer
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.wire_frames import Cancel

BLOCK = 30_000


@service("ending")
class Ending:
    """Generators that yield without end, and handlers in threads that nothing can stop."""

    def __init__(self) -> None:
        #: The exceptions at their `yield`, and the fates of threads.
        self.seen: list[str] = []
        self.calls: list[Any] = []
        self.has_begun = threading.Event()
        self.may_return = threading.Event()

    def note(self, error: BaseException) -> None:
        self.seen.append(type(error).__name__)

    @method
    async def coroutine(self, bad_after: int = -1) -> AsyncIterator[bytes]:
        try:
            while bad_after:
                bad_after -= 1
                yield bytes(BLOCK)
            yield object()  # type: ignore[misc]
        except BaseException as error:
            self.note(error)
            raise

    @method
    def thread(self, bad_after: int = -1) -> Iterator[bytes]:
        try:
            while bad_after:
                bad_after -= 1
                yield bytes(BLOCK)
            yield object()  # type: ignore[misc]
        except BaseException as error:
            self.note(error)
            raise

    @method(inline=True)
    def inline(self, bad_after: int = -1) -> Iterator[bytes]:
        try:
            while bad_after:
                bad_after -= 1
                yield bytes(BLOCK)
            yield object()  # type: ignore[misc]
        except BaseException as error:
            self.note(error)
            raise

    @method
    def blocked(self) -> Iterator[int]:
        """Block between two messages until the test releases it."""
        self.calls.append(current_call())
        try:
            yield 1
            self.has_begun.set()
            self.may_return.wait()
            yield 2
        finally:
            self.seen.append("returned")

    @method
    def blocked_call(self) -> int:
        self.calls.append(current_call())
        self.has_begun.set()
        self.may_return.wait()
        self.seen.append("returned")
        return 1

    @method
    def refuses_to_end(self) -> Iterator[int]:
        """Raise another error in place of the cancellation."""
        try:
            while True:
                yield 1
        except asyncio.CancelledError:
            raise CallError(Status.ABORTED, "stopped half-way") from None


KINDS = [Ending.coroutine, Ending.thread, Ending.inline]
NAMES = ["async", "def", "inline"]


async def through(call: Any, proceed: Any) -> Any:
    return await proceed(call)


@pytest.mark.one_loop
@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
class TestWhatIsSeen:
    async def test_idle_wait_for_room_is_a_cancellation_at_the_yield(self, kind: Any) -> None:
        ending = Ending()
        config = ServerConfig(timeouts=Timeouts(stream_idle=0.05))
        async with served(ending, config=config, scheme="tcp") as target, Client(target) as client:
            async with client.stream(kind) as blocks:
                await eventually(lambda: ending.seen)
                with pytest.raises(DeadlineExceededError, match="took no message") as idle:
                    async for _ in blocks:
                        pass
        assert "Timeouts.stream_idle of the server" in str(idle.value)
        assert idle.value.hint is None
        assert ending.seen == ["CancelledError"]

    async def test_message_that_cannot_be_sent_is_a_cancellation_at_the_yield(self, kind: Any) -> None:
        ending = Ending()
        async with served(ending, scheme="tcp") as target, Client(target) as client:
            received = 0
            with pytest.raises(CallError) as failed:
                async with client.stream(kind, 3) as blocks:
                    async for _ in blocks:
                        received += 1
            assert failed.value.status is Status.INTERNAL
            assert received == 3
        assert ending.seen == ["CancelledError"]

    @pytest.mark.parametrize("interceptors", [[], [through]], ids=["bare", "intercepted"])
    @pytest.mark.parametrize("way", ["left", "deadline", "lost", "drained"])
    async def test_every_other_end_is_a_cancellation_at_the_yield(
        self, kind: Any, way: str, interceptors: list[Any]
    ) -> None:
        ending = Ending()
        async with served(ending, scheme="tcp", interceptors=interceptors) as target:
            async with Client(target) as client:
                view = client.with_options(timeout=0.5 if way == "deadline" else None)
                async with view.stream(kind) as blocks:
                    await blocks.receive()
                    if way == "lost":
                        client._pool.connections[0].abort()
                    elif way == "drained":
                        await target.server.drain(0.02)
                    if way != "left":
                        await eventually(lambda: ending.seen)
            await eventually(lambda: ending.seen)
        assert ending.seen == ["CancelledError"]


@pytest.mark.one_loop
@pytest.mark.parametrize("interceptors", [[], [through]], ids=["bare", "intercepted"])
@pytest.mark.parametrize("handler", ["blocked", "blocked_call"])
class TestThreads:
    @pytest.mark.parametrize("way", ["cancelled", "lost", "deadline"])
    async def test_slot_is_held_until_the_thread_has_returned(
        self, handler: str, way: str, interceptors: list[Any]
    ) -> None:
        ending = Ending()
        async with served(ending, scheme="tcp", interceptors=interceptors) as target:
            async with Client(target) as client:
                await begin_and_give_up(client, ending, handler, way)
                stats = target.server.stats
                await eventually(lambda: ending.calls[0].cancelled)
                # A second cancellation, as by a drain at its end, changes nothing.
                for session in target.server._gate.engines:  # type: ignore[union-attr]
                    session.end_calls("ended by the test")
                assert stats()["live"]["calls"] == 1
                assert ending.seen == []
                ending.may_return.set()
                await eventually(lambda: stats()["live"]["calls"] == 0)
                assert ending.seen == ["returned"]

    async def test_drain_and_sources_wait_for_the_thread(self, handler: str, interceptors: list[Any]) -> None:
        ending = Ending()

        @contextlib.asynccontextmanager
        async def source() -> AsyncIterator[list[Any]]:
            yield [ending]
            ending.seen.append("source left")

        async with Server(source, interceptors=interceptors) as server:
            address = await server.listen("tcp://127.0.0.1:0")
            async with Client(str(address)) as client:
                await begin_and_give_up(client, ending, handler, "cancelled")
                drain = asyncio.create_task(server.drain(timeout=20))
                done, _ = await asyncio.wait([drain], timeout=0.3)
                assert not done
                ending.may_return.set()
                assert await drain
        assert ending.seen == ["returned", "source left"]


async def begin_and_give_up(client: Client, ending: Ending, handler: str, way: str) -> None:
    """Call a handler that blocks its thread, and stop waiting for it once it does."""
    view = client.with_options(timeout=0.5) if way == "deadline" else client
    if handler == "blocked":
        stream = view.stream(Ending.blocked)
        assert await stream.receive() == 1
        await eventually(ending.has_begun.is_set)
        if way == "deadline":
            with pytest.raises(DeadlineExceededError):
                await stream.receive()
        elif way == "cancelled":
            stream.cancel()
        else:
            client._pool.connections[0].abort()
            with pytest.raises(ConnectionLostError):
                await stream.receive()
    else:
        call = asyncio.ensure_future(view.call(Ending.blocked_call))
        await eventually(ending.has_begun.is_set)
        if way == "cancelled":
            call.cancel()
        elif way == "lost":
            client._pool.connections[0].abort()
        await asyncio.wait([call])


@pytest.mark.one_loop
class TestEndsInThreads:
    async def test_error_raised_in_place_of_the_cancellation_is_the_answer(self) -> None:
        async with served(Ending(), scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("ending.refuses_to_end")
            await peer.next_message(call)
            peer.peer.send(Cancel(call).encode())
            assert (await peer.end(call)).status == Status.ABORTED

    @pytest.mark.parametrize("interceptors", [[], [through]], ids=["bare", "intercepted"])
    async def test_stream_cancelled_before_a_thread_was_free_never_started(
        self, interceptors: list[Any]
    ) -> None:
        ending = Ending()
        # A busy machine begins the first call within this time, and the test may wait it for the second one.
        config = ServerConfig(admission=Admission(handler_threads=1, queue_age=2.0))
        async with (
            served(ending, scheme="tcp", config=config, interceptors=interceptors) as target,
            stream_peer(target) as peer,
        ):
            first = peer.open("ending.blocked")
            await peer.next_message(first)
            second = peer.open("ending.blocked")
            peer.peer.send(Cancel(second).encode())
            end = await peer.end(second)
            assert (end.status, end.outcome) == (Status.CANCELLED, 1)
            ending.may_return.set()
            assert (await peer.end(first)).status == 0

    async def test_closed_server_does_not_wait_for_its_threads(self) -> None:
        ending = Ending()
        async with served(ending, scheme="tcp") as target, Client(target) as client:
            await begin_and_give_up(client, ending, "blocked", "cancelled")
            async with asyncio.timeout(10):
                await target.server.close()
            assert ending.seen == []
            ending.may_return.set()
            await eventually(lambda: ending.seen)


@pytest.mark.one_loop
class TestIdleTexts:
    async def test_receiver_gets_the_error_that_no_message_came(self) -> None:
        config = ServerConfig(timeouts=Timeouts(stream_idle=0.4))
        async with served(Feed(), scheme="tcp", config=config) as target, Client(target) as client:
            async with client.open(Feed.total) as numbers:
                await numbers.send(1)
                with pytest.raises(
                    DeadlineExceededError, match=r"feed\.total: no message of its caller came"
                ):
                    await numbers.receive()

    async def test_stream_that_used_up_its_own_time_keeps_its_hint(self) -> None:
        async with served(Feed(), scheme="tcp") as target, Client(target) as client:
            await client.ready()
            with pytest.raises(DeadlineExceededError) as late:
                async with client.with_options(timeout=0.05).stream(Feed.awaited) as numbers:
                    async for _ in numbers:
                        pass
        assert late.value.hint is not None
        assert "timeout=" in late.value.hint


@service("wrapped")
class Wrapped:
    @method
    def lines(self, limit: int) -> Iterator[list[int]]:
        line: list[int] = []
        for number in range(limit):
            # One object for all messages: each is sent as it was at its `yield`.
            line[:] = [number]
            yield line

    @method
    def watched(self, ends: int = 0) -> Iterator[int]:
        try:
            while True:
                yield 1
        except BaseException as error:
            current_call().state["end"].append(type(error).__name__)
            raise


@pytest.mark.one_loop
class TestFunctionsAroundMessages:
    async def test_functions_around_messages_run_on_the_loop_in_the_context_of_the_call(self) -> None:
        seen: set[Any] = set()

        async def watch(call: Any, proceed: Any) -> Any:
            def note(message: Any) -> Any:
                seen.add((threading.current_thread(), current_call().method, asyncio.get_running_loop()))
                return message

            call.wrap_sent(note)
            return await proceed(call)

        async with served(Wrapped, interceptors=[watch]) as target, Client(target) as client:
            async with client.stream(Wrapped.lines, 500) as lines:
                assert [line async for line in lines] == [[number] for number in range(500)]
        assert seen == {(threading.current_thread(), "wrapped.lines", asyncio.get_running_loop())}

    async def test_error_of_one_ends_the_stream_and_its_thread(self) -> None:
        ends: list[str] = []

        async def refuse(call: Any, proceed: Any) -> Any:
            def third(message: Any) -> Any:
                counted.append(message)
                if len(counted) == 3:
                    raise CallError(Status.DATA_LOSS, "the third one")
                return message

            counted: list[Any] = []
            call.state["end"] = ends
            call.wrap_sent(third)
            return await proceed(call)

        async with served(Wrapped, interceptors=[refuse]) as target, Client(target) as client:
            received = []
            with pytest.raises(CallError, match="the third one"):
                async with client.stream(Wrapped.watched) as numbers:
                    async for number in numbers:
                        received.append(number)
        assert received == [1, 1]
        assert ends == ["CancelledError"]

    async def test_thread_that_waits_for_them_is_cancelled(self) -> None:
        ends: list[str] = []

        async def slow(call: Any, proceed: Any) -> Any:
            call.state["end"] = ends
            call.wrap_sent(lambda message: message)
            return await proceed(call)

        async with served(Wrapped, interceptors=[slow]) as target, Client(target) as client:
            async with client.stream(Wrapped.watched) as numbers:
                await numbers.receive()
            await eventually(lambda: ends)
        assert ends == ["CancelledError"]
