"""The broker in Redis while members die, links are cut and the server is killed."""

import asyncio
import contextlib
import random
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fastrpc import BrokerError
from fastrpc.brokers import open_broker
from fastrpc.brokers.base import Delivery, GroupSettings, OutgoingMessage
from fastrpc.brokers.broker_urls import open_backend
from fastrpc.status import Status
from tests.support.cluster import in_thread, until
from tests.support.disk_and_clock import DiskAndClock
from tests.support.kept_process import ROOT
from tests.support.kept_redis import (
    EVERYSEC_SECONDS,
    LOG,
    LoadedRedis,
    bodies,
    kept_ids,
    kept_server,
    opened_redis,
    publish,
    taken,
)
from tests.support.proxy import FaultProxy
from tests.support.registry_servers import RedisServer

pytestmark = pytest.mark.one_loop

GROUP = GroupSettings("billing", LOG.name, "oldest")

#: Takes one message, prints its delivery, waits for a line, prints whether the message is lost and was acked.
MEMBER = """
import asyncio, sys
from fastrpc.brokers.base import GroupSettings
from fastrpc.brokers.broker_urls import open_backend

async def main():
    async with open_backend(sys.argv[1]) as broker:
        member = await broker.join(GroupSettings("billing", "orders.new"))
        (one,) = await member.take(1)
        print(one.delivery, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        print(member.is_lost(one.token), await member.ack(one.token), flush=True)

asyncio.run(main())
"""


@pytest.fixture
def server(kept_redis: RedisServer) -> RedisServer:
    """A server that keeps its data, without any."""
    kept_redis.ask("FLUSHALL")
    return kept_redis


