"""The blocking client against a real server on a thread, over every transport."""

import asyncio
import inspect
import itertools
import os
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest

import fastrpc
from fastrpc import (
    CallError,
    ClientConfig,
    DeadlineExceededError,
    EncodeError,
    Limits,
    Pool,
    ServerConfig,
    Status,
    SyncClient,
)
from fastrpc.hosted.verbs import seconds_left
from fastrpc.testing import serving
from tests.conftest import Scale
from tests.support.desk import Desk

_numbers = itertools.count()


@pytest.fixture
def desk() -> Desk:
    return Desk()


def address_of(scheme: str, folder: Path) -> str:
    return {
        "tcp": "tcp://127.0.0.1:0",
        "unix": f"unix://{folder / 'socket'}",
        "memory": f"memory://sync-{next(_numbers)}",
    }[scheme]


@pytest.fixture(params=["tcp", "unix", "memory"])
def address(request: pytest.FixtureRequest, desk: Desk, tmp_path: Path) -> Iterator[str]:
    with serving(desk, address=address_of(request.param, tmp_path)) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[SyncClient]:
    with SyncClient(address) as client:
        yield client


@pytest.fixture
def tcp_address(desk: Desk) -> Iterator[str]:
    with serving(desk) as address:
        yield address


# The verbs


def test_call_returns_the_value(client: SyncClient) -> None:
    assert client.call(Desk.mul, 6, 7) == 42
    assert client.call(Desk.mul, 6, b=8) == 48
    assert client.call(Desk.mul, 6) == 12


def test_call_by_name(client: SyncClient) -> None:
    assert client.call("desk.mul", 6, b=7) == 42


def test_bound_contract_blocks(client: SyncClient) -> None:
    desk: Any = client.bind(Desk)
    assert desk.mul(6, 7) == 42


def test_example_of_bind_is_a_typed_proxy_of_an_asynchronous_service() -> None:
    _, _, example = (inspect.getdoc(SyncClient.bind) or "").partition("::\n")
    definitions, _, use = textwrap.dedent(example).strip().rpartition("\n")
    names: dict[str, Any] = {"__name__": __name__, "fastrpc": fastrpc, "Protocol": Protocol}
    exec(definitions, names)
    assert inspect.iscoroutinefunction(names["PricesFromStore"].price)
    assert not inspect.iscoroutinefunction(names["Prices"].price)
    with serving(names["PricesFromStore"]) as address, SyncClient(address) as names["client"]:
        assert eval(use, names) == 3


def test_request_returns_the_value_and_the_facts_of_the_call(client: SyncClient) -> None:
    reply = client.request(Desk.seen)
    assert reply.metadata["seen"] == "yes"
    assert reply.attempts == 1
    assert 0 < reply.seconds < 5
    assert str(reply.endpoint).partition(":")[0] in {"tcp", "unix", "memory"}


def test_options_reach_the_server(client: SyncClient) -> None:
    seen = client.with_options(timeout=3, metadata={"a": "b"}).call(Desk.seen)
    assert 0 < seen["remaining"] <= 3
    assert seen["metadata"] == {"a": "b"}


def test_notify_is_handed_over(client: SyncClient, desk: Desk) -> None:
    client.notify(Desk.note, 7)
    assert desk.is_noted.wait(20)
    assert desk.noted == [7]


def test_batch_keeps_its_order(client: SyncClient) -> None:
    assert client.call_many(Desk.mul, [(number, 2) for number in range(1000)]) == list(range(0, 2000, 2))
    assert client.call_many(Desk.mul, []) == []


def test_batch_raises_the_first_error_after_all_ended(client: SyncClient) -> None:
    with pytest.raises(CallError) as caught:
        client.call_many(Desk.fail, [(5,), (6,)])
    assert caught.value.status is Status.NOT_FOUND


def test_batch_returns_errors_in_their_place(client: SyncClient) -> None:
    values = client.call_many(Desk.fail, [(5,), (6,)], return_exceptions=True)
    assert [value.status for value in values] == [Status.NOT_FOUND, Status.ALREADY_EXISTS]


