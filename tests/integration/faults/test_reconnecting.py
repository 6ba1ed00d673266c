"""How a client comes back: pauses that grow, one failure after the other named, waiting if asked to."""

import asyncio
import itertools
import logging
import re
import time
from collections import Counter
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    Backoff,
    Client,
    ClientConfig,
    ConnectError,
    DeadlineExceededError,
    Server,
    SyncClient,
    Timeouts,
)
from fastrpc.config.delays import Delays
from tests.support.frame_factory import opening
from tests.support.ledger import Journal
from tests.support.noted import Noted
from tests.support.ports import free_address
from tests.support.raw_peer import RawServer
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.wire_frames import Request

pytestmark = pytest.mark.one_loop

BACKOFF = Backoff(first=0.04, factor=1.6, longest=0.2, jitter=0.2)

#: The time that connecting and noticing a loss may add to a pause.
SLACK_SECONDS = 0.04


def expected_pauses(backoff: Backoff) -> list[float]:
    pauses = itertools.accumulate(
        itertools.repeat(backoff.first, 12), lambda pause, _: min(backoff.longest, pause * backoff.factor)
    )
    return list(pauses)


async def passing(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
    return await proceed(call)


def test_pauses_grow_to_the_longest_and_start_again() -> None:
    delays = Delays(BACKOFF, uniform=lambda low, high: 1.0)
    assert [delays.take() for _ in range(12)] == pytest.approx(expected_pauses(BACKOFF))
    delays.reset()
    assert delays.take() == BACKOFF.first


def test_pauses_differ_by_their_jitter_to_either_side() -> None:
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    assert Delays(BACKOFF, uniform=uniform).take() == pytest.approx(0.04 * 1.2)
    assert bounds == [(0.8, 1.2)]
    pauses = [Delays(BACKOFF).take() for _ in range(200)]
    assert 0.032 <= min(pauses) < 0.036 < 0.044 < max(pauses) <= 0.048


async def pauses_before_a_listener_that_shuts_every_connection() -> list[tuple[float, float]]:
    """Return the pauses between eight tries of a client, each with the configured pause."""
    async with RawServer() as server:
        server.refuses = True
        async with Client(server.address, config=ClientConfig(backoff=BACKOFF)) as client:
            waiting = asyncio.create_task(client.with_options(wait_for_ready=True).call(Noted.once, b"\x00"))
            await eventually(lambda: len(server.accepted_at) >= 8)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
    gaps = [later - sooner for sooner, later in itertools.pairwise(server.accepted_at)]
    return list(zip(gaps, expected_pauses(BACKOFF), strict=False))


async def test_a_listener_that_shuts_every_connection_is_tried_with_growing_pauses() -> None:
    for gap, pause in await pauses_before_a_listener_that_shuts_every_connection():
        assert pause * 0.8 - 0.005 <= gap


@pytest.mark.measures
async def test_a_listener_that_shuts_every_connection_is_tried_without_longer_pauses() -> None:
    for gap, pause in await pauses_before_a_listener_that_shuts_every_connection():
        assert gap <= pause * 1.2 + SLACK_SECONDS


async def test_many_clients_do_not_come_back_in_the_same_moment(scale: Any) -> None:
    count, backoff = scale(100), Backoff(first=0.3, factor=1, longest=0.3)
    async with RawServer() as server:
        server.refuses = True
        clients = [Client(server.address, config=ClientConfig(backoff=backoff)) for _ in range(count)]
        tasks = [asyncio.create_task(client.ready()) for client in clients]
        # The first attempts come at once; by the fourth they are spread over two fifths of a pause and more. A stall
        # gathers attempts of that time, and the next ones are spread again.
        await eventually(lambda: any(is_spread(at) for at in rounds(server.accepted_at, count)[3:]))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(client.close() for client in clients))


def rounds(instants: list[float], count: int) -> list[list[float]]:
    """Return the whole groups of the given number of instants, in their order."""
    return [instants[start : start + count] for start in range(0, len(instants) - count + 1, count)]


def is_spread(instants: list[float]) -> bool:
    """Return whether no 20 ms have more than half of them."""
    slots = Counter(int((at - instants[0]) / 0.02) for at in instants)
    return max(slots.values()) <= len(instants) // 2


@pytest.mark.measures
async def test_only_settings_restart_the_pauses() -> None:
    async with RawServer() as server:
        async with Client(server.address, config=ClientConfig(backoff=BACKOFF)) as client:
            ready = asyncio.create_task(client.ready())
            for _ in range(4):
                # A preface alone is no success.
                peer = await server.accept()
                peer.send(opening(True)[:8])
                peer.close()
            peer = await server.accept()
            peer.send(opening(True))
            await ready
            await asyncio.sleep(BACKOFF.first)
            lost_at = time.monotonic()
            peer.close()
            peer = await server.accept()
            # It had stood, so the next attempt comes at once, and the pause after it is the first again.
            assert time.monotonic() - lost_at <= SLACK_SECONDS
            peer.close()
            again = server.accepted_at[-1]
            await server.accept()
    gaps = [later - sooner for sooner, later in itertools.pairwise(server.accepted_at)]
    assert gaps[3] >= 0.8 * expected_pauses(BACKOFF)[3] - 0.005
    assert server.accepted_at[-1] - again <= 1.2 * BACKOFF.first + SLACK_SECONDS


