"""The load of one stream: its messages are counted over a window, by the same rules for every Python peer.

A first, short stream is checked: each message, how many there are, and that it ends. Then:

- a server stream is read without an end, and left when the window is over;
- a client stream is fed without a pause until the window is over, then ended. The window closes with its answer,
  the number of bytes that the server took: messages that wait in buffers count with the time they take;
- both ways, messages are sent without a pause until the window is over. Echoes count, and all must come;
- lists are streams of `LISTED_MESSAGES`, one after the other until the window is over.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from bench.compare.load import LONGER_SECONDS, STALL_SECONDS, WrongAnswerError
from bench.compare.measurement import LoadOrder, Measurement, ProcessorClocks, Reading, measured
from bench.compare.workloads import WORKLOADS, Workload

__all__ = [
    "ENDLESS",
    "MANY_MESSAGES",
    "AsyncStreams",
    "BlockingStreams",
    "drive_blocking_stream",
    "drive_stream",
]

#: More messages than any window takes.
ENDLESS = 2**40

#: Messages of the stream that is checked.
CHECKED_MESSAGES = 100

#: Messages of each call that sends many.
MANY_MESSAGES = 512

#: Messages of each stream that is a list. The messages of the list under way at the start of the window count, too: 0.2
#: % of a second's.
LISTED_MESSAGES = 5_000


class _Streams:
    """The common parts of both kinds of clients: the conversion of a payload to a message, and back."""

    def build(self, payload: bytes) -> Any:
        """Build a message, from nothing."""
        return payload

    def plain(self, message: Any) -> Any:
        """Return the payload of a message."""
        return message


class AsyncStreams(_Streams):
    """The streams of a client on an event loop; a peer implements those that its workloads need."""

    def receive(self, count: int) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """Open a server stream of the given number of messages; leaving the block ends it."""
        raise NotImplementedError

    def receive_many(self, count: int) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Any]]]:
        """Open the same stream, whose ready messages are returned as lists."""
        raise NotImplementedError

    async def send(self, messages: AsyncIterator[Any]) -> int:
        """Send a client stream to its end; return how many bytes of payload the server received."""
        raise NotImplementedError

    def exchange(self, messages: AsyncIterator[Any]) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """Open a stream both ways that gives back each message."""
        raise NotImplementedError


class BlockingStreams(_Streams):
    """The streams of a blocking client; a peer implements those that its workloads need."""

    def receive(self, count: int) -> AbstractContextManager[Iterator[Any]]:
        """Open a server stream of the given number of messages; leaving the block ends it."""
        raise NotImplementedError

    def send(self, messages: Iterable[Any]) -> int:
        """Send a client stream to its end; return how many bytes of payload the server received."""
        raise NotImplementedError

    def exchange(self, messages: Iterable[Any]) -> AbstractContextManager[Iterator[Any]]:
        """Open a stream both ways that gives back each message."""
        raise NotImplementedError

    def send_many(self, batches: Iterator[Sequence[Any]]) -> int:
        """Send a client stream whose messages are made in batches; return how many bytes the server received."""
        raise NotImplementedError

    def exchange_many(self, batches: Iterator[Sequence[Any]]) -> AbstractContextManager[Iterator[Any]]:
        """Open a bidirectional stream whose messages are ready in batches."""
        raise NotImplementedError


class _Tally:
    """The counts of the load, and whether the window is over."""

    __slots__ = ("is_over", "received", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.is_over = False


class _Window:
    """Takes the readings at both ends."""

    def __init__(self, order: LoadOrder, tally: _Tally) -> None:
        self._clocks = ProcessorClocks(order.server_processes)
        self._tally = tally
        self.counts_sent = WORKLOADS[order.workload].operation.startswith("client_stream")

    def read(self) -> Reading:
        return self._clocks.read(self._counted())

    def is_empty(self, first: Reading) -> bool:
        """Return whether no message has been counted yet, as on a busy machine: the window is extended until one is."""
        return self._counted() == first.completed

    def _counted(self) -> int:
        return self._tally.sent if self.counts_sent else self._tally.received


async def drive_stream(streams: AsyncStreams, order: LoadOrder) -> Measurement:
    """Load with one stream on the running event loop."""
    workload, tally = WORKLOADS[order.workload], _Tally()
    check, load = _ASYNC[workload.operation]
    window = _Window(order, tally)
    async with asyncio.timeout(order.warm_seconds + order.seconds + STALL_SECONDS):
        await check(streams, workload)
        async with asyncio.TaskGroup() as group:
            stream = group.create_task(load(streams, tally, workload))
            await asyncio.sleep(order.warm_seconds)
            first = window.read()
            await asyncio.sleep(order.seconds)
            while window.is_empty(first):  # noqa: ASYNC110 - to set an event would cost every message
                await asyncio.sleep(LONGER_SECONDS)
            if not window.counts_sent:
                last = window.read()
            tally.is_over = True
            await stream
            if window.counts_sent:
                last = window.read()
    return measured(first, last, workload.batch, [])


def drive_blocking_stream(streams: BlockingStreams, order: LoadOrder) -> Measurement:
    """Load with one stream in a thread of its own."""
    workload, tally = WORKLOADS[order.workload], _Tally()
    check, load = _BLOCKING[workload.operation]
    window = _Window(order, tally)
    with ThreadPoolExecutor(1) as executor:
        executor.submit(check, streams, workload).result(STALL_SECONDS)
        stream = executor.submit(load, streams, tally, workload)
        wait([stream], order.warm_seconds)
        first = window.read()
        wait([stream], order.seconds)
        until = time.monotonic() + STALL_SECONDS
        while window.is_empty(first) and not stream.done() and time.monotonic() < until:
            wait([stream], LONGER_SECONDS)
        if not window.counts_sent:
            last = window.read()
        tally.is_over = True
        stream.result(STALL_SECONDS)
        if window.counts_sent:
            last = window.read()
    return measured(first, last, workload.batch, [])


def _numbered(payload: bytes) -> list[bytes]:
    """Return the payloads of the checked stream, all different."""
    return [number.to_bytes(4, "big") + payload[4:] for number in range(CHECKED_MESSAGES)]


def _expect(workload: Workload, expected: object, answer: object) -> None:
    if answer != expected:
        raise WrongAnswerError(f"{workload.name}: expected {expected!r:.100}, got {answer!r:.100}")


def _ended_early(workload: Workload) -> WrongAnswerError:
    return WrongAnswerError(f"{workload.name}: the stream ended before the window was over")


# On an event loop


async def _check_receive(streams: AsyncStreams, workload: Workload) -> None:
    async with streams.receive(CHECKED_MESSAGES) as messages:
        received = [streams.plain(message) async for message in messages]
    _expect(workload, [workload.expected] * CHECKED_MESSAGES, received)


async def _load_receive(streams: AsyncStreams, tally: _Tally, workload: Workload) -> None:
    async with streams.receive(ENDLESS) as messages:
        async for _ in messages:
            tally.received += 1
            if tally.is_over:
                return
    raise _ended_early(workload)


async def _check_receive_many(streams: AsyncStreams, workload: Workload) -> None:
    async with streams.receive_many(CHECKED_MESSAGES) as batches:
        received = [streams.plain(message) async for batch in batches for message in batch]
    _expect(workload, [workload.expected] * CHECKED_MESSAGES, received)


async def _load_receive_many(streams: AsyncStreams, tally: _Tally, workload: Workload) -> None:
    async with streams.receive_many(ENDLESS) as batches:
        async for batch in batches:
            tally.received += len(batch)
            if tally.is_over:
                return
    raise _ended_early(workload)


async def _check_send(streams: AsyncStreams, workload: Workload) -> None:
    taken = await streams.send(_each(streams, _numbered(workload.payload)))
    _expect(workload, CHECKED_MESSAGES * workload.payload_bytes, taken)


async def _load_send(streams: AsyncStreams, tally: _Tally, workload: Workload) -> None:
    taken = await streams.send(_until_over(streams, tally, workload.payload))
    if not tally.is_over:
        raise _ended_early(workload)
    _expect(workload, tally.sent * workload.payload_bytes, taken)


async def _check_exchange(streams: AsyncStreams, workload: Workload) -> None:
    payloads = _numbered(workload.payload)
    async with streams.exchange(_each(streams, payloads)) as echoes:
        received = [streams.plain(echo) async for echo in echoes]
    _expect(workload, payloads, received)


async def _load_exchange(streams: AsyncStreams, tally: _Tally, workload: Workload) -> None:
    async with streams.exchange(_until_over(streams, tally, workload.payload)) as echoes:
        async for _ in echoes:
            tally.received += 1
    if not tally.is_over:
        raise _ended_early(workload)
    _expect(workload, tally.sent, tally.received)


async def _each(streams: AsyncStreams, payloads: Sequence[bytes]) -> AsyncIterator[Any]:
    for payload in payloads:
        yield streams.build(payload)


async def _until_over(streams: AsyncStreams, tally: _Tally, payload: bytes) -> AsyncIterator[Any]:
    build = streams.build
    while not tally.is_over:
        yield build(payload)
        # The peer has taken the message when it asks for the next one.
        tally.sent += 1


#: How each workload is checked and loaded.
_ASYNC: Mapping[
    str,
    tuple[
        Callable[[AsyncStreams, Workload], Awaitable[None]],
        Callable[[AsyncStreams, _Tally, Workload], Any],
    ],
] = {
    "server_stream": (_check_receive, _load_receive),
    "server_stream_many": (_check_receive_many, _load_receive_many),
    "server_stream_def": (_check_receive, _load_receive),
    "client_stream": (_check_send, _load_send),
    "both_ways": (_check_exchange, _load_exchange),
}


# In a thread


def _check_blocking_receive(streams: BlockingStreams, workload: Workload) -> None:
    with streams.receive(CHECKED_MESSAGES) as messages:
        received = [streams.plain(message) for message in messages]
    _expect(workload, [workload.expected] * CHECKED_MESSAGES, received)


def _load_blocking_receive(streams: BlockingStreams, tally: _Tally, workload: Workload) -> None:
    with streams.receive(ENDLESS) as messages:
        for _ in messages:
            tally.received += 1
            if tally.is_over:
                return
    raise _ended_early(workload)


def _check_blocking_send(streams: BlockingStreams, workload: Workload) -> None:
    _check_taken(streams, workload, lambda messages: streams.send(iter(messages)))


def _check_blocking_send_many(streams: BlockingStreams, workload: Workload) -> None:
    _check_taken(streams, workload, lambda messages: streams.send_many(_halves(messages)))


def _check_blocking_send_list(streams: BlockingStreams, workload: Workload) -> None:
    _check_taken(streams, workload, streams.send)


def _check_taken(streams: BlockingStreams, workload: Workload, send: Callable[[list[Any]], int]) -> None:
    taken = send([streams.build(payload) for payload in _numbered(workload.payload)])
    _expect(workload, CHECKED_MESSAGES * workload.payload_bytes, taken)


def _check_blocking_exchange(streams: BlockingStreams, workload: Workload) -> None:
    _check_echoes(streams, workload, lambda messages: streams.exchange(iter(messages)))


def _check_blocking_exchange_many(streams: BlockingStreams, workload: Workload) -> None:
    _check_echoes(streams, workload, lambda messages: streams.exchange_many(_halves(messages)))


def _check_blocking_exchange_list(streams: BlockingStreams, workload: Workload) -> None:
    _check_echoes(streams, workload, streams.exchange)


def _check_echoes(
    streams: BlockingStreams,
    workload: Workload,
    exchange: Callable[[list[Any]], AbstractContextManager[Iterator[Any]]],
) -> None:
    payloads = _numbered(workload.payload)
    with exchange([streams.build(payload) for payload in payloads]) as echoes:
        received = [streams.plain(echo) for echo in echoes]
    _expect(workload, payloads, received)


def _halves(messages: list[Any]) -> Iterator[Sequence[Any]]:
    middle = len(messages) // 2
    yield messages[:middle]
    yield messages[middle:]


def _load_blocking_send(streams: BlockingStreams, tally: _Tally, workload: Workload) -> None:
    _expect_all_taken(workload, tally, streams.send(_until_over_blocking(streams, tally, workload.payload)))


def _load_blocking_send_many(streams: BlockingStreams, tally: _Tally, workload: Workload) -> None:
    _expect_all_taken(
        workload, tally, streams.send_many(_batches_until_over(streams, tally, workload.payload))
    )


def _expect_all_taken(workload: Workload, tally: _Tally, taken: int) -> None:
    if not tally.is_over:
        raise _ended_early(workload)
    _expect(workload, tally.sent * workload.payload_bytes, taken)


def _load_blocking_exchange(streams: BlockingStreams, tally: _Tally, workload: Workload) -> None:
    _count_echoes(workload, tally, streams.exchange(_until_over_blocking(streams, tally, workload.payload)))


def _load_blocking_exchange_many(streams: BlockingStreams, tally: _Tally, workload: Workload) -> None:
    _count_echoes(
        workload, tally, streams.exchange_many(_batches_until_over(streams, tally, workload.payload))
    )


def _count_echoes(workload: Workload, tally: _Tally, exchange: AbstractContextManager[Iterator[Any]]) -> None:
    with exchange as echoes:
        for _ in echoes:
            tally.received += 1
    if not tally.is_over:
        raise _ended_early(workload)
    _expect(workload, tally.sent, tally.received)


def _load_blocking_send_lists(streams: BlockingStreams, tally: _Tally, workload: Workload) -> None:
    while not tally.is_over:
        taken = streams.send(_built(streams, workload.payload, LISTED_MESSAGES))
        _expect(workload, LISTED_MESSAGES * workload.payload_bytes, taken)
        tally.sent += LISTED_MESSAGES


def _load_blocking_exchange_lists(streams: BlockingStreams, tally: _Tally, workload: Workload) -> None:
    while not tally.is_over:
        before = tally.received
        with streams.exchange(_built(streams, workload.payload, LISTED_MESSAGES)) as echoes:
            for _ in echoes:
                tally.received += 1
        _expect(workload, LISTED_MESSAGES, tally.received - before)


def _until_over_blocking(streams: BlockingStreams, tally: _Tally, payload: bytes) -> Iterator[Any]:
    build = streams.build
    while not tally.is_over:
        yield build(payload)
        tally.sent += 1


def _batches_until_over(streams: BlockingStreams, tally: _Tally, payload: bytes) -> Iterator[Sequence[Any]]:
    while not tally.is_over:
        yield _built(streams, payload, MANY_MESSAGES)
        tally.sent += MANY_MESSAGES


def _built(streams: BlockingStreams, payload: bytes, count: int) -> list[Any]:
    build = streams.build
    return [build(payload) for _ in range(count)]


_BLOCKING: Mapping[
    str,
    tuple[
        Callable[[BlockingStreams, Workload], None],
        Callable[[BlockingStreams, _Tally, Workload], None],
    ],
] = {
    "server_stream": (_check_blocking_receive, _load_blocking_receive),
    "client_stream": (_check_blocking_send, _load_blocking_send),
    "client_stream_many": (_check_blocking_send_many, _load_blocking_send_many),
    "client_stream_list": (_check_blocking_send_list, _load_blocking_send_lists),
    "both_ways": (_check_blocking_exchange, _load_blocking_exchange),
    "both_ways_many": (_check_blocking_exchange_many, _load_blocking_exchange_many),
    "both_ways_list": (_check_blocking_exchange_list, _load_blocking_exchange_lists),
}
