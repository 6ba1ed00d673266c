"""A call of a thread, and the attempts of its stream: its public state, and the state left after it."""

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fastrpc import Call, Proceed, SyncClient, method, service
from fastrpc._core.client.blocking_call import BlockingCall
from fastrpc.client.blocking.driving import drive
from fastrpc.testing import serving
from tests.support.either_client import CLIENTS, either


@service("bench")
class Bench:
    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.began = threading.Event()

    @method
    def first_waits(self) -> int:
        if self.began.is_set():
            return 2
        self.began.set()
        self.may_answer.wait(10)
        return 1

    @method
    async def count(self, most: int) -> AsyncIterator[int]:
        for number in range(most):
            yield number

    @method
    async def mul(self, left: int, right: int) -> int:
        return left * right


@pytest.fixture
def client() -> Iterator[SyncClient]:
    with serving(Bench, address="tcp://127.0.0.1:0") as target, SyncClient(target) as client:
        client.ready(10)
        yield client


def test_an_attempt_that_is_not_sent_leaves_its_stream_as_it_was(client: SyncClient) -> None:
    stream = client.stream(Bench.count, 3)
    assert list(stream) == [0, 1, 2]
    (session,) = client._pool.connections
    last = stream._attempt
    assert (stream.attempt_ended, last is None) == (True, False)
    session.retire()
    assert stream.origin._attempt_on(session, 1) is None  # type: ignore[attr-defined]
    assert stream.attempt_ended
    assert stream._attempt is last


class Racing:
    """Makes two attempts in two threads, the second once the first one has begun; the first answer counts."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.outcomes: list[Any] = []

    async def run(self, call: Any, pick: Any, attempt: Any) -> Any:
        def slow() -> None:
            self.outcomes.append(drive(attempt(endpoint)))

        endpoint = pick()
        thread = threading.Thread(target=slow)
        thread.start()
        assert self.bench.began.wait(10)
        try:
            return await attempt(pick())
        finally:
            self.bench.may_answer.set()
            thread.join(10)


def test_attempts_of_several_threads_lose_against_the_first_answer() -> None:
    bench = Bench()
    mode = Racing(bench)
    with serving(bench, address="tcp://127.0.0.1:0") as target:
        with SyncClient(target, fail_mode=mode) as client:
            assert client.call(Bench.first_waits) == 2
    assert mode.outcomes == [1]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_call_shows_its_method_and_its_progress(kind: str) -> None:
    seen: list[str] = []
    calls: list[Call] = []

    async def look(call: Call, proceed: Proceed) -> Any:
        calls.append(call)
        seen.append(repr(call))
        value = await proceed(call)
        seen.append(repr(call))
        return value

    async with either(kind, Bench, interceptors=[look]) as client:
        assert await client.call(Bench.mul, 6, 7) == 42
        assert seen == ["<ClientCall of bench.mul, waiting>", "<ClientCall of bench.mul, over>"]
        seen.clear()
        async with client.stream(Bench.count, 2) as numbers:
            assert await numbers.receive() == 0
            assert repr(calls[-1]) == "<ClientCall of bench.count, open>"
            assert [number async for number in numbers] == [1]
    assert seen == ["<ClientCall of bench.count, new>", "<ClientCall of bench.count, over>"]
    assert {type(call) is BlockingCall for call in calls} == {kind == "sync"}