async def test_a_call_without_a_connection_fails_at_once_and_names_every_address() -> None:
    addresses = [free_address() for _ in range(3)]
    async with Client(addresses) as client:
        with pytest.raises(ConnectError) as failed:
            await client.call(Noted.once, b"\x00")
    error = failed.value
    assert all(address in str(error) for address in addresses)
    assert str(error).count("Connection refused") == 3
    assert "noted.once" in str(error)
    assert (error.processed, error.retryable) == ("no", True)
    assert "wait_for_ready" in (error.hint or "")


async def test_a_server_that_shuts_every_connection_is_named_with_its_reason() -> None:
    async with RawServer() as server:
        server.refuses = True
        async with Client(server.address, config=ClientConfig(backoff=BACKOFF)) as client:
            with pytest.raises(ConnectError) as failed:
                await client.call(Noted.once, b"\x00")
    assert server.address in str(failed.value)
    assert "during its handshake" in str(failed.value)
    assert failed.value.processed == "no"


async def test_wait_for_ready_waits_until_a_server_comes() -> None:
    address = free_address()
    async with Client(address, config=ClientConfig(backoff=BACKOFF)) as client:
        patient = client.with_options(wait_for_ready=True)
        calls = [asyncio.create_task(patient.call(Noted.once, bytes([0, n]))) for n in range(10)]
        await eventually(lambda: client._pool.subchannels[0].error is not None)
        assert not any(call.done() for call in calls)
        async with Server(Noted(Journal())) as server:
            await server.listen(address)
            assert await asyncio.gather(*calls) == [bytes([0, n]) for n in range(10)]


async def test_wait_for_ready_ends_with_the_deadline() -> None:
    address = free_address()
    async with Client(address, config=ClientConfig(backoff=BACKOFF)) as client:
        # A stall would take all of the time before the first attempt has failed.
        with pytest.raises(ConnectError):
            await client.call(Noted.once, b"\x00")
        with pytest.raises(DeadlineExceededError) as failed:
            await client.with_options(wait_for_ready=True, timeout=0.15).call(Noted.once, b"\x00")
    assert failed.value.processed == "no"
    assert address in str(failed.value)
    assert "refused" in str(failed.value)


@pytest.mark.parametrize("interceptors", [[], [passing]], ids=["plain", "intercepted"])
@pytest.mark.parametrize("is_blocking", [False, True], ids=["Client", "SyncClient"])
async def test_time_that_a_message_names_covers_all_attempts(
    is_blocking: bool, interceptors: list[Any]
) -> None:
    # A separate host: the client keeps dialling when the port is free for others.
    async with RawServer(host="127.0.0.63") as server:
        config = ClientConfig(backoff=BACKOFF, early_calls="all")
        options = {"wait_for_ready": True, "idempotent": True, "timeout": 1.0}

        def block() -> None:
            with SyncClient(server.address, config=config, interceptors=interceptors) as client:
                client.with_options(**options).call("noted.again", b"\x00")  # type: ignore[arg-type]

        async def call() -> None:
            async with Client(server.address, config=config, interceptors=interceptors) as client:
                await client.with_options(**options).call("noted.again", b"\x00")  # type: ignore[arg-type]

        failing = asyncio.create_task(asyncio.to_thread(block) if is_blocking else call())
        # The first attempt ends soon, and there is no connection for another one.
        peer = await server.accept()
        await peer.next(Request)
        server.stop()
        peer.close()
        with pytest.raises(DeadlineExceededError) as failed:
            await failing
    named = re.search(r"no connection within (\S+) s;", str(failed.value))
    assert named is not None, failed.value
    assert float(named[1]) >= 0.99


async def test_an_address_that_does_not_answer_does_not_delay_other_addresses() -> None:
    async with RawServer() as silent, served(Noted(Journal()), scheme="tcp") as target:
        # Longer than a call has.
        config = ClientConfig(timeouts=Timeouts(connect=60))
        async with Client([silent.address, target], config=config) as client:
            await client.ready()
            # The silent one is connected and still opening: calls go where an opening is through.
            for number in range(20):
                answer = await client.with_options(timeout=20).call(Noted.once, bytes([0, number]))
                assert answer == bytes([0, number])


async def test_one_line_is_logged_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastrpc.client")
    address = free_address()
    async with Client(address, config=ClientConfig(backoff=BACKOFF)) as client:
        waiting = asyncio.create_task(client.ready())
        for _ in range(3):
            failed = client._pool.subchannels[0].error
            await eventually(lambda failed=failed: client._pool.subchannels[0].error is not failed)
        async with Server(Noted(Journal())) as server:
            await server.listen(address)
            await waiting
    assert [record.levelname for record in caplog.records if record.name == "fastrpc.client"] == [
        "WARNING",
        "INFO",
    ]
    assert "cannot connect to" in caplog.text
    assert "connected to" in caplog.text


async def test_closing_a_client_ends_its_attempts() -> None:
    client = Client(free_address(), config=ClientConfig(backoff=BACKOFF))
    waiting = asyncio.create_task(client.with_options(wait_for_ready=True).call(Noted.once, b"\x00"))
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(fastrpc.UnavailableError, match="closed"):
        await waiting
    assert len(asyncio.all_tasks()) == 1
