"""A stream of ours, and the messages that it hands over in one list."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fastrpc import EncodeError, SyncClient, method, service
from fastrpc._core.client.client_stream import ClientStream
from fastrpc.testing import serving
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


@service("pile")
class Pile:
    def __init__(self) -> None:
        self.seen: list[int] = []

    @method
    async def count(self, blocks: AsyncIterator[Any]) -> int:
        async for block in blocks:
            self.seen.append(len(block))
        return len(self.seen)


@pytest.fixture
def pile() -> Pile:
    return Pile()


@pytest.fixture
def client(pile: Pile) -> Iterator[SyncClient]:
    with serving(pile, address="tcp://127.0.0.1:0") as target, SyncClient(target) as client:
        client.ready(10)
        yield client


@pytest.mark.parametrize("as_parameter", [False, True])
def test_messages_over_one_write_keep_their_order(pile: Pile, client: SyncClient, as_parameter: bool) -> None:
    sizes = [70_000, 1, *range(400), 65_536, 0]
    blocks = [bytes(size) for size in sizes]
    if as_parameter:
        assert client.call(Pile.count, blocks) == len(sizes)
    else:
        with client.open(Pile.count) as stream:
            stream.send_many(blocks)
            stream.end()
            assert stream.receive() == len(sizes)
    assert pile.seen == sizes


def test_messages_before_a_wrong_one_go_out_and_the_stream_continues(pile: Pile, client: SyncClient) -> None:
    with client.open(Pile.count) as stream:
        with pytest.raises(EncodeError):
            stream.send_many([b"a", b"bc", object(), b"never"])
        stream.send(b"def")
        stream.end()
        assert stream.receive() == 3
    assert pile.seen == [1, 2, 3]


@pytest.mark.parametrize("blocks", [[object()], [b"a", object()], [*[bytes(70_000)] * 3, object()]])
def test_a_wrong_message_of_the_parameter_is_the_error_of_the_call(
    client: SyncClient, blocks: list[Any]
) -> None:
    with pytest.raises(EncodeError):
        client.call(Pile.count, blocks)
    assert client.call(Pile.count, [b"on"]) > 0


def test_an_empty_list_is_a_stream_without_messages(client: SyncClient) -> None:
    assert client.call(Pile.count, []) == 0
