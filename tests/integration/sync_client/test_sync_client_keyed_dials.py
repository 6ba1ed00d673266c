"""A dial that is cut for want of time of its call says nothing of the endpoint: calls with more time wait for it."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fastrpc import Backoff, ClientConfig, SyncClient, Timeouts
from fastrpc.testing import serving
from tests.support.keyed import SELECTORS, Place, full_listener, places
from tests.support.ports import free_ports

#: An endpoint that counts as failed is not dialled again in a test.
CONFIG = ClientConfig(backoff=Backoff(first=60.0), timeouts=Timeouts(connect=50.0, call=50.0))


def served(target: str) -> Any:
    return serving(Place(target), address=target)


@contextlib.contextmanager
def two_endpoints(selector: str) -> Iterator[tuple[SyncClient, str, str, int]]:
    """Yield a client that is connected to the second of two endpoints, both, and a key of the first."""
    first, second = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    found = places(selector, [first, second], range(99))
    key = next(key for key, target in found.items() if target == first)
    with served(second), SyncClient([first, second], selector=selector, config=CONFIG) as client:
        assert client.with_options(endpoint=second).call(Place.name_of) == second
        yield client, first, second, key


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("count", [1, 3])
def test_calls_with_little_time_leave_an_endpoint_to_those_with_more(selector: str, count: int) -> None:
    with two_endpoints(selector) as (client, first, second, key):
        with full_listener(first) as passed_on:
            for _ in range(count):
                assert client.with_options(hash_key=key, timeout=1.0).call(Place.name_of) == second
            with serving(Place(first), address=passed_on):
                assert client.with_options(hash_key=key, timeout=40.0).call(Place.name_of) == first


# A ring may send the second of two calls at once to another endpoint.
@pytest.mark.parametrize("selector", ["jump_hash", "double_jump"])
def test_a_call_that_waits_for_the_dial_of_another_continues_with_its_own(selector: str) -> None:
    with two_endpoints(selector) as (client, first, second, key), ThreadPoolExecutor(2) as threads:
        [plan] = [each for each in client._state.pool.subchannels if str(each.endpoint) == first]
        with full_listener(first) as passed_on:
            short = threads.submit(client.with_options(hash_key=key, timeout=2.0).call, Place.name_of)
            while not plan.is_dialing:
                time.sleep(0.001)
            long = threads.submit(client.with_options(hash_key=key, timeout=40.0).call, Place.name_of)
            assert short.result() == second
            # Its dial is not refused meanwhile, as by a port at which no socket listens.
            with serving(Place(first), address=passed_on):
                assert long.result() == first


def test_a_change_that_meets_the_end_of_a_wait_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with SyncClient("tcp://127.0.0.1:1") as client:
        pool, waits = client._pool, []

        def wait(timeout: float) -> bool:
            waits.append(timeout)
            pool._tell_changed()
            return False

        monkeypatch.setattr(pool._changed, "wait", wait)
        with pool._changed:
            pool._wait_changed(time.monotonic() + 0.2)
    assert len(waits) == 1


@pytest.mark.parametrize("selector", SELECTORS)
def test_an_endpoint_that_refuses_within_the_time_counts_as_failed(selector: str) -> None:
    with two_endpoints(selector) as (client, first, second, key):
        assert client.with_options(hash_key=key, timeout=10.0).call(Place.name_of) == second
        with served(first):
            assert client.with_options(hash_key=key, timeout=40.0).call(Place.name_of) == second


@pytest.mark.parametrize("selector", SELECTORS)
def test_received_bytes_are_read_while_the_pool_is_free(
    selector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with two_endpoints(selector) as (client, first, _, key), served(first):
        unread = Unread(client._state.pool._changed)
        with monkeypatch.context() as patch:
            patch.setattr(type(client._state.pool), "connections", property(lambda _: [unread]))
            assert client.with_options(hash_key=key).call(Place.name_of) == first
        assert unread.was_free
        assert all(unread.was_free)


class Unread:
    """A connection whose SETTINGS have not come; it notes whether another thread can have the pool while it is read."""

    is_ready = False

    def __init__(self, lock: threading.Condition) -> None:
        self._lock = lock
        self.was_free: list[bool] = []

    def catch_up(self) -> None:
        with ThreadPoolExecutor(1) as others:
            is_free = others.submit(self._lock.acquire, False).result()
            if is_free:
                others.submit(self._lock.release).result()
        self.was_free.append(is_free)