def test_batch_above_the_servers_limit_waits_its_turn(desk: Desk) -> None:
    config = ServerConfig(limits=Limits(concurrent_calls=3, streams=1))
    with serving(desk, config=config) as address, SyncClient(address) as client:
        assert client.call_many(Desk.mul, [(number, 1) for number in range(50)]) == list(range(50))


def test_batch_has_one_deadline(client: SyncClient) -> None:
    values = client.with_options(timeout=0.1).call_many(Desk.wait, [()] * 5, return_exceptions=True)
    assert [type(value) for value in values] == [DeadlineExceededError] * 5


def test_compressed_arguments_and_answers(client: SyncClient) -> None:
    data = bytes(300_000)
    view = client.with_options(compressor="gzip")
    assert view.call(Desk.echo, data) == data
    assert view.call_many(Desk.echo, [(data,), (b"",)]) == [data, b""]


@pytest.mark.parametrize("size", [0, 1, 16_384, 70_000, 1 << 20, 9 << 20])
def test_large_payloads_go_both_ways(client: SyncClient, size: int) -> None:
    data = os.urandom(size)
    assert client.call(Desk.echo, data) == data


# Errors


def test_handlers_error_arrives(client: SyncClient) -> None:
    with pytest.raises(CallError) as caught:
        client.call(Desk.fail, 5)
    assert caught.value.status is Status.NOT_FOUND
    assert caught.value.details == {"status": 5}
    assert caught.value.processed == "yes"


def test_crash_is_internal_and_keeps_its_secret(client: SyncClient) -> None:
    with pytest.raises(CallError) as caught:
        client.call(Desk.crash)
    assert caught.value.status is Status.INTERNAL
    assert "secret" not in str(caught.value)


def test_unknown_method_names_the_nearest(client: SyncClient) -> None:
    with pytest.raises(CallError, match=r"desk\.mul") as caught:
        client.call("desk.mull", 1)
    assert caught.value.status is Status.UNIMPLEMENTED


def test_wrong_arguments_fail_here(client: SyncClient) -> None:
    with pytest.raises(TypeError):
        client.call(Desk.mul)  # type: ignore[call-overload]


def test_wrong_types_fail_at_the_server(client: SyncClient) -> None:
    with pytest.raises(CallError, match="a: expected `int`") as caught:
        client.call("desk.mul", "six", 7)
    assert caught.value.status is Status.INVALID_ARGUMENT


def test_argument_over_our_own_limit_fails_before_sending(tcp_address: str) -> None:
    with (
        SyncClient(tcp_address, config=ClientConfig(limits=Limits(message_bytes=100_000))) as client,
        pytest.raises(EncodeError, match="at most 100000"),
    ):
        client.call(Desk.echo, bytes(200_000))


# Deadlines


def test_deadline_ends_the_call_and_its_handler(client: SyncClient, desk: Desk) -> None:
    with pytest.raises(DeadlineExceededError) as caught:
        client.with_options(timeout=0.5).call(Desk.wait)
    assert caught.value.processed == "unknown"
    assert desk.is_cancelled.wait(20)
    assert client.call(Desk.mul, 6, 7) == 42


def test_surrounding_timeout_counts(client: SyncClient) -> None:
    client.call(Desk.mul, 1)
    with fastrpc.timeout(30):
        assert client.call(Desk.seen)["remaining"] <= 30
    with fastrpc.timeout(0.1):
        with pytest.raises(DeadlineExceededError):
            client.call(Desk.wait)
        # The server counts the call from before a stall of the machine, and may end it before the deadline.
        while seconds_left():
            time.sleep(0)
        with pytest.raises(DeadlineExceededError, match="deadline has passed"):
            client.call(Desk.mul, 1)