@contextlib.asynccontextmanager
async def member_process(server: RedisServer) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that has taken one message, under a lease of two seconds."""
    url = f"{server.url}?lease=2"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MEMBER, url, stdin=pipe, stdout=pipe, cwd=ROOT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


# Leases


async def test_messages_of_a_killed_member_are_claimed_after_its_lease(server: RedisServer) -> None:
    async with opened_redis(server, "lease=2") as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        async with member_process(server) as process:
            await until(lambda: server.ask("ZCARD", "fastrpc:{orders.new}:members:billing") == 2)
            await publish(broker, b"1")
            assert await line_of(process) == "1"
            process.kill()
            (again,) = await taken(member, 1)
            assert again.delivery == 2
            assert await member.ack(again.token)
        # Its name goes with it.
        await until(
            lambda: len(server.ask("XINFO", "CONSUMERS", "fastrpc:{orders.new}:log", "billing")) <= 2, 10
        )


async def test_a_broker_that_closes_leaves_its_messages_to_other_consumers_at_once(
    server: RedisServer,
) -> None:
    async with open_broker(server.url) as broker:
        async with open_broker(server.url) as leaving:
            messages = leaving.subscribe("orders.new", group="billing", start="oldest")
            await messages.__aenter__()
            await broker.publish("orders.new", 1)
            assert (await anext(messages)).delivery == 1
        async with broker.subscribe("orders.new", group="billing") as others:
            # Well before the end of a lease.
            async with asyncio.timeout(10):
                assert (await anext(others)).delivery == 1


async def test_a_group_whose_members_died_is_removed_with_an_error(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened_redis(server, "lease=2") as broker:
        await broker.declare(replace(LOG, keep_seconds=1.0))
        async with member_process(server) as process:
            await until(lambda: server.ask("ZCARD", "fastrpc:{orders.new}:members:billing") == 1)
            process.kill()
        await until(lambda: server.ask("HLEN", "fastrpc:groups") == 0, 15)
        assert "the group billing is removed: it had no member for 1.0 seconds" in caplog.text
        assert list(await broker.groups()) == []


# Links


@contextlib.asynccontextmanager
async def through_proxy(server: RedisServer) -> AsyncIterator[tuple[FaultProxy, str]]:
    async with FaultProxy(f"tcp://127.0.0.1:{server.port}") as proxy:
        yield proxy, proxy.address.replace("tcp", "redis")


async def cut(proxy: FaultProxy) -> None:
    """Reset all present connections, with their unsent bytes."""
    relays = list(proxy.relays)
    proxy.reset_all()
    await until(lambda: not any(one in proxy.relays for one in relays))


async def test_a_server_that_is_away_is_an_error_that_may_be_repeated(server: RedisServer) -> None:
    async with through_proxy(server) as (proxy, url):
        async with open_backend(url) as broker:
            await broker.declare(LOG)
            proxy.refuses = True
            proxy.reset_all()
            outcomes = []
            for _ in range(3):
                with pytest.raises(BrokerError) as caught:
                    await broker.publish([OutgoingMessage(LOG.name, b"1")])
                outcomes.append((caught.value.status, caught.value.retryable, caught.value.processed))
            # The first one may have been sent; then there is no connection.
            assert outcomes[1:] == [(Status.UNAVAILABLE, True, "no")] * 2
            proxy.refuses = False
            await broker.publish([OutgoingMessage(LOG.name, b"2")])


async def test_a_lost_answer_leaves_a_publication_unknown(server: RedisServer) -> None:
    async with through_proxy(server) as (proxy, url):
        async with open_backend(url) as broker:
            await broker.declare(LOG)
            # The server has the script from now on.
            await publish(broker, b"1")
            proxy.downstream.hold()
            publishing = asyncio.ensure_future(publish(broker, b"2"))
            await until(lambda: server.ask("XLEN", "fastrpc:{orders.new}:log") == 2)
            proxy.reset_all()
            with pytest.raises(BrokerError) as caught:
                await publishing
            assert (caught.value.processed, caught.value.retryable) == ("unknown", True)
            proxy.downstream.resume()


async def test_a_publication_with_an_id_is_repeated_and_kept_once(server: RedisServer) -> None:
    async with through_proxy(server) as (proxy, url):
        async with open_broker(url) as broker:
            await broker.publish("orders.new", 1)
            proxy.downstream.hold()
            publishing = asyncio.ensure_future(broker.publish("orders.new", 2, id="two"))
            await until(lambda: server.ask("XLEN", "fastrpc:{orders.new}:log") == 2)
            await cut(proxy)
            proxy.downstream.resume()
            assert (await publishing).is_duplicate
            assert server.ask("XLEN", "fastrpc:{orders.new}:log") == 2


async def test_an_acknowledgement_whose_answer_is_lost_is_repeated(server: RedisServer) -> None:
    async with through_proxy(server) as (proxy, url):
        async with open_broker(url) as broker, broker.subscribe("orders.new", group="billing") as messages:
            for number in range(2):
                await broker.publish("orders.new", number)
            # The server has the script from now on.
            assert await (await anext(messages)).ack()
            message = await anext(messages)
            proxy.downstream.hold()
            settling = asyncio.ensure_future(message.ack())
            await until(lambda: server.ask("XPENDING", "fastrpc:{orders.new}:log", "billing")["pending"] == 0)
            await cut(proxy)
            proxy.downstream.resume()
            assert await settling


@pytest.mark.parametrize("verb", ["ack", "reject"])
@pytest.mark.parametrize("is_taken", [False, True])
async def test_a_message_whose_delivery_the_server_has_forgotten_is_not_settled(
    server: RedisServer, verb: str, is_taken: bool
) -> None:
    log, leases = "fastrpc:{orders.new}:log", "fastrpc:{orders.new}:leases:billing"

    async def settle(one: Delivery) -> bool:
        return await (member.ack(one.token) if verb == "ack" else member.reject(one.token, "no", ""))

    async with through_proxy(server) as (proxy, url):
        async with open_backend(url) as broker:
            await broker.declare(LOG)
            member = await broker.join(GROUP)
            await broker.publish([OutgoingMessage(LOG.name, b"1"), OutgoingMessage(LOG.name, b"2")])
            first, second = await taken(member, 2)
            # The server has the scripts from now on.
            assert await settle(first)
            (entry, _), (before, _) = server.ask("XREVRANGE", log, "+", "-", "COUNT", "2")
            proxy.downstream.hold()
            settling = asyncio.ensure_future(settle(second))
            await until(lambda: server.ask("XPENDING", log, "billing")["pending"] == 0)
            # As after a kill that took the delivery with its end.
            server.ask("XGROUP", "SETID", log, "billing", before)
            if is_taken:
                # It came from another member then.
                server.ask("XREADGROUP", "GROUP", "billing", "-", "STREAMS", log, ">")
                server.ask("ZADD", leases, "1", entry)
            await cut(proxy)
            proxy.downstream.resume()
            with pytest.raises(BrokerError) as caught:
                await settling
            assert caught.value.processed == "unknown"
            assert not await settle(second)
            assert member.is_lost(second.token)
            assert bodies(await taken(member, 1)) == [b"2"]


async def test_a_subscription_outlives_cut_links(server: RedisServer) -> None:
    async with through_proxy(server) as (proxy, url):
        async with open_broker(url) as broker, broker.subscribe("orders.new", group="billing") as messages:
            for number in range(5):
                proxy.reset_all()
                await broker.publish("orders.new", number, id=str(number))
                message = await anext(messages)
                # One that was taken by a link that was cut comes again after its lease.
                assert message.value == number
                assert await message.ack()


# Kills of the server


class Ledger:
    """Publishes numbers under their ids, handles them, and notes both."""

    def __init__(self, url: str) -> None:
        self._url = url
        #: When the publisher heard that a number is kept.
        self.kept: dict[int, float] = {}
        #: When the server was killed, and when it was back.
        self.kills: list[tuple[float, float]] = []
        #: The numbers that are not at the server.
        self.lost: set[int] = set()
        self.handled: Counter[int] = Counter()
        self.is_over = False
        self.is_complete = False

    async def publish(self, first: int, step: int) -> None:
        """Publish each `step`-th number until the end."""
        async with open_broker(self._url) as broker:
            number = first
            while not self.is_over:
                with contextlib.suppress(BrokerError):
                    await broker.publish("orders.new", number, id=str(number))
                    self.kept[number] = time.monotonic()
                number += step

    async def kill(self, server: RedisServer, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Kill the server, and start it again."""
        killed_at = time.monotonic()
        await in_thread(server.kill)
        meanwhile()
        await in_thread(server.start)
        self.kills.append((killed_at, time.monotonic()))

    def unexplained(self, seconds: float) -> set[int]:
        """Return the lost numbers that were not kept within some seconds before a kill; 0: all."""
        return {
            number
            for number in self.lost
            if not seconds
            or not any(killed - seconds <= self.kept[number] < back for killed, back in self.kills)
        }

    async def handle(self) -> None:
        """Handle messages until all that were kept and not lost are handled."""
        async with open_broker(self._url) as broker:
            async with broker.subscribe("orders.new", group="billing", start="oldest") as messages:
                while not self.is_complete or not self.kept.keys() - self.lost <= self.handled.keys():
                    with contextlib.suppress(BrokerError):
                        message = await anext(messages)
                        self.handled[message.value] += 1
                        await message.ack()


