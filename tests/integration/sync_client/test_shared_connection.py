"""Threads that share one connection of a blocking client, and the work that they leave to each other."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import fastrpc
from fastrpc import ClientConfig, DeadlineExceededError, Limits, ServerConfig, SyncClient
from fastrpc.testing import serving
from tests.conftest import Scale
from tests.support.desk import Desk
from tests.support.feed import Feed

MIB = 1024 * 1024
LIMITS = Limits(message_bytes=32 * MIB)

_numbers = itertools.count()


@pytest.fixture(params=["tcp", "memory"])
def client(request: pytest.FixtureRequest) -> Iterator[SyncClient]:
    address = "tcp://127.0.0.1:0" if request.param == "tcp" else f"memory://shared-{next(_numbers)}"
    with (
        serving(Desk(), address=address, config=ServerConfig(limits=LIMITS)) as served,
        SyncClient(served, config=ClientConfig(limits=LIMITS)) as client,
    ):
        yield client


def test_a_large_request_is_sent_to_its_end_while_other_threads_read_and_sleep(
    client: SyncClient, scale: Scale
) -> None:
    data = bytes(24 * MIB)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(client.with_options(timeout=None).call, Desk.wait) for _ in range(3)]
        try:
            for _ in range(scale(3)):
                assert client.call(Desk.echo, data) == data
        finally:
            client.close()
        assert all(isinstance(call.exception(), fastrpc.UnavailableError) for call in waiting)


def test_a_stream_whose_time_ends_before_it_is_sent_harms_no_other_stream() -> None:
    config = ServerConfig(limits=Limits(streams=1))
    with serving(Feed, config=config) as target, SyncClient(target) as client:
        client.ready(timeout=10)
        [session] = client._pool.connections
        with client.open(Feed.total) as first:
            first.send(1)
            late = client.with_options(timeout=0.2).open(Feed.total)
            with contextlib.suppress(DeadlineExceededError):
                # It waits for the place of the first one.
                late.begin()
            while late.origin.remaining():
                time.sleep(0.01)
            first.end()
            assert first.receive() == 1
        with pytest.raises(DeadlineExceededError):
            late.send(2)
        assert client.call(Feed.unary, 3) == 3
        assert client._pool.connections == [session]
