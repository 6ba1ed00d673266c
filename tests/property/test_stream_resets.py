"""Streams that are reset at random points: mid-message, unread, during a cut message, after GOAWAY.

Both ends are real connections without sockets; bytes are carried in random slices. Whatever happens, nobody breaks the
protocol, no call is left, and the credit of the connection is exact to the byte on both sides.
"""

import contextlib
from random import Random
from typing import Any

import pytest

from fastrpc.errors import LocalProtocolError
from fastrpc_harness.recorded_stream import RecordedStream
from tests.conftest import Scale
from tests.support.linked_streams import LinkedStreams
from tests.support.wire_layout import FLAG_STREAM_IN, FLAG_STREAM_OUT

WINDOW = 16_384
POOL = 16_777_216
CONNECTION_WINDOW = 16 * 1024 * 1024

SIZES = (0, 1, 100, 1_000, 5_000, 16_300, 20_000, 70_000)
SHAPES = (FLAG_STREAM_IN, FLAG_STREAM_OUT, FLAG_STREAM_IN | FLAG_STREAM_OUT)

#: Streams of one connection before it drains, and at a time.
STREAMS, TOGETHER = 250, 12

CANCELLED, ABORTED = 1, 10


class Resets:
    """The life of one connection, all of whose streams are reset."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.link = LinkedStreams(window=WINDOW, pool=POOL)
        self.client, self.server = self.link.client, self.link.server
        self.base = [pools(connection) for connection in (self.client, self.server)]
        self.near: dict[int, RecordedStream] = {}
        self.far: dict[int, RecordedStream] = {}
        # Opened, and without an id until their first frame is written.
        self.unnumbered: list[RecordedStream] = []
        self.shapes: dict[RecordedStream, int] = {}
        self.opened = 0

    def run(self) -> None:
        acts = [self.open, self.send, self.send, self.take, self.carry_some, self.carry_some, self.reset]
        while self.opened < STREAMS:
            self.random.choice(acts)()
            self.check_alive()
        # A call opened from here on meets a server that drains, or is never sent.
        self.server.begin_drain()
        last = self.opened + 2 * TOGETHER
        # At once where requests may be under way that it has not seen: these were not started.
        ends_at = self.random.choice((self.opened, last))
        while self.opened < last:
            if self.opened >= ends_at:
                self.server.end_drain()
            self.random.choice(acts)()
            self.check_alive()
        self.server.end_drain()
        self.finish()

    def check_alive(self) -> None:
        for connection in (self.client, self.server):
            assert not connection.is_closed, connection.closed_text

    # Possible steps

    def open(self) -> None:
        if len(self.near) + len(self.unnumbered) >= TOGETHER:
            self.reset()
            return
        payload = bytes(self.random.choice((0, 10, 100_000)))
        shape = self.random.choice(SHAPES)
        stream = RecordedStream(self.client, self.client.open_call(b"chat.join", payload, flags=shape))
        self.shapes[stream] = shape
        self.unnumbered.append(stream)
        self.opened += 1
        self.number()

    def number(self) -> None:
        for stream in [stream for stream in self.unnumbered if stream.call.id]:
            self.unnumbered.remove(stream)
            self.near[stream.call.id] = stream

    def pick(self) -> RecordedStream | None:
        streams = [*self.near.values(), *self.far.values()]
        return self.random.choice(streams) if streams else None

    def send(self) -> None:
        stream = self.pick()
        if stream is None:
            return
        near = stream.call.id in self.near and self.near[stream.call.id] is stream
        if not self.shapes[stream] & (FLAG_STREAM_IN if near else FLAG_STREAM_OUT):
            return
        if self.state(stream, near) in ("gone", "cancelled", "given up", "new"):
            return
        for _ in range(self.random.randrange(1, 20)):
            if stream.would_wait:
                return
            stream.send_message(bytes(self.random.choice(SIZES)))

    def state(self, stream: RecordedStream, near: bool) -> str:
        return (self.client if near else self.server).state_of(stream.call.id)

    def take(self) -> None:
        stream = self.pick()
        while stream is not None and stream.waiting and self.random.random() < 0.9:
            stream.take_now()

    def reset(self) -> None:
        """The caller gives a call up, or the callee ends it early."""
        if self.unnumbered and self.random.random() < 0.3:
            self.give_up(self.unnumbered.pop())
        elif self.far and self.random.random() < 0.4:
            self.answer(self.random.choice(list(self.far)), ABORTED)
        elif self.near:
            self.give_up(self.near.pop(self.random.choice(list(self.near))))

    def give_up(self, stream: RecordedStream) -> None:
        self.client.cancel(stream.call, self.random.randrange(5))
        # Before or after the CANCEL it drops untaken messages.
        stream.end()

    def answer(self, call: int, status: int) -> None:
        stream = self.far.pop(call)
        if self.random.random() < 0.5:
            stream.end()
        self.server.respond_error(stream.call, status)
        stream.end()

    # Traffic on the wire

    def carry_some(self) -> None:
        """Carry a random part of the waiting bytes of either side, cut anywhere."""
        for source, target in ((self.client, self.server), (self.server, self.client)):
            data = source.data_to_send(self.random.choice((0, 0, 10_000, -1)))
            while data:
                cut = self.random.choice((1, 7, 16, 300, 5_000, len(data)))
                self.hear(target, target.receive_data(data[:cut]))
                data = data[cut:]
        self.number()

    def hear(self, connection: Any, events: list[Any]) -> None:
        for event in events:
            if connection is self.client:
                if event[0] in ("response", "failed", "not_started") and event[1] in self.near:
                    self.near.pop(event[1]).end()
            elif event[0] == "request":
                self.adopt(event[1], event[3])
            elif event[0] == "cancel" and event[1] in self.far:
                self.answer(event[1], CANCELLED)
            elif event[0] in ("failed", "refused") and event[1] in self.far:
                self.far.pop(event[1]).end()

    def adopt(self, call: int, shape: int) -> None:
        """A call arrived: messages that came with it are taken already."""
        theirs = self.server.find_call(call)
        assert theirs is not None
        self.far[call] = RecordedStream(self.server, theirs)
        self.shapes[self.far[call]] = shape
        with contextlib.suppress(LocalProtocolError):
            while True:
                self.server.take_message(call)

    def finish(self) -> None:
        """Reset the remaining streams, and let every byte arrive."""
        for stream in self.unnumbered:
            self.give_up(stream)
        self.unnumbered.clear()
        while self.near or self.far or self.client.calls or self.server.calls:
            for call in list(self.near):
                self.give_up(self.near.pop(call))
            for call in list(self.far):
                self.answer(call, ABORTED)
            self.carry_all()
        self.carry_all()

    def carry_all(self) -> None:
        while True:
            to_server, to_client = self.client.data_to_send(), self.server.data_to_send()
            if not to_server and not to_client:
                return
            self.hear(self.server, self.server.receive_data(to_server))
            self.hear(self.client, self.client.receive_data(to_client))


def pools(connection: Any) -> tuple[int, int]:
    """Return the free bytes of the stream pool, and of its share for windows that grow."""
    return connection.assembler.stream_pool_left, connection.assembler.growth_left


def check_base(resets: Resets) -> None:
    for sender, receiver in ((resets.client, resets.server), (resets.server, resets.client)):
        may_send = sender.credit[0]
        _, left, owed = receiver.credit
        assert may_send == left
        assert left + owed == CONNECTION_WINDOW
    assert [pools(connection) for connection in (resets.client, resets.server)] == resets.base
    for connection in (resets.client, resets.server):
        assert connection.calls == []
        assert connection.sender.queued_bytes == 0
        assert connection.callee.streams == 0
        assert (connection.callee.open_requests, connection.caller.open_responses) == (0, 0)


@pytest.mark.parametrize("seed", range(10))
def test_credit_and_tables_are_exact_after_resets_at_random_points(seed: int, scale: Scale) -> None:
    # In a longer run ten times ten thousand streams.
    for life in range(scale(4)):
        resets = Resets(seed * 1_000 + life)
        resets.run()
        check_base(resets)
