"""A stream of ours: what does not wait is the same by either client."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastrpc import method, service
from fastrpc._core.client.client_stream import ClientStream
from tests.support.either_client import CLIENTS, either


@service("tape")
class Tape:
    @method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @method
    async def count(self, most: int) -> AsyncIterator[int]:
        for number in range(most):
            yield number


def core_of(stream: Any) -> ClientStream:
    found = getattr(stream, "stream", stream)
    assert isinstance(found, ClientStream)
    return found


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_stream_knows_where_its_messages_go_before_it_begins(kind: str) -> None:
    async with either(kind, Tape()) as client:
        sends, reads = core_of(client.open(Tape.total)), core_of(client.stream(Tape.count, 3))
        assert (sends.takes_stream, sends.gives_stream) == (True, False)
        assert (reads.takes_stream, reads.gives_stream) == (False, True)
        for stream in (sends, reads):
            assert (stream.is_open, stream.has_sign) == (False, False)
            assert (stream._attempt, stream._window_bytes, stream._first_metadata) == (None, 0, None)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_the_first_message_is_the_sign_of_an_attempt(kind: str) -> None:
    async with either(kind, Tape()) as client:
        async with client.stream(Tape.count, 3) as numbers:
            assert await numbers.receive() == 0
            stream = core_of(numbers)
            assert (stream.is_open, stream.has_sign) == (True, True)
            assert stream._attempt is not None
            assert stream._window_bytes > 0
            assert stream._first_metadata is not None
