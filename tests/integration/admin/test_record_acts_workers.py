"""Acts on the records of a server of several workers: the announcer keeps them, whichever process is killed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fastrpc.coordination import RegistryServer
from tests.support.acted_records import (
    ActedRecords,
    acted_server,
    acted_workers,
    change_records,
    roll_and_drain,
)
from tests.support.paced_calls import PacedCalls, paced_calls
from tests.support.worker_pages import worker_pages

pytestmark = pytest.mark.one_loop

pytest.importorskip("prometheus_client")


@pytest.fixture
async def registry() -> AsyncIterator[str]:
    async with RegistryServer("tcp://127.0.0.1:0") as server:
        yield server.url


@pytest.fixture
async def a(registry: str, tmp_path: Path) -> AsyncIterator[ActedRecords]:
    async with acted_workers(registry, tmp_path) as acted:
        yield acted


@pytest.fixture
async def calls(registry: str, a: ActedRecords, tmp_path: Path) -> AsyncIterator[PacedCalls]:
    (tmp_path / "b").mkdir()
    async with acted_server("b", registry, tmp_path / "b"), paced_calls(registry) as made:
        yield made


async def test_calls_follow_the_acts_without_a_failure(a: ActedRecords, calls: PacedCalls) -> None:
    await change_records(a, calls)


@pytest.mark.measures
async def test_calls_follow_within_three_seconds(registry: str, a: ActedRecords, calls: PacedCalls) -> None:
    async with paced_calls(registry, seconds=3.0) as hurried:
        await change_records(a, hurried)


async def test_a_roll_and_a_drain_fail_no_call(a: ActedRecords, calls: PacedCalls) -> None:
    await calls.go_to("a", "b")
    await roll_and_drain(a, calls, has_workers=True)


async def test_a_roll_leaves_the_server_out(a: ActedRecords, calls: PacedCalls) -> None:
    assert await a.done("out", was=False) == (False, True)
    assert (await a.act("roll", was=await a.identity())).status == 200
    await a.logged("new workers serve, the old ones drain")
    await calls.go_to("b")
    assert (await a.shown())["is_out"] is True


async def test_an_announcer_that_takes_the_place_of_a_killed_one_keeps_the_records(
    a: ActedRecords, calls: PacedCalls
) -> None:
    assert await a.done("out", was=False) == (False, True)
    await calls.go_to("b")
    killed = await a.process("announcer")
    os.kill(killed, signal.SIGKILL)
    await a.logged(rf"announcer is process (?!{killed}\b)\d+")
    await calls.go_to("b")
    # The next act finds its value, and the registry takes its records.
    assert await a.refused("out", was=False) is True
    assert await a.done("in", was=True) == (True, False)
    await calls.go_to("a", "b")
    assert await a.process("announcer") != killed


async def test_a_monitor_that_takes_the_place_of_a_killed_one_continues(
    a: ActedRecords, calls: PacedCalls
) -> None:
    assert await a.done("weight", weight=5, was=1) == (1, 5)
    killed = await a.process("monitor")
    a.program.errors = ""
    os.kill(killed, signal.SIGKILL)
    await a.logged("admin pages at")
    assert await a.refused("weight", weight=7, was=1) == 5
    assert await a.done("out", was=False) == (False, True)
    await calls.go_to("b")
    assert await a.done("in", was=True) == (True, False)
    assert await a.shown() == {"is_out": False, "weight": 1, "configured_weight": 1}


async def test_workers_without_a_registry_say_so(tmp_path: Path) -> None:
    with worker_pages(tmp_path, 2, '{"admin_operators": "operators.toml"}') as serving:
        answer = await asyncio.to_thread(lambda: serving.act("out", was=False))
        assert (answer.status, answer.json) == (409, {"error": "the server has no registry"})


async def test_the_answer_says_that_the_registry_is_away(tmp_path: Path) -> None:
    async with acted_workers("registry://127.0.0.1:1", tmp_path) as a:
        answer = await a.act("out", was=False)
        assert (answer.status, answer.json["after"]) == (200, True)
        assert answer.json["problem"] == "the registry is unreachable, it will get the records later"
