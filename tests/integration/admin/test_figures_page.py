"""The page of figures, of one process and of several workers: equal to the calls made and to the page of metrics."""

import asyncio
import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, Server, Status
from tests.support.admin_pages import act, fetch, operators_file, page, server_with_pages
from tests.support.scrapes import samples_of
from tests.support.worker_pages import worker_pages

pytestmark = pytest.mark.one_loop


@fastrpc.service("counted")
class Counted:
    def __init__(self) -> None:
        self.go = asyncio.Event()

    @fastrpc.method
    async def find(self, number: int) -> int:
        if number < 0:
            raise CallError(Status.NOT_FOUND, "no such number")
        return number

    @fastrpc.method
    async def wait(self) -> None:
        await self.go.wait()


def target_of(server: Server) -> str:
    return str(server._listening.listeners[0].address)


def rows_of(answer: Any, service: str = "counted") -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["side"], row["method"]): row for row in answer["methods"] if row["service"] == service}


async def test_figures_match_the_calls_made_on_both_sides() -> None:
    async with server_with_pages(Counted()) as server, Client(target_of(server)) as client:
        first = (await page(server, "/figures")).json
        before = rows_of(first)
        for number in [1] * 7 + [-1] * 3:
            with contextlib.suppress(CallError):
                await client.call(Counted.find, number)
        answer = (await page(server, f"/figures?after={first['revision']}")).json
        after = rows_of(answer)
        for side in ("server", "client"):
            counts, earlier = after[side, "find"], before.get((side, "find"), {"calls": {}, "sum_seconds": 0})
            assert counts["calls"]["OK"] - earlier["calls"].get("OK", 0) == 7
            assert counts["calls"]["NOT_FOUND"] - earlier["calls"].get("NOT_FOUND", 0) == 3
            assert sum(count for _, count in counts["buckets"]) == sum(counts["calls"].values())
            assert counts["sum_seconds"] > earlier["sum_seconds"]
        assert answer["server"] == first["server"]
        assert answer["services"] == [{"name": "counted", "version": None, "state": "SERVING"}]
        assert answer["state"] == "SERVING"
        assert set(answer["log_levels"]) == {"", "fastrpc"}
        [process] = answer["processes"]
        assert process["process_id"] == os.getpid()
        assert process["role"] == "server"


async def test_figures_tell_the_values_that_acts_ask_for(tmp_path: Path) -> None:
    async with server_with_pages(Counted(), admin_operators=operators_file(tmp_path)) as server:
        for wanted in (False, True):
            was = (await page(server, "/figures")).json
            assert was["state"] == ("NOT_SERVING" if wanted else "SERVING")
            answer = await act(server, "serving", service="", serving=wanted, was=not wanted)
            assert answer.status == 200
        logger, levels = logging.getLogger("fastrpc"), was["log_levels"]
        before = logger.level
        try:
            answer = await act(server, "log_level", logger="fastrpc", level="error", was=levels["fastrpc"])
            assert (answer.status, answer.json["before"]) == (200, levels["fastrpc"])
            assert (await page(server, "/figures")).json["log_levels"] == levels | {"fastrpc": "error"}
        finally:
            logger.setLevel(before)


async def test_figures_equal_the_metrics_of_the_same_instant() -> None:
    counted = Counted()
    async with server_with_pages(counted) as server, Client(target_of(server)) as client:
        for _ in range(5):
            await client.call(Counted.find, 1)
        waiting = asyncio.ensure_future(client.call(Counted.wait))
        while (await page(server, "/calls")).json["total"] != 1:
            await asyncio.sleep(0)
        metrics = samples_of((await page(server, "/metrics")).text)
        rows = rows_of((await page(server, "/figures")).json)
        for (side, method), row in rows.items():
            labels = {"service": "counted", "method": method, "protocol": row["protocol"]}
            prefix = f"fastrpc_{side}"
            for status, count in row["calls"].items():
                key = (f"{prefix}_calls_total", frozenset((labels | {"status": status}).items()))
                assert metrics[key] == count
            assert metrics[f"{prefix}_calls_in_flight", frozenset(labels.items())] == row["in_flight"]
            if row["calls"]:
                total = metrics[f"{prefix}_call_seconds_sum", frozenset(labels.items())]
                assert total == pytest.approx(row["sum_seconds"])
        assert rows["server", "wait"]["in_flight"] == 1
        counted.go.set()
        await waiting


async def test_method_that_does_not_change_is_left_out() -> None:
    async with server_with_pages(Counted()) as server, Client(target_of(server)) as client:
        await client.call(Counted.find, 1)
        revision = (await page(server, "/figures")).json["revision"]
        answer = (await page(server, f"/figures?after={revision}")).json
        assert rows_of(answer) == {}
        assert answer["revision"] > revision


@pytest.mark.parametrize("after", ["", "x", "-1", "1&after=2", "٣", "1" * 17])
async def test_odd_revision_is_refused_with_the_form_to_give(after: str) -> None:
    async with server_with_pages(Counted()) as server:
        from urllib.parse import quote

        answer = await page(server, f"/figures?after={quote(after, safe='&=')}")
        assert answer.status == 400
        assert "it must be the revision of an earlier answer" in answer.text


async def test_figures_are_a_table_for_people() -> None:
    async with server_with_pages(Counted()) as server, Client(target_of(server)) as client:
        await client.call(Counted.find, 1)
        answer = await page(server, "/figures", Accept="text/html")
        assert "<td>find</td>" in answer.text
        assert "processor seconds" in answer.text


async def test_figures_of_workers_survive_a_killed_one(tmp_path: Path) -> None:
    with worker_pages(tmp_path) as serving:

        def figures(after: str = "") -> Any:
            return fetch(serving.port, f"/figures{after}").json

        first = await asyncio.to_thread(figures)
        async with Client(serving.address) as client:
            for _ in range(10):
                await client.call("work.where")
        changed = await asyncio.to_thread(figures, f"?after={first['revision']}")
        assert rows_of(changed, "work")["server", "where"]["calls"] == {"OK": 10}
        roles = sorted(one["role"] for one in changed["processes"])
        assert roles == ["monitor", "supervisor", *["worker"] * len(serving.workers())]
        assert all(one["processor_seconds"] is not None for one in changed["processes"])
        assert (changed["state"], changed["log_levels"]) == ("SERVING", {"": "info", "fastrpc": "info"})
        for victim in serving.workers():
            serving.program.errors = ""
            os.kill(victim, signal.SIGKILL)
            replaced = r"ended: killed by SIGKILL(.*\n)+.*worker \d+ is process \d+"
            await asyncio.to_thread(serving.program.wait_errors, replaced)
        last = await asyncio.to_thread(figures)
        assert rows_of(last, "work")["server", "where"]["calls"] == {"OK": 10}
        assert last["server"] == first["server"]
