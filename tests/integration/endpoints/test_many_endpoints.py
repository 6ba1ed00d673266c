"""A list of thousands of endpoints: few are dialled at a time, and the good one is found and used meanwhile."""

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, FastRPCError, SyncClient, Timeouts
from fastrpc.client.blocking.fan_out import MOST_THREADS
from fastrpc.client.dial_queue import MOST_DIALS
from fastrpc.testing import serving
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.who import Who

pytestmark = pytest.mark.one_loop

MANY = 2_000

#: Enough for calls to all: many times as many as are dialled at once.
SEVERAL = 500


@pytest.fixture
def nobody() -> Iterator[list[str]]:
    """Addresses of this machine at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("0.0.0.0", 0))
        port = bound.getsockname()[1]
        yield [f"tcp://127.1.{number // 200}.{number % 200 + 1}:{port}" for number in range(MANY)]


def under_way(client: Client) -> int:
    return client._pool.dials.under_way  # type: ignore[attr-defined]


async def test_dials_at_the_same_time_have_a_limit(nobody: list[str]) -> None:
    most = 0
    async with served(Who("one"), scheme="tcp") as target:
        async with Client([*nobody, target]) as client:
            call = asyncio.ensure_future(
                client.with_options(timeout=60, wait_for_ready=True).call(Who.name_of)
            )
            while not call.done():
                most = max(most, under_way(client))
                await asyncio.sleep(0)
            assert await call == "one"
    assert 0 < most <= MOST_DIALS


async def test_a_good_endpoint_is_used_while_others_are_dialled(nobody: list[str]) -> None:
    async with served(Who("one"), scheme="tcp") as target:
        async with Client([*nobody[:10], target, *nobody[10:]]) as client:
            view = client.with_options(timeout=60, wait_for_ready=True)
            for _ in range(20):
                assert await view.call(Who.name_of) == "one"
            # All other endpoints have not failed yet.
            pool = client._pool  # type: ignore[attr-defined]
            assert any(subchannel.error is None and not subchannel.live for subchannel in pool.subchannels)


async def test_an_endpoint_that_a_call_names_is_dialled_first(nobody: list[str]) -> None:
    async with served(Who("one"), scheme="tcp") as target:
        async with Client([*nobody, target]) as client:
            client._pool.bind(asyncio.get_running_loop())  # type: ignore[attr-defined]
            client._pool.start()  # type: ignore[attr-defined]
            assert await client.with_options(endpoint=target, timeout=60).call(Who.name_of) == "one"
            pool = client._pool  # type: ignore[attr-defined]
            assert sum(subchannel.error is not None for subchannel in pool.subchannels) < MANY / 2


async def test_closing_meanwhile_leaves_nothing(nobody: list[str]) -> None:
    client = Client(nobody)
    call = asyncio.ensure_future(client.with_options(wait_for_ready=True).call(Who.name_of))
    await eventually(lambda: under_way(client) > 0)
    await client.close()
    with pytest.raises(FastRPCError):
        await call
    await eventually(lambda: under_way(client) == 0)
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert not [name for name in names if name.startswith("fastrpc connect")]


async def test_broadcast_reaches_every_endpoint_and_reports_each_outcome(nobody: list[str]) -> None:
    async with served(Who("one"), scheme="tcp") as target, Client([*nobody[:SEVERAL], target]) as client:
        outcomes = await client.with_options(timeout=60).broadcast(Who.name_of)
    assert len(outcomes) == SEVERAL + 1
    values = [outcome for outcome in outcomes.values() if not isinstance(outcome, FastRPCError)]
    assert [reply.value for reply in values] == ["one"]


async def test_fork_takes_the_only_endpoint_that_answers(nobody: list[str]) -> None:
    async with served(Who("one"), scheme="tcp") as target, Client([*nobody[:SEVERAL], target]) as client:
        assert await client.with_options(timeout=60).fork(Who.name_of) == "one"


def test_a_blocking_broadcast_takes_few_threads(nobody: list[str]) -> None:
    most, before = 0, threading.active_count()
    with serving(Who("one")) as target, SyncClient([*nobody[:300], target]) as client:
        outcomes: list[dict[fastrpc.Endpoint, object]] = []
        asking = threading.Thread(
            target=lambda: outcomes.append(client.with_options(timeout=60).broadcast(Who.name_of))
        )
        asking.start()
        while asking.is_alive():
            most = max(most, threading.active_count() - before)
            asking.join(0.001)
    (found,) = outcomes
    assert len(found) == 301
    assert sum(not isinstance(outcome, FastRPCError) for outcome in found.values()) == 1
    # Beside them the one that asks, and the server's own.
    assert most <= MOST_THREADS + 10


def test_a_blocking_fork_takes_the_only_endpoint_that_answers(nobody: list[str]) -> None:
    with serving(Who("one")) as target, SyncClient([*nobody[:300], target]) as client:
        assert client.with_options(timeout=60).fork(Who.name_of) == "one"


@fastrpc.service("slow")
class Slow:
    """Raises a signal in the main thread once the given number of calls have begun; answers only after its release."""

    def __init__(self, calls: int) -> None:
        self.begun = 0
        self.released = threading.Event()
        self._calls = calls

    @fastrpc.method
    async def wait(self) -> int:
        self.begun += 1
        if self.begun == self._calls:
            os.kill(os.getpid(), signal.SIGUSR1)
        while not self.released.is_set():
            await asyncio.sleep(0)
        return self.begun


class LeavingError(Exception):
    """The error that a signal handler raises."""


@pytest.fixture
def raising_signal() -> Iterator[None]:
    def leave(*_: object) -> None:
        raise LeavingError

    before = signal.signal(signal.SIGUSR1, leave)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("raising_signal")
def test_a_blocking_broadcast_that_its_caller_leaves_begins_no_more_calls() -> None:
    slow, threads = Slow(MOST_THREADS), threading.active_count()
    with serving(slow, address="tcp://0.0.0.0:0") as target:
        port = target.rpartition(":")[2]
        targets = [f"tcp://127.3.0.{number + 1}:{port}" for number in range(3 * MOST_THREADS)]
        with SyncClient(targets) as client:
            with pytest.raises(LeavingError):
                client.with_options(timeout=60).broadcast(Slow.wait)
            slow.released.set()
            # The server keeps one.
            while threading.active_count() > threads + 1:
                time.sleep(0)
    assert slow.begun == MOST_THREADS


@pytest.mark.measures
def test_all_calls_of_a_blocking_broadcast_share_one_deadline() -> None:
    with socket.socket() as listening:
        # It accepts by its backlog and never answers.
        listening.bind(("0.0.0.0", 0))
        listening.listen(1_000)
        port = listening.getsockname()[1]
        targets = [f"tcp://127.2.0.{number + 1}:{port}" for number in range(3 * MOST_THREADS)]
        with SyncClient(targets, config=ClientConfig(timeouts=Timeouts(call=1.0))) as client:
            began = time.monotonic()
            outcomes = client.broadcast("who.name_of")
            assert time.monotonic() - began < 2.5
    assert len(outcomes) == 3 * MOST_THREADS
    assert all(isinstance(outcome, fastrpc.DeadlineExceededError) for outcome in outcomes.values())