@contextlib.asynccontextmanager
async def handling(ledger: Ledger, server: RedisServer) -> AsyncIterator[None]:
    """Publish and handle numbers while the block runs, and then handle the remaining ones."""
    async with opened_redis(server) as broker:
        await broker.declare(LOG)
    publishing = [asyncio.create_task(ledger.publish(first, 8)) for first in range(8)]
    handling = asyncio.create_task(ledger.handle())
    yield
    ledger.is_over = True
    await asyncio.gather(*publishing)
    ledger.lost = ledger.kept.keys() - {int(id) for id in kept_ids(server, LOG.name)}
    ledger.is_complete = True
    async with opened_redis(server) as broker:
        # Ends the wait of the last take.
        await broker.publish(
            [OutgoingMessage(LOG.name, b"-1", id="-1", headers={"content-type": "application/json"})]
        )
    # One message at a time.
    async with asyncio.timeout(90):
        await handling


@pytest.mark.parametrize(("fsync", "seconds"), [("always", 0.0), ("everysec", EVERYSEC_SECONDS)])
async def test_no_acknowledged_message_that_redis_wrote_is_lost_when_redis_is_killed(
    redis_path: str, tmp_path: Path, fsync: str, seconds: float
) -> None:
    sync = "full" if fsync == "always" else "normal"
    draw = random.Random(fsync)
    with kept_server(redis_path, tmp_path, fsync=fsync).running() as server:
        ledger = Ledger(f"{server.url}?lease=2&sync={sync}")
        async with handling(ledger, server):
            for number in range(3):
                await until(lambda least=200 * (number + 1): len(ledger.kept) > least, 30)  # type: ignore[misc]
                await asyncio.sleep(draw.uniform(0.0, 0.2))
                await ledger.kill(server)
        assert len(ledger.kept) > 600
        # All that the server has is handled, and it lacks no more than its documentation says.
        assert ledger.kept.keys() - ledger.lost <= ledger.handled.keys()
        assert not ledger.unexplained(seconds)


class SlowDisk(LoadedRedis):
    """A server with everysec, on a disk whose faults are switched."""

    def __init__(self, program: str, folder: Path, disk: DiskAndClock) -> None:
        super().__init__(program, folder, options=["--appendonly", "yes", "--appendfsync", "everysec"])
        self._disk = disk

    def command(self) -> list[str]:
        variables = [f"{name}={value}" for name, value in self._disk.environment.items()]
        return ["env", *variables, *super().command()]

    def holds_back(self) -> bool:
        """Tell whether it has answered messages that it has not written, while an fsync is under way."""
        told = self.ask("INFO", "persistence")
        # More than the publishers have under way: a write that is not held back has at most that.
        return bool(told["aof_pending_bio_fsync"] and told["aof_buffer_length"] > 10_000)

    def appended(self) -> set[int]:
        """Return the ids of the messages in its file."""
        files = (self._folder / "appendonlydir").glob("*.incr.aof")
        found = (re.findall(rb"\r\nid\r\n\$\d+\r\n(\d+)\r\n", file.read_bytes()) for file in files)
        return {int(id) for ids in found for id in ids}


async def test_everysec_loses_only_messages_that_redis_had_not_written(
    redis_path: str, tmp_path: Path
) -> None:
    with DiskAndClock(tmp_path) as disk, SlowDisk(redis_path, tmp_path, disk).running() as server:
        ledger = Ledger(f"{server.url}?lease=2")
        written: set[int] = set()

        def look() -> None:
            written.update(server.appended())
            disk.set()

        async with handling(ledger, server):
            await until(lambda: len(ledger.kept) > 200, 30)
            disk.set(sync_seconds=60)
            await until(server.holds_back, 30)
            await ledger.kill(server, look)
        # They are in no file, so no reader of the stream could have them; all other messages are handled.
        assert ledger.lost
        assert not ledger.lost & written
        assert not ledger.unexplained(EVERYSEC_SECONDS)
        assert ledger.kept.keys() - ledger.lost <= ledger.handled.keys()
