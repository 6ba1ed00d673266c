"""A receiver that pauses in front of a message keeps its place."""

import time
from typing import Any

import pytest

from fastrpc_harness.recorded_stream import RecordedStream
from tests.support.linked_streams import LinkedStreams


def paused(stream: RecordedStream) -> Any:
    """Return the awaitable of a reader that pauses in front of a message, as its slice is used up."""
    # The first message that is taken begins a slice, of 5 ms.
    with pytest.raises(StopIteration):
        stream.receive().send(None)
    return paused_again(stream)


def paused_again(stream: RecordedStream) -> Any:
    until = time.perf_counter() + 0.02
    while time.perf_counter() < until:
        pass
    reader = stream.receive()
    assert reader.send(None) is None
    return reader


async def test_second_reader_is_refused_while_the_first_one_pauses() -> None:
    link = LinkedStreams()
    near, far = link.open()
    for number in range(4):
        far.send_message(b"%d" % number)
    link.carry()
    first = paused(near)
    for second in (near.receive, near.receive_many, near.__anext__):
        with pytest.raises(RuntimeError, match="one receiver at a time"):
            await second()
    assert await first == b"1"
    assert await near.receive() == b"2"


async def test_reader_that_is_cancelled_in_a_pause_leaves_its_place() -> None:
    link = LinkedStreams()
    near, far = link.open()
    for number in range(3):
        far.send_message(b"%d" % number)
    link.carry()
    paused(near).close()
    with pytest.raises(KeyError):
        paused_again(near).throw(KeyError("over"))
    assert await near.receive_many() == [b"1", b"2"]


async def test_reader_that_pauses_is_told_of_the_end() -> None:
    link = LinkedStreams()
    near, far = link.open()
    for number in range(2):
        far.send_message(b"%d" % number)
    link.carry()
    first = paused(near)
    near.end(ConnectionResetError("gone"))
    with pytest.raises(ConnectionResetError):
        await first
