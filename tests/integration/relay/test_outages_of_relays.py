"""Relays that are killed, lines that are cut and claims that are lost, each under 500 calls a second."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fastrpc import Admission, Backoff, Client, ClientConfig, Keepalive, Server, ServerConfig
from fastrpc.config import Pool, Retries
from fastrpc.relay import listener
from tests.conftest import SCALE
from tests.support.cluster import in_thread
from tests.support.ledger import Journal
from tests.support.noted import Noted
from tests.support.noted_calls import NotedCalls
from tests.support.open_loop import OpenLoop
from tests.support.proxy import FaultProxy
from tests.support.relay_process import RelayProcess
from tests.support.relayed import RelayFiles, Relaying, relaying
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

RATE = 500

#: The time of a call: longer than a client takes to notice a line that is cut.
CALL_SECONDS = 20.0

#: For how long a relay is away or a line is cut where seconds count; a minute in `make soak`.
AWAY_SECONDS = 60.0 if SCALE > 1 else 8.0

#: After which calls arrive again: 5 s between two claims, and a dial.
BACK_SECONDS = 6.0

#: Pauses so short that they add little to the pauses of the claims.
FOLLOWING = Backoff(first=0.05, longest=0.25)


class Scene:
    """A server of `Noted` behind relays, and clients of it under load."""

    def __init__(self, files: RelayFiles, stack: AsyncExitStack) -> None:
        self.files = files
        self._stack = stack
        # A slow machine refuses none of the calls: they wait for as long as their callers do.
        admission = Admission(queue_age=CALL_SECONDS)
        self.server = Server(Noted(Journal()), config=ServerConfig(tls=files.edge.tls(), admission=admission))

    async def listen(self, port: int) -> None:
        """Claim a name at a relay, which may be reached by another port than the port of callers."""
        await self.server.listen(f"relay://localhost:{port}/edge-7{self.files.options()}")

    @property
    def config(self) -> ClientConfig:
        """The settings of clients that notice a silent server within three seconds.

        Their budget allows as many retries as there are calls on a line at that time.
        """
        keepalive = Keepalive(interval=1.0, timeout=2.0)
        pool = Pool(retries=Retries(budget_share=10))
        return replace(self.files.client, backoff=FOLLOWING, keepalive=keepalive, pool=pool)

    async def load(self, *targets: str, config: ClientConfig | None = None) -> NotedCalls:
        """Call at the rate until the end of the test, first by a connection to each target."""
        client = Client(list(targets), config=config or self.config)
        await self._stack.enter_async_context(client)
        await client.ready(timeout=CALL_SECONDS)
        await eventually(lambda: client.stats()["live"]["connections"] == len(targets))
        calls = NotedCalls(client, timeout=CALL_SECONDS)
        await self._stack.enter_async_context(OpenLoop(RATE, calls))
        return calls


@asynccontextmanager
async def served(files: RelayFiles) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        scene = Scene(files, stack)
        await stack.enter_async_context(scene.server)
        yield scene


async def answers_by(calls: NotedCalls, *targets: str) -> None:
    """Wait until a call that begins from now on is answered by way of each target."""
    now = time.monotonic()
    await eventually(
        lambda: {str(one.endpoint) for one in calls.begun_after(now) if one.error is None} >= set(targets)
    )


@asynccontextmanager
async def relay_processes(count: int, files: RelayFiles, folder: Path) -> AsyncIterator[list[RelayProcess]]:
    relays = [RelayProcess(files, folder) for _ in range(count)]
    try:
        for relay in relays:
            await in_thread(relay.start)
        yield relays
    finally:
        for relay in relays:
            relay.kill()


async def test_no_call_fails_while_one_of_two_relays_is_killed_and_starts_again(
    files: RelayFiles, tmp_path: Path
) -> None:
    async with relay_processes(2, files, tmp_path) as relays, served(files) as scene:
        targets = [relay.target() for relay in relays]
        for relay in relays:
            await scene.listen(relay.port)
        calls = await scene.load(*targets)
        for relay in relays:
            await answers_by(calls, *targets)
            await in_thread(relay.kill)
            await answers_by(calls, *(set(targets) - {relay.target()}))
            await in_thread(relay.start)
        await answers_by(calls, *targets)
    assert calls.failures() == []


async def test_calls_are_answered_again_once_the_only_relay_was_killed_and_is_back(
    files: RelayFiles, tmp_path: Path
) -> None:
    async with relay_processes(1, files, tmp_path) as [relay], served(files) as scene:
        await scene.listen(relay.port)
        calls = await scene.load(relay.target())
        for _ in range(2):
            await answers_by(calls, relay.target())
            await in_thread(relay.kill)
            await in_thread(relay.start)
        await answers_by(calls, relay.target())
        back = len(calls.ended)
        await answers_by(calls, relay.target())
        assert [one.error for one in calls.ended[back:]] == [None] * (len(calls.ended) - back)


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[tuple[FaultProxy, int]]:
    """Yield a line from a server to its relay, and the port at its near end."""
    async with FaultProxy(f"tcp://127.0.0.1:{port}") as line:
        yield line, int(line.address.rpartition(":")[2])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let relays and servers notice a line that is cut within half a second."""
    short = Keepalive(interval=0.2, timeout=0.3)
    monkeypatch.setattr("fastrpc.relay.service.KEEPALIVE", short)
    monkeypatch.setattr(listener, "_KEEPALIVE", short)


