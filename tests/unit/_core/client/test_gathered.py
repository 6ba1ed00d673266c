"""Messages of a blocking stream that are there already: several in a write, in their order, up to a wrong one."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fastrpc import EncodeError, SyncClient, method, service
from fastrpc.testing import serving


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


def test_messages_before_a_wrong_one_go_out_and_the_stream_goes_on(pile: Pile, client: SyncClient) -> None:
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
