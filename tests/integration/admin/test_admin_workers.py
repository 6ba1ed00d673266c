"""The admin pages of several workers show figures of all workers together."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fastrpc import CallError, Client
from tests.support.admin_pages import fetch
from tests.support.program import WAIT_SECONDS, run_program
from tests.support.worker_pages import WorkerPages, worker_pages

pytestmark = pytest.mark.one_loop

pytest.importorskip("prometheus_client")


async def call_each(serving: WorkerPages, clients: int = 8, calls: int = 10) -> dict[int, int]:
    """Make calls with the given number of clients, and return how many each worker served."""
    served: dict[int, int] = {}
    for _ in range(clients):
        async with Client(serving.address) as client:
            for _ in range(calls):
                process = await client.with_options(timeout=20).call("work.where")
                served[process] = served.get(process, 0) + 1
    return served


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


async def test_a_scrape_has_the_calls_of_all_workers(tmp_path: Path) -> None:
    with worker_pages(tmp_path) as serving:
        served = await call_each(serving)
        assert sorted(served) == sorted(serving.workers())
        idle = ("fastrpc_server_connections", frozenset({("transport", "tcp"), ("protocol", "native")}))
        await until(lambda: serving.scrape()[idle] == 0)
        # A scrape asks the workers: nothing has to be waited for.
        assert await asyncio.to_thread(serving.calls) == 80
        async with Client(serving.address) as client:
            for _ in range(3):
                with pytest.raises(CallError):
                    await client.call("work.fail")
        assert await asyncio.to_thread(lambda: serving.calls(method="fail", status="NOT_FOUND")) == 3


async def test_a_killed_worker_takes_no_counts_along(tmp_path: Path) -> None:
    with worker_pages(tmp_path) as serving:
        made = sum((await call_each(serving)).values())
        assert await asyncio.to_thread(serving.calls) == made
        for victim in serving.workers()[:2]:
            serving.program.errors = ""
            os.kill(victim, signal.SIGKILL)
            assert await asyncio.to_thread(serving.calls) == made
            replaced = r"ended: killed by SIGKILL(.*\n)+.*worker \d+ is process \d+"
            await asyncio.to_thread(serving.program.wait_errors, replaced)
            assert await asyncio.to_thread(serving.calls) == made
            made += sum((await call_each(serving)).values())
            assert await asyncio.to_thread(serving.calls) == made


async def test_a_roll_takes_no_counts_along(tmp_path: Path) -> None:
    with worker_pages(tmp_path) as serving:
        made = 0
        for _ in range(3):
            made += sum((await call_each(serving)).values())
            old = await asyncio.to_thread(serving.calls)
            assert old == made
            fresh = await asyncio.to_thread(serving.roll)
            assert await asyncio.to_thread(serving.calls) == made
            assert set(await call_each(serving)) == set(fresh)
            made += 80
            assert await asyncio.to_thread(serving.calls) == made


async def test_a_killed_monitor_comes_back_with_all_counts(tmp_path: Path) -> None:
    with worker_pages(tmp_path, workers=2) as serving:
        await call_each(serving)
        assert await asyncio.to_thread(serving.calls) == 80
        # A worker that dies while nobody reads its figures leaves them, too.
        victims = [serving.monitor(), serving.workers()[0]]
        serving.program.errors = ""
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        await asyncio.to_thread(serving.program.wait_errors, "admin pages at")
        assert await asyncio.to_thread(serving.calls) == 80


async def test_metrics_of_the_program_add_up_and_gauges_name_their_worker(tmp_path: Path) -> None:
    def value(name: str, **labels: str) -> float | None:
        return samples.get((name, frozenset(labels.items())))

    with worker_pages(tmp_path, workers=2) as serving:
        served = await call_each(serving)
        samples = await asyncio.to_thread(serving.scrape)
        assert value("orders_shipped_total", kind="tea") == 80
        # Once, although each process has it from its parent.
        assert value("orders_shipped_total", kind="before the fork") == 3
        assert (value("parcel_sizes_count"), value("parcel_sizes_bucket", le="1.0")) == (80, 0)
        assert value("parcel_sizes_bucket", le="10.0") == 80
        assert {value("shelf_depth", worker="1"), value("shelf_depth", worker="2")} == set(served)
        victim = serving.workers()[0]
        os.kill(victim, signal.SIGKILL)
        await until(lambda: ("shelf_depth", frozenset({("worker", "1")})) not in _gone(serving, victim))
        samples = await asyncio.to_thread(serving.scrape)
        assert value("orders_shipped_total", kind="tea") == 80
        assert value("orders_shipped_total", kind="before the fork") == 3


def _gone(serving: WorkerPages, process: int) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Return the gauges that still have the value of a process."""
    return {key for key, value in serving.scrape().items() if key[0] == "shelf_depth" and value == process}


async def test_gauges_come_from_living_processes(tmp_path: Path) -> None:
    def total(name: str) -> float:
        return sum(value for (found, _), value in serving.scrape().items() if found == name)

    with worker_pages(tmp_path, workers=2) as serving:
        clients = [Client(serving.address) for _ in range(4)]
        homes = {await client.call("work.where"): client for client in clients}
        waiting = [asyncio.ensure_future(client.call("work.wait")) for client in homes.values()]
        await until(lambda: total("fastrpc_server_calls_in_flight") == 2)
        assert await asyncio.to_thread(total, "fastrpc_server_connections") == 4
        os.kill(next(iter(homes)), signal.SIGKILL)
        await until(lambda: total("fastrpc_server_calls_in_flight") == 1)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await until(lambda: total("fastrpc_server_calls_in_flight") == 0)
        for client in clients:
            await client.close()