def has_claim(relay: Relaying) -> bool:
    return "edge-7" in relay.front.claims.by_name


@pytest.mark.usefixtures("impatient")
async def test_no_call_fails_while_the_line_to_one_of_two_relays_is_cut(files: RelayFiles) -> None:
    async with (
        relaying(files) as first,
        relaying(files) as second,
        line_to(first.port) as (line, port),
        served(files) as scene,
    ):
        targets = [first.target(), second.target()]
        for place in (port, second.port):
            await scene.listen(place)
        config = replace(scene.config, keepalive=Keepalive(interval=0.2, timeout=0.3))
        calls = await scene.load(*targets, config=config)
        for _ in range(2):
            await answers_by(calls, *targets)
            line.hold()
            await eventually(lambda: not has_claim(first))
            await answers_by(calls, second.target())
            line.resume()
            await eventually(lambda: has_claim(first))
        await answers_by(calls, *targets)
    assert calls.failures() == []


async def test_no_call_fails_while_claims_are_lost_and_made_again(files: RelayFiles) -> None:
    async with relaying(files) as relay, served(files) as scene:
        await scene.listen(relay.port)
        calls = await scene.load(relay.target())
        claims = relay.front.claims
        for _ in range(3):
            lost = claims.by_name["edge-7"]
            claims.leave(lost)
            await answers_by(calls, relay.target())
            await eventually(lambda lost=lost: claims.by_name.get("edge-7", lost) is not lost)
        await answers_by(calls, relay.target())
        assert relay.front.pairs == 1
    assert calls.failures() == []


# In seconds


async def seconds_until_answered(calls: NotedCalls, target: str) -> float:
    """Return the seconds until a call that begins from now on is answered by way of a target."""
    now = time.monotonic()
    await answers_by(calls, target)
    return time.monotonic() - now


@pytest.mark.measures
async def test_calls_are_back_six_seconds_after_the_relay(files: RelayFiles, tmp_path: Path) -> None:
    async with relay_processes(1, files, tmp_path) as [relay], served(files) as scene:
        await scene.listen(relay.port)
        calls = await scene.load(relay.target())
        await in_thread(relay.kill)
        await asyncio.sleep(AWAY_SECONDS)
        await in_thread(relay.start)
        seconds = await seconds_until_answered(calls, relay.target())
    print(f"a relay that was away for {AWAY_SECONDS:.0f} s: calls are back after {seconds:.1f} s")
    assert seconds <= BACK_SECONDS


@pytest.mark.measures
async def test_a_line_that_was_cut_carries_calls_again_after_six_seconds(
    files: RelayFiles, tmp_path: Path
) -> None:
    async with (
        relay_processes(2, files, tmp_path) as [first, second],
        line_to(first.port) as (line, port),
        served(files) as scene,
    ):
        for place in (port, second.port):
            await scene.listen(place)
        by_one = await scene.load(first.target())
        by_both = await scene.load(first.target(), second.target())
        line.hold()
        await asyncio.sleep(AWAY_SECONDS)
        line.resume()
        seconds = await seconds_until_answered(by_one, first.target())
        await answers_by(by_both, first.target(), second.target())
    print(f"a line that was cut for {AWAY_SECONDS:.0f} s: calls are back after {seconds:.1f} s")
    assert seconds <= BACK_SECONDS
    assert by_both.failures() == []
