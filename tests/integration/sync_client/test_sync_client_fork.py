"""A SyncClient that was used before a fork works in the child, and the parent's connections stay as they are."""

import contextlib
import gc
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    ClientConfig,
    Pool,
    SyncClient,
    UnavailableError,
    registries,
    selectors,
)
from fastrpc.testing import serving
from tests.support.descriptors import open_descriptors
from tests.support.desk import Desk
from tests.support.forking import in_child
from tests.support.ports import free_address
from tests.support.tap import Tap

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture(params=["tcp", "unix"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    place = "tcp://127.0.0.1:0" if request.param == "tcp" else f"unix://{tmp_path / 'socket'}"
    with serving(Desk, address=place) as address:
        yield address


def connections_of(client: SyncClient) -> list[Any]:
    return list(client._pool.connections)


def uses(client: SyncClient) -> None:
    """Make a call in every way there is."""
    assert client.call(Desk.mul, 6, 7) == 42
    assert client.request("desk.mul", 6, 7).attempts == 1
    assert client.call_many(Desk.mul, [(1, 2), (3, 4)]) == [2, 12]
    client.notify(Desk.note, 1)
    bound: Any = client.bind(Desk)
    assert bound.mul(6, 7) == 42
    client.ready(5)
    assert len(client.broadcast(Desk.mul, 6, 7)) == 1 if client._pool.endpoint_set else True


def test_a_used_client_works_in_the_child_and_in_the_parent(address: str) -> None:
    with SyncClient(address) as client:
        uses(client)
        before = connections_of(client)
        for _ in range(3):
            in_child(lambda: uses(client))
        uses(client)
        assert connections_of(client) == before
        assert client.stats()["totals"]["connections"] == 1


def test_views_made_before_the_fork_follow_into_the_child(address: str) -> None:
    with SyncClient(address) as client:
        view = client.with_options(timeout=3, metadata={"tenant": "acme"})
        keyed = view.with_options(hash_key="a")
        assert view.call(Desk.seen)["metadata"] == {"tenant": "acme"}

        def check() -> None:
            for each in (view, keyed, view.with_options(idempotent=True), client):
                assert each.call(Desk.mul, 6, 7) == 42
            assert keyed.call(Desk.seen)["metadata"] == {"tenant": "acme"}
            assert client.stats()["live"]["connections"] == 1

        in_child(check)
        assert view.call(Desk.seen)["metadata"] == {"tenant": "acme"}


def test_counters_begin_anew_in_the_child(address: str) -> None:
    with SyncClient(address) as client:
        for _ in range(5):
            client.call(Desk.mul, 6, 7)

        def check() -> None:
            assert client.stats()["totals"]["calls"] == 0
            client.call(Desk.mul, 6, 7)
            assert client.stats()["totals"]["calls"] == 1

        in_child(check)
        assert client.stats()["totals"]["calls"] == 5


def test_grandchildren_have_separate_connections(address: str) -> None:
    with SyncClient(address) as client:
        client.call(Desk.mul, 6, 7)

        def child() -> None:
            assert client.call(Desk.mul, 6, 7) == 42
            mine = connections_of(client)

            def grandchild() -> None:
                assert client.call(Desk.mul, 6, 7) == 42
                assert connections_of(client) != mine

            in_child(grandchild)
            in_child(lambda: in_child(lambda: uses(client)))
            assert connections_of(client) == mine
            assert client.call(Desk.mul, 6, 7) == 42

        in_child(child)
        assert client.call(Desk.mul, 6, 7) == 42


def test_child_of_a_parent_whose_threads_call_works(address: str) -> None:
    config = ClientConfig(pool=Pool(connections_per_endpoint=2))
    with SyncClient(address, config=config) as client, ThreadPoolExecutor(4) as threads:
        stopping = threading.Event()

        def ask() -> int:
            asked = 0
            while not stopping.is_set():
                assert client.call(Desk.echo, b"x" * (asked % 70_000)) == b"x" * (asked % 70_000)
                asked += 997
            return asked

        asking = [threads.submit(ask) for _ in range(4)]
        for _ in range(8):
            in_child(lambda: uses(client))
        stopping.set()
        assert all(asked.result() > 0 for asked in asking)


def test_several_threads_may_begin_to_use_the_client_in_the_child(address: str) -> None:
    with SyncClient(address) as client:
        client.call(Desk.mul, 6, 7)

        def child() -> None:
            barrier = threading.Barrier(8)

            def use() -> int:
                barrier.wait()
                return client.call(Desk.mul, 6, 7)

            with ThreadPoolExecutor(8) as threads:
                assert [one.result() for one in [threads.submit(use) for _ in range(8)]] == [42] * 8
            assert client.stats()["totals"]["connections"] == 1

        in_child(child)


def test_child_of_multiprocessing_works(address: str) -> None:
    context: Any = multiprocessing.get_context("fork")
    with SyncClient(address) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.call(Desk.mul, 6, 7)
        with context.Pool(2, initializer=lambda: client.call(Desk.mul, 1, 1)) as pool:
            # Pickling takes functions of modules only.
            global _shared
            _shared = client
        with context.Pool(2) as pool:
            assert pool.map(_product, range(20)) == [2 * number for number in range(20)]
        assert client.call(Desk.mul, 6, 7) == 42


_shared: SyncClient


def _product(number: int) -> int:
    return _shared.call(Desk.mul, number, 2)


@fastrpc.service("forker")
class Forker:
    def __init__(self) -> None:
        self.client: SyncClient

    @fastrpc.method
    def fork(self) -> int:
        """Call, fork, and call again on both sides, in a thread of the server."""
        self.client.call(Desk.mul, 6, 7)
        in_child(lambda: uses(self.client))
        return self.client.call(Desk.mul, 6, 7)


def test_a_handler_in_a_thread_may_fork(address: str) -> None:
    forker = Forker()
    with serving(forker) as place, SyncClient(place) as client, SyncClient(address) as forker.client:
        for _ in range(3):
            assert client.call(Forker.fork) == 42


# Effects seen by the parent


@pytest.mark.parametrize("action", ["call", "close", "leave", "drop", "nothing", "call and close"])
def test_actions_of_a_child_are_not_seen_on_the_connection_of_the_parent(action: str) -> None:
    with serving(Desk) as address, Tap(address) as tap:
        held = [SyncClient(tap.address)]
        client = held[0]
        client.call(Desk.mul, 6, 7)
        actions: dict[str, Callable[[], object]] = {
            "call": lambda: held[0].call(Desk.mul, 6, 7),
            "close": lambda: held[0].close(),
            "leave": lambda: held[0].__exit__(None, None, None),
            "drop": lambda: (held.clear(), gc.collect()),
            "nothing": lambda: None,
            "call and close": lambda: (held[0].call(Desk.mul, 6, 7), held[0].close()),
        }
        before = bytes(tap.sent[0])
        del client
        in_child(actions[action])
        assert bytes(tap.sent[0]) == before
        assert not tap.ended[0].is_set()
        assert held[0].call(Desk.mul, 6, 7) == 42
        assert bytes(tap.sent[0]) != before
        held[0].close()


def test_descriptors_of_the_parent_are_closed_in_the_child(address: str) -> None:
    with SyncClient(address) as client:
        client.call(Desk.mul, 6, 7)

        def child() -> None:
            before = open_descriptors()
            client.close()
            assert before - open_descriptors() == 1

        in_child(child)
        assert client.call(Desk.mul, 6, 7) == 42


@pytest.mark.parametrize("was_used", [True, False])
def test_closing_in_the_child_never_raises_and_closes(address: str, was_used: bool) -> None:
    client = SyncClient(address)
    if was_used:
        client.call(Desk.mul, 6, 7)

    def child() -> None:
        client.close()
        client.close()
        client.__exit__(None, None, None)
        with pytest.raises(UnavailableError, match="closed"):
            client.call(Desk.mul, 6, 7)
        client.close()

    in_child(child)
    assert client.call(Desk.mul, 6, 7) == 42
    client.close()

    def still_closed() -> None:
        with pytest.raises(UnavailableError, match="closed"):
            client.call(Desk.mul, 6, 7)

    in_child(still_closed)


# Registries, selectors, other clients and servers


def test_a_registry_given_by_url_is_opened_anew_in_the_child(address: str) -> None:
    if not address.startswith("tcp"):
        pytest.skip("a list of static:// names TCP addresses")
    with SyncClient(f"static://{address.removeprefix('tcp://')}/desk") as client:
        assert client.call(Desk.mul, 6, 7) == 42
        in_child(lambda: uses(client))
        assert client.call(Desk.mul, 6, 7) == 42


def test_a_registry_object_that_was_used_raises_in_the_child(address: str) -> None:
    registry = registries.StaticRegistry({"desk": [address]})
    with SyncClient("desk", registry=registry) as client:
        assert client.call(Desk.mul, 6, 7) == 42

        def child() -> None:
            for _ in range(2):
                with pytest.raises(RuntimeError, match="URL"):
                    client.call(Desk.mul, 6, 7)
            with pytest.raises(RuntimeError, match="URL"):
                client.stats()
            client.close()
            with pytest.raises(UnavailableError, match="closed"):
                client.call(Desk.mul, 6, 7)

        in_child(child)
        assert client.call(Desk.mul, 6, 7) == 42


def test_a_registry_object_that_was_not_used_works_in_the_child(address: str) -> None:
    with SyncClient("desk", registry=registries.StaticRegistry({"desk": [address]})) as client:
        in_child(lambda: uses(client))
        assert client.call(Desk.mul, 6, 7) == 42


@pytest.mark.parametrize("was_used", [True, False])
@pytest.mark.parametrize("selector", ["random", selectors.Random()], ids=["name", "object"])
def test_children_pick_by_random_numbers_of_their_own(selector: Any, was_used: bool) -> None:
    with contextlib.ExitStack() as stack:
        addresses = [stack.enter_context(serving(Desk)) for _ in range(3)]
        client = stack.enter_context(SyncClient(addresses, selector=selector))
        if was_used:
            client.call(Desk.whoami)
        orders = set()
        for _ in range(3):
            reading, writing = os.pipe()

            def picks() -> None:
                order = [str(client.request(Desk.whoami).endpoint)[-2:] for _ in range(24)]
                os.write(writing, " ".join(order).encode())  # noqa: B023

            in_child(picks)
            os.close(writing)
            with os.fdopen(reading, "rb") as pipe:
                orders.add(pipe.read())
    assert len(orders) == 3


def test_a_breaker_that_is_open_in_the_parent_is_closed_in_the_child() -> None:
    address = free_address()
    with SyncClient([address, address.replace("127.0.0.1", "localhost")]) as client:
        for _ in range(20):
            with pytest.raises(UnavailableError):
                client.call(Desk.mul, 6, 7)

        def child() -> None:
            with serving(Desk, address=address):
                assert client.call(Desk.mul, 6, 7) == 42

        in_child(child)