async def test_unknown_methods_add_no_series(tmp_path: Path) -> None:
    with worker_pages(tmp_path, workers=2) as serving:
        await call_each(serving)
        before = await asyncio.to_thread(serving.scrape)
        async with Client(serving.address) as client:
            for number in range(500):
                with pytest.raises(CallError):
                    await client.call(f"unknown{number}.method{number}")
        after = await asyncio.to_thread(serving.scrape)
        added = {key for key in after.keys() - before.keys() if key[0].startswith("fastrpc_server")}
        assert {dict(labels).get("service", "_other") for _, labels in added} == {"_other"}
        assert not any("unknown" in str(key) for key in after)
        calls = {"service": "_other", "method": "_other", "status": "UNIMPLEMENTED"}
        assert await asyncio.to_thread(lambda: serving.calls(**calls)) == 500


async def test_tables_have_the_rows_of_all_workers(tmp_path: Path) -> None:
    with worker_pages(tmp_path, workers=2) as serving:
        clients = [Client(serving.address) for _ in range(4)]
        homes = {await client.call("work.where"): client for client in clients}
        waiting = [asyncio.ensure_future(client.call("work.wait")) for client in homes.values()]
        await until(lambda: serving.page("/calls")["total"] == 2)
        rows = (await asyncio.to_thread(serving.page, "/calls"))["calls"]
        assert {row["process_id"] for row in rows} == set(homes)
        assert {row["method"] for row in rows} == {"work.wait"}
        found = await asyncio.to_thread(serving.page, "/connections")
        assert (found["total"], len(found["connections"])) == (4, 4)
        (service,) = (await asyncio.to_thread(serving.page, "/services"))["services"]
        assert (service["name"], service["state"]) == ("work", "SERVING")
        index = await asyncio.to_thread(serving.page, "/")
        assert (index["connections"], index["calls"], index["ready"]) == (4, 2, True)
        assert {worker["process_id"] for worker in index["workers"]} == set(homes)
        assert {row["method"]: row["ended"] for row in index["methods"]}["where"] == 4
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for client in clients:
            await client.close()


async def test_settings_are_masked_like_the_settings_of_one_process(tmp_path: Path) -> None:
    with worker_pages(tmp_path, workers=2, config='{"admin_token": "planted-secret"}') as serving:
        assert fetch(serving.port, "/config").status == 401
        answer = await asyncio.to_thread(
            lambda: fetch(serving.port, "/config", Authorization="Bearer planted-secret")
        )
        assert answer.status == 200
        assert answer.json["config"]["admin_token"] != "planted-secret"
        assert "planted-secret" not in answer.text + serving.program.errors
        assert serving.probe("/livez") == serving.probe("/readyz") == 200


async def test_a_blocked_worker_delays_no_page(tmp_path: Path) -> None:
    with worker_pages(tmp_path, workers=2) as serving:
        await call_each(serving)
        assert await asyncio.to_thread(serving.calls) == 80
        async with Client(serving.address) as client:
            blocked = await client.call("work.where")
            call = asyncio.ensure_future(client.with_options(timeout=None).call("work.hang"))
            await until(lambda: blocked in serving.page("/").get("without", []))
            # The earlier counts of the missing worker are known; the page names the worker.
            assert await asyncio.to_thread(serving.calls) >= 80
            assert await asyncio.to_thread(serving.probe, "/readyz") == 200
            os.kill(blocked, signal.SIGKILL)
            await asyncio.gather(call, return_exceptions=True)


async def test_a_collector_that_hangs_in_a_worker_is_logged_and_holds_up_no_page(tmp_path: Path) -> None:
    with worker_pages(tmp_path, workers=2) as serving:
        await call_each(serving)
        assert await asyncio.to_thread(serving.calls) == 80
        async with Client(serving.address) as client:
            await client.call("work.hang_collector")
        await asyncio.to_thread(serving.program.wait_errors, "cannot report its counts: a collector")
        # The earlier counts of the worker are known.
        assert await asyncio.to_thread(serving.calls) == 80
        for path in ("/calls", "/connections", "/services", "/endpoints", "/ended", "/logs", "/stacks"):
            assert "without" not in await asyncio.to_thread(serving.page, path)
        # Nor does it hold up the end of its worker.
        serving.program.signal(signal.SIGTERM)
        ended = await asyncio.to_thread(serving.program.wait)
        assert ended.code == 0, ended
        assert "the last counts of this process are lost" in ended.errors


async def test_readiness_ends_with_the_drain(tmp_path: Path) -> None:
    config = '{"timeouts": fastrpc.Timeouts(announce=5.0, drain=1.0)}'
    with worker_pages(tmp_path, workers=2, config=config) as serving:
        await until(lambda: serving.probe("/readyz") == 200)
        serving.program.signal(signal.SIGTERM)
        await until(lambda: serving.probe("/readyz") == 503)
        assert await asyncio.to_thread(serving.probe, "/livez") == 200
        ended = await asyncio.to_thread(serving.program.wait)
        assert ended.code == 0


async def test_a_taken_admin_port_ends_the_start(tmp_path: Path) -> None:
    with worker_pages(tmp_path, workers=2) as serving:
        text = (tmp_path / "paged.py").read_text()
        text = text.replace('admin_address="tcp://127.0.0.1:0"', "admin_address=sys.argv[3]")
        (tmp_path / "second.py").write_text(text)
        taken = f"tcp://127.0.0.1:{serving.port}"
        ended = await asyncio.to_thread(run_program, ["second.py", "2", "{}", taken], tmp_path)
        assert ended.code != 0
        assert "Address already in use" in ended.errors