def test_deadlines_of_many_threads_are_their_own(client: SyncClient) -> None:
    client.call(Desk.mul, 1)
    with ThreadPoolExecutor(8) as pool:
        patient = [pool.submit(client.with_options(timeout=60).call, Desk.wait) for _ in range(4)]
        # Shorter ones could be over before a busy server starts the calls.
        hasty = [pool.submit(client.with_options(timeout=0.8 + 0.05 * n).call, Desk.wait) for n in range(4)]
        for call in hasty:
            with pytest.raises(DeadlineExceededError):
                call.result(20)
        assert not any(call.done() for call in patient)
        client.close()
        for call in patient:
            with pytest.raises(fastrpc.UnavailableError):
                call.result(20)


@pytest.mark.measures
def test_calls_of_many_threads_end_at_their_deadlines(client: SyncClient) -> None:
    client.call(Desk.mul, 1)

    def late(seconds: float) -> float:
        started = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            client.with_options(timeout=seconds).call(Desk.wait)
        return time.monotonic() - started - seconds

    with ThreadPoolExecutor(8) as pool:
        lateness = list(pool.map(late, [0.05 * (1 + number % 4) for number in range(8)]))
    assert max(lateness) < 0.5
    assert min(lateness) >= 0


# Threads


def test_answers_of_many_threads_are_not_crossed(client: SyncClient, scale: Scale) -> None:
    calls = scale(800)

    def ask(thread: int) -> list[int]:
        base = thread * 1_000_000
        return [n for n in range(calls) if client.call(Desk.mul, base + n, 3) != (base + n) * 3]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == [[]] * 16
    assert client.stats()["live"] == {"connections": 1, "calls": 0, "waiting": 0}


def test_large_and_small_calls_of_many_threads_are_not_crossed(client: SyncClient, scale: Scale) -> None:
    sizes = [10, 3_000, 20_000, 100_000, 1_500_000]

    def ask(thread: int) -> int:
        crossed = 0
        for number in range(scale(20)):
            data = bytes([thread]) * sizes[(thread + number) % len(sizes)]
            crossed += client.call(Desk.echo, data) != data
        return crossed

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == 0


def test_random_deadlines_cross_no_answers(client: SyncClient, scale: Scale) -> None:
    quick = client.with_options(timeout=0.0003)

    def ask(thread: int) -> int:
        answered = 0
        for number in range(scale(300)):
            try:
                answer = (quick if number % 3 else client).call(Desk.mul, thread, number)
            except DeadlineExceededError:
                continue
            assert answer == thread * number
            answered += 1
        return answered

    with ThreadPoolExecutor(8) as pool:
        assert min(pool.map(ask, range(8))) >= scale(300) / 3
    assert client.call(Desk.mul, 6, 7) == 42
    until = time.monotonic() + 20
    while client.stats()["live"]["calls"] and time.monotonic() < until:
        time.sleep(0.01)
    assert client.stats()["live"]["calls"] == 0
    assert client.stats()["buffered"] == 0


def test_other_threads_run_while_one_waits(client: SyncClient) -> None:
    client.call(Desk.mul, 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.with_options(timeout=0.3).call, Desk.wait)
        turns = 0
        while not waiting.done():
            turns += 1
        assert turns > 1000
        assert isinstance(waiting.exception(), DeadlineExceededError)


def test_several_connections_are_used_by_threads_side_by_side(tcp_address: str) -> None:
    config = ClientConfig(pool=Pool(connections_per_endpoint=3))
    barrier = threading.Barrier(6)
    with SyncClient(tcp_address, config=config) as client:

        def ask(_: int) -> int:
            barrier.wait()
            return sum(client.call(Desk.mul, number) for number in range(200))

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(ask, range(6))) == [sum(range(0, 400, 2))] * 6
        assert 1 < client.stats()["live"]["connections"] <= 3


def test_spinning_client_gives_the_same_answers(tcp_address: str) -> None:
    with SyncClient(tcp_address, config=ClientConfig(spin_microseconds=200)) as client:
        assert [client.call(Desk.mul, number) for number in range(100)] == list(range(0, 200, 2))
        with pytest.raises(DeadlineExceededError):
            client.with_options(timeout=0.05).call(Desk.wait)


def test_client_starts_no_thread_and_no_loop(client: SyncClient) -> None:
    before = threading.active_count()
    client.call(Desk.mul, 1)
    assert threading.active_count() == before
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
