"""Acts on a server of several workers: all of them change, also those that start later or hang meanwhile."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.program import WAIT_SECONDS
from tests.support.worker_pages import WorkerPages, worker_pages

pytestmark = pytest.mark.one_loop

pytest.importorskip("prometheus_client")

WORKERS = 3
PAUSE = {"service": "work", "serving": False, "was": True}


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[WorkerPages]:
    with worker_pages(tmp_path, WORKERS, '{"admin_operators": "operators.toml"}') as started:
        yield started


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


def shown_workers(serving: WorkerPages) -> set[int]:
    return {row["process_id"] for row in serving.page("/")["workers"]}


async def all_are_paused(serving: WorkerPages, workers: set[int]) -> None:
    """Return once these workers answer, and all say that the service does not serve."""
    await until(lambda: shown_workers(serving) == workers and serving.state_of("work") == "NOT_SERVING")


async def test_a_service_is_paused_in_all_workers(serving: WorkerPages) -> None:
    answer = await asyncio.to_thread(lambda: serving.act("serving", **PAUSE))
    assert answer.status == 200
    assert answer.json == {
        "act": "serving",
        "server": serving.page("/figures")["server"],
        "before": True,
        "after": False,
        "processes": sorted(serving.workers()),
        "without": [],
    }
    assert serving.state_of("work") == "NOT_SERVING"
    assert serving.probe("/readyz") == 200
    answer = serving.act("serving", service="", serving=False, was=True)
    assert answer.status == 200
    assert serving.probe("/readyz") == 503
    answer = serving.act("serving", service="", serving=True, was=False)
    assert (answer.status, serving.probe("/readyz"), serving.state_of("work")) == (200, 200, "NOT_SERVING")
    serving.program.wait_errors(r"act serving work by ada of tcp://127\.0\.0\.1:\d+: True before, False now")


async def test_an_act_that_saw_another_value_changes_no_worker(serving: WorkerPages) -> None:
    answer = serving.act("serving", service="work", serving=False, was=False)
    assert (answer.status, answer.json["now"]) == (409, True)
    assert serving.state_of("work") == "SERVING"
    answer = serving.act("serving", service="wrk", serving=False, was=True)
    assert (answer.status, answer.json) == (404, {"error": "this server has no service 'wrk'"})


async def test_a_worker_that_takes_the_place_of_a_killed_one_is_paused(serving: WorkerPages) -> None:
    assert serving.act("serving", **PAUSE).status == 200
    before = serving.workers()
    serving.program.errors = ""
    os.kill(before[0], signal.SIGKILL)
    await asyncio.to_thread(serving.program.wait_errors, r"worker \d+ is process \d+")
    await all_are_paused(serving, {*before[1:], *serving.workers()})


async def test_workers_of_a_roll_are_paused(serving: WorkerPages) -> None:
    assert serving.act("serving", **PAUSE).status == 200
    fresh = await asyncio.to_thread(serving.roll)
    await all_are_paused(serving, set(fresh))


async def test_a_worker_that_hangs_is_named_and_catches_up(tmp_path: Path) -> None:
    config = '{"admin_operators": "operators.toml"}'
    with worker_pages(tmp_path, WORKERS, config) as serving:
        workers = serving.workers()
        await until(lambda: serving.state_of("work") == "SERVING")
        os.kill(workers[0], signal.SIGSTOP)
        try:
            answer = await asyncio.to_thread(lambda: serving.act("serving", **PAUSE))
            assert answer.status == 200
            assert (answer.json["processes"], answer.json["without"]) == (sorted(workers[1:]), workers[:1])
            assert answer.json["after"] is False
        finally:
            os.kill(workers[0], signal.SIGCONT)
        await all_are_paused(serving, set(workers))


async def test_a_monitor_that_takes_the_place_of_a_killed_one_continues(serving: WorkerPages) -> None:
    assert serving.act("serving", **PAUSE).status == 200
    server = serving.page("/figures")["server"]
    serving.program.errors = ""
    os.kill(
        int(
            next(
                one["process_id"] for one in serving.page("/figures")["processes"] if one["role"] == "monitor"
            )
        ),
        signal.SIGKILL,
    )
    await asyncio.to_thread(serving.program.wait_errors, "admin pages at")
    assert serving.state_of("work") == "NOT_SERVING"
    answer = serving.act("serving", service="work", serving=True, was=False)
    assert (answer.status, answer.json["server"]) == (200, server)
    assert serving.state_of("work") == "SERVING"


async def test_a_logger_gets_another_level_in_all_processes(serving: WorkerPages) -> None:
    monitor = serving.monitor()
    answer = serving.act("log_level", logger="fastrpc.server", level="debug", was="info")
    assert answer.status == 200
    assert (answer.json["before"], answer.json["after"]) == ("info", "debug")
    assert answer.json["processes"] == sorted([*serving.workers(), monitor])
    answer = serving.act("log_level", logger="fastrpc.server", level="warning", was="info")
    assert (answer.status, answer.json["now"]) == (409, "debug")
    answer = serving.act("log_level", logger="no.such.logger", level="warning", was="info")
    assert answer.status == 404


async def test_the_announcer_takes_a_level_too(tmp_path: Path) -> None:
    # It need not be there: the announcer waits for it.
    config = '{"admin_operators": "operators.toml", "registry": "consul://127.0.0.1:1"}'
    with worker_pages(tmp_path, 2, config) as serving:
        figures = serving.page("/figures")
        [announcer] = [one["process_id"] for one in figures["processes"] if one["role"] == "announcer"]
        answer = serving.act("log_level", logger="fastrpc.registry", level="debug", was="info")
        assert announcer in answer.json["processes"]


async def test_workers_are_replaced(serving: WorkerPages) -> None:
    old = set(serving.workers())
    server = serving.page("/figures")["server"]
    serving.program.errors = ""
    answer = serving.act("roll", was={"server": "of-before"})
    assert (answer.status, answer.json["now"]) == (409, {"server": server})
    assert serving.act("roll", was={"server": server}).status == 200
    await asyncio.to_thread(serving.program.wait_errors, "new workers serve, the old ones drain")
    assert len(set(serving.workers()) - old) == WORKERS
    assert serving.page("/figures")["server"] == server


async def test_the_server_is_drained_once(tmp_path: Path) -> None:
    config = '{"admin_operators": "operators.toml", "timeouts": fastrpc.Timeouts(announce=2.0, drain=1.0)}'
    with worker_pages(tmp_path, 2, config) as serving:
        server = serving.page("/figures")["server"]
        assert serving.act("drain", was={"server": server}).status == 200
        # The signal of a second one would cut calls off.
        for act in ("drain", "roll"):
            answer = serving.act(act, was={"server": server})
            assert (answer.status, answer.json["error"]) == (409, "the server drains already")
        ended = await asyncio.to_thread(serving.program.wait)
        assert ended.code == 0
