"""The call ledger under the faults of a network: promises L1 to L6 of `tests.support.ledger`."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from fastrpc import Backoff, Client, ClientConfig, Keepalive, ServerConfig, Timeouts
from fastrpc._core.loop.loop_state import loop_state
from tests.support.descriptors import descriptors_come_back_to, open_descriptors
from tests.support.ledger import Entry, Journal, Ledger, differences
from tests.support.noted import Noted
from tests.support.proxy import Cut, Direction, FaultProxy
from tests.support.running_time import RunningTime
from tests.support.served import served
from tests.support.waiting import eventually

TIMEOUTS = Timeouts(handshake=0.4, linger=0.1, drain=1)
KEEPALIVE = Keepalive(interval=0.2, timeout=0.2, minimum_interval=0.05)
BACKOFF = Backoff(first=0.01, longest=0.05)
SERVER = ServerConfig(timeouts=TIMEOUTS, keepalive=KEEPALIVE)

#: Calls under way at once, and seconds each may take.
CALLERS = 20
CALL_SECONDS = 0.3


def cuts(cut: Cut) -> dict[str, Callable[[FaultProxy, Random], None]]:
    """Return the faults that end connections in one way, after some bytes of either direction."""

    def after(direction: Direction, random: Random) -> None:
        direction.cut = cut
        direction.cut_after = random.randint(2_000, 6_000)

    return {
        f"{cut.value} of requests": lambda proxy, random: after(proxy.upstream, random),
        f"{cut.value} of answers": lambda proxy, random: after(proxy.downstream, random),
    }


def late_and_sliced(proxy: FaultProxy, random: Random) -> None:
    proxy.upstream.delay_seconds = 0.01
    proxy.downstream.delay_seconds = 0.02
    proxy.upstream.slice_bytes = random.randint(1, 40)
    proxy.downstream.slice_bytes = random.randint(1, 40)


FAULTS: dict[str, Callable[[FaultProxy, Random], None]] = {
    "nothing": lambda proxy, random: None,
    "delay and slices": late_and_sliced,
    **cuts(Cut.CLOSE),
    **cuts(Cut.RESET),
    **cuts(Cut.BLACKHOLE),
    **cuts(Cut.HALF_OPEN),
}


async def make_call(client: Client, ledger: Ledger, random: Random) -> Entry:
    """Make one call of a random kind; some are cancelled by their callers."""
    method, idempotent = random.choice(((Noted.once, False), (Noted.again, True), (Noted.at_once, False)))
    entry = ledger.begin(idempotent=idempotent, timeout=CALL_SECONDS)
    view = client.with_options(timeout=CALL_SECONDS)
    task = asyncio.ensure_future(ledger.run(entry, view.call(method, entry.nonce)))
    if random.random() < 0.15:
        for _ in range(random.randint(1, 12)):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait([task])
    return entry


async def make_calls(client: Client, ledger: Ledger, random: Random, count: int) -> None:
    """Make calls, a few at a time, and give lost connections time to be noticed in between."""

    async def caller() -> None:
        for _ in range(count // CALLERS):
            entry = await make_call(client, ledger, random)
            if isinstance(entry.ends[0][1], Exception):
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())


def live(*parts: Any) -> list[dict[str, Any]]:
    """Return the calls under way, as clients and servers report them."""
    return [{name: part.stats()[name] for name in ("live", "buffered")} for part in parts]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scheme", ["tcp", "unix"])
async def test_every_promise_holds(fault: str, scheme: str, scale: Any) -> None:
    random = Random(f"{fault} {scheme}")
    journal, clock = Journal(), RunningTime()
    config = ClientConfig(timeouts=TIMEOUTS, keepalive=KEEPALIVE, backoff=BACKOFF)
    with clock.ticking():
        ledger = Ledger(clock)
        async with served(Noted(journal), scheme=scheme, config=SERVER) as target:
            base, tasks = live(target.server), len(asyncio.all_tasks())
            async with FaultProxy(target) as proxy, Client(proxy.address, config=config) as client:
                await client.ready()
                FAULTS[fault](proxy, random)
                await make_calls(client, ledger, random, scale(100))
            assert client.stats()["live"] == {"connections": 0, "calls": 0, "waiting": 0}
            await eventually(lambda: not differences(base[0], live(target.server)[0]))
            assert journal.running() == []
            await eventually(lambda: len(asyncio.all_tasks()) == tasks)
    assert ledger.problems(journal) == []
    succeeded = sum(isinstance(entry.ends[0][1], bytes) for entry in ledger.entries)
    assert succeeded >= (len(ledger.entries) // 2 if fault in ("nothing", "delay and slices") else 1)
    assert loop_state(asyncio.get_running_loop()).live_timers == 0


async def test_large_calls_keep_their_promises_when_connections_break(scale: Any) -> None:
    journal, random, clock = Journal(), Random(7), RunningTime()
    config = ClientConfig(timeouts=TIMEOUTS, keepalive=KEEPALIVE, backoff=BACKOFF)
    with clock.ticking():
        ledger = Ledger(clock)
        async with served(Noted(journal), scheme="tcp", config=SERVER) as target:
            async with FaultProxy(target) as proxy, Client(proxy.address, config=config) as client:
                proxy.upstream.cut, proxy.upstream.cut_after = Cut.RESET, 3_000_000
                view = client.with_options(timeout=2)

                async def call(size: int) -> None:
                    entry = ledger.begin(idempotent=True, timeout=2)
                    payload = entry.nonce + bytes(size)
                    entry.expected = payload
                    await ledger.run(entry, view.call(Noted.padded, payload))

                sizes = [random.choice((10, 20_000, 300_000)) for _ in range(scale(60))]
                await asyncio.gather(*map(call, sizes))
            await eventually(lambda: target.server.stats()["live"]["connections"] == 0)
    assert ledger.problems(journal) == []
    assert any(isinstance(entry.ends[0][1], bytes) for entry in ledger.entries)


async def test_a_flipped_bit_ends_at_most_its_connection(scale: Any) -> None:
    journal, random = Journal(), Random(11)
    config = ClientConfig(timeouts=TIMEOUTS, keepalive=KEEPALIVE, backoff=BACKOFF)
    async with served(Noted(journal), scheme="tcp", config=SERVER) as target:
        async with FaultProxy(target) as proxy, Client(proxy.address, config=config) as client:
            for _ in range(scale(15)):
                await client.ready(5)
                ledger = Ledger()
                side = random.choice((proxy.upstream, proxy.downstream))
                side.flip_offsets = frozenset(range(random.randint(80, 400), 600))
                await asyncio.gather(*(make_call(client, ledger, random) for _ in range(10)))
                assert all(len(entry.ends) == 1 for entry in ledger.entries)
                side.flip_offsets = frozenset()
                # More than once: the client may have a new connection already that the proxy has not accepted yet.
                await eventually(lambda: proxy.reset_all() or not client._pool.connections)  # type: ignore[func-returns-value]
            await client.ready(5)
            assert await client.call(Noted.once, b"\x00sound") == b"\x00sound"
        await eventually(lambda: target.server.stats()["live"]["connections"] == 0)
    assert loop_state(asyncio.get_running_loop()).live_timers == 0


async def test_descriptors_come_back(scale: Any) -> None:
    async with served(Noted(Journal()), scheme="tcp", config=SERVER) as target, FaultProxy(target) as proxy:
        async with Client(proxy.address) as client:
            await client.ready()
        await eventually(lambda: not proxy.relays)
        count = open_descriptors()
        for number in range(scale(20)):
            config = ClientConfig(timeouts=TIMEOUTS, keepalive=KEEPALIVE, backoff=BACKOFF)
            async with Client(proxy.address, config=config) as client:
                await client.call(Noted.again, b"\x00")
                if number % 2:
                    proxy.reset_all()
        assert await descriptors_come_back_to(count)
