"""The pages of recent calls and log records, of endpoints and of stacks: true, bounded, without secrets."""

import asyncio
import json
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, DeadlineExceededError, Status
from fastrpc.interceptors import AccessLog
from fastrpc.server.admin import recent
from fastrpc.server.admin.pages import TABLES
from tests.support.admin_pages import Answer, fetch, page, server_with_pages
from tests.support.worker_pages import worker_pages

pytestmark = pytest.mark.one_loop

SECRET = "hunter2-of-a-test"


@fastrpc.service("recently")
class Recently:
    @fastrpc.method
    async def find(self, text: str) -> str:
        return text

    @fastrpc.method
    async def refuse(self, text: str) -> str:
        raise CallError(Status.NOT_FOUND, text, details={"text": text})

    @fastrpc.method
    async def crash(self, text: str) -> str:
        raise ValueError(text)

    # The server's own limit: a call that its client gives up early may never reach it.
    @fastrpc.method(timeout=0.05)
    async def wait(self) -> None:
        await asyncio.Event().wait()


def target_of(server: fastrpc.Server) -> str:
    return str(server._listening.listeners[0].address)


@pytest.fixture
def slow_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "SLOW_SECONDS", 0.0)


@pytest.mark.parametrize("interceptors", [[], [AccessLog()]])
async def test_calls_that_failed_are_kept_the_newest_first(interceptors: list[Any]) -> None:
    async with fastrpc.Server(
        Recently(), interceptors=interceptors, config=fastrpc.ServerConfig(admin_address="tcp://127.0.0.1:0")
    ) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target) as client:
            await client.call(Recently.find, "quick")
            with pytest.raises(CallError):
                await client.call(Recently.refuse, SECRET)
            with pytest.raises(DeadlineExceededError):
                await client.call(Recently.wait)
        answer = await page(server, "/ended")
        rows = answer.json["ended"]
        assert [(row["method"], row["status"]) for row in rows] == [
            ("recently.wait", "DEADLINE_EXCEEDED"),
            ("recently.refuse", "NOT_FOUND"),
        ]
        assert rows[0].keys() == {
            *("ended", "method", "status", "seconds", "peer", "identity", "request_id", "trace_id"),
            "error_id",
        }
        assert rows[0]["peer"].startswith("tcp://127.0.0.1:")
        assert SECRET not in answer.text


async def test_an_ended_call_has_the_id_of_the_error_that_its_caller_got() -> None:
    async with server_with_pages(Recently()) as server, Client(target_of(server)) as client:
        told = []
        for method in (Recently.refuse, Recently.crash):
            with pytest.raises(CallError) as caught:
                await client.call(method, SECRET)
            told.append(caught.value.message)
        answer = await page(server, "/ended")
        # The log has the traceback under this id; a CallError has no traceback, and its text may hold arguments.
        assert [row["error_id"] for row in answer.json["ended"]] == [told[1].rpartition("under id ")[2], None]
        assert SECRET not in answer.text


@pytest.mark.usefixtures("slow_at_once")
async def test_slow_calls_are_kept_and_the_oldest_forgotten() -> None:
    async with server_with_pages(Recently()) as server, Client(target_of(server)) as client:
        for _ in range(recent.MOST_CALLS + 10):
            await client.call(Recently.find, SECRET)
        answer = await page(server, "/ended")
        assert len(answer.json["ended"]) == answer.json["total"] == recent.MOST_CALLS
        assert SECRET not in answer.text


async def test_quick_calls_with_the_id_of_a_request_are_not_kept() -> None:
    async with (
        server_with_pages(Recently()) as server,
        Client(target_of(server), interceptors=[AccessLog()]) as client,
    ):
        await client.call(Recently.find, "quick")
        assert (await page(server, "/ended")).json["ended"] == []


@fastrpc.service("inner")
class Inner:
    @fastrpc.method
    async def note(self) -> None: ...


@fastrpc.service("outer")
class Outer:
    @fastrpc.method
    async def pass_on(self, target: str) -> None:
        async with Client(target) as client:
            await client.call(Inner.note)
            await client.call(Inner.note)


async def test_pages_give_no_request_an_id(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastrpc.access")
    async with (
        fastrpc.Server(Inner(), interceptors=[AccessLog()]) as behind,
        server_with_pages(Outer()) as server,
        Client(target_of(server)) as client,
    ):
        await client.call(Outer.pass_on, str(await behind.listen("tcp://127.0.0.1:0")))
    ids = [
        getattr(record, "request_id", None) for record in caplog.records if record.name == "fastrpc.access"
    ]
    # The server that was called has made one id for each call.
    assert len(ids) == len({*ids} - {None}) == 2


async def test_log_records_from_warning_on_are_kept_without_texts_of_exceptions() -> None:
    async with server_with_pages(Recently()) as server, Client(target_of(server)) as client:
        with pytest.raises(CallError):
            await client.call(Recently.crash, SECRET)
        logging.getLogger("fastrpc.server").info("not kept")
        logging.getLogger("fastrpc.client").warning("kept %s\n", "\x1b[31m")
        logging.getLogger("of.the.program").warning("not ours")
        answer = await page(server, "/logs")
        rows = answer.json["logs"]
        assert [(row["level"], row["logger"]) for row in rows] == [
            ("WARNING", "fastrpc.client"),
            ("ERROR", "fastrpc.server"),
        ]
        assert rows[0]["text"] == r"kept \x1b[31m\n"
        assert rows[1]["exception"].startswith("ValueError in crash (")
        assert SECRET not in answer.text
    logging.getLogger("fastrpc.client").warning("behind the end")
    assert len(rows) == 2


@pytest.mark.parametrize("letter", ["x", "\\", "\u202e", "\U000e0001", "\U0001f600", "\ud800"])
async def test_log_records_are_bounded_in_bytes(letter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The test run would keep all of them for its report, which cannot hold half a pair of surrogates.
    monkeypatch.setattr(logging.getLogger("fastrpc"), "propagate", False)
    long = logging.getLogger(f"fastrpc.{letter * 5_000}")
    try:
        async with server_with_pages(Recently()) as server:
            for number in range(recent.MOST_RECORDS):
                long.warning("%d %s", number, letter * 5_000)
            content = (await page(server, "/logs")).content
            assert recent.MOST_BYTES * 0.9 < len(content) < recent.MOST_BYTES * 1.1
            rows = json.loads(content)["logs"]
            # The newest records are kept, and a short record after them drops no more records than necessary.
            newest = recent.MOST_RECORDS - 1
            assert [row["text"].split()[0] for row in rows] == [str(newest - at) for at in range(len(rows))]
            logging.getLogger("fastrpc.client").warning("short")
            assert len(rows) <= (await page(server, "/logs")).json["total"] <= len(rows) + 1
    finally:
        del logging.Logger.manager.loggerDict[long.name]


async def test_pages_of_log_records_leave_no_handler_behind() -> None:
    handlers = list(logging.getLogger("fastrpc").handlers)
    async with server_with_pages(Recently()):
        assert len(logging.getLogger("fastrpc").handlers) == len(handlers) + 1
    assert logging.getLogger("fastrpc").handlers == handlers


async def test_errors_are_still_on_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The program has no handlers: the handlers of the test run are taken away.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    async with server_with_pages(Recently()):
        logging.getLogger("fastrpc.server").error("the program has no handlers")
    assert "the program has no handlers" in capsys.readouterr().err


async def test_endpoints_are_listed_for_the_clients_of_the_process() -> None:
    async with server_with_pages(Recently()) as server:
        target = target_of(server)
        async with Client([target, "tcp://127.0.0.1:1"]) as client:
            await client.call(Recently.find, "x")
            rows = [
                one
                for one in (await page(server, "/endpoints")).json["endpoints"]
                if one["address"] == target
            ]
            assert rows
            row = rows[0]
            assert (row["state"], row["breaker"], row["in_flight"]) == ("connected", "closed", 0)
            assert row["connections"] == 1
        rows = (await page(server, "/endpoints")).json["endpoints"]
        assert target not in [one["address"] for one in rows]


async def test_stacks_name_threads_and_tasks_without_values() -> None:
    go = threading.Event()

    def hidden_in_a_thread(secret: str) -> None:
        go.wait(20)

    async def innermost(secret: str) -> None:
        await asyncio.Event().wait()

    async def between(secret: str) -> None:
        await innermost(secret)

    async def hidden_in_a_task(secret: str) -> None:
        await between(secret)

    thread = threading.Thread(target=hidden_in_a_thread, args=(SECRET,), name="kept")
    thread.start()
    task = asyncio.create_task(hidden_in_a_task(SECRET), name="kept as well")
    try:
        async with server_with_pages(Recently()) as server:
            answer = await page(server, "/stacks")
            [one] = [one for one in answer.json["threads"] if one["name"] == "kept"]
            assert any("hidden_in_a_thread" in frame for frame in one["frames"])
            [one] = [one for one in answer.json["tasks"] if one["name"] == "kept as well"]
            names = [frame.rpartition(".")[2] for frame in one["frames"]]
            assert names == ["hidden_in_a_task", "between", "innermost", "wait"]
            assert SECRET not in answer.text
            assert "hidden_in_a_task" in (await page(server, "/stacks", Accept="text/html")).text
    finally:
        go.set()
        thread.join()
        task.cancel()


async def test_each_page_names_a_worker_that_hangs(tmp_path: Path) -> None:
    with worker_pages(tmp_path, 2) as serving:
        hung, other = serving.workers()

        def ask(path: str, accepted: str) -> Answer:
            return fetch(serving.port, path, Accept=accepted)

        os.kill(hung, signal.SIGSTOP)
        try:
            for path in sorted(TABLES - {"/config"}):
                found = (await asyncio.to_thread(ask, path, "application/json")).json
                assert found["without"] == [hung], path
            # Operators look at several programs; one page shows them, and each request waits two seconds for the hung
            # worker.
            answer = await asyncio.to_thread(ask, "/calls", "text/html")
            assert (answer.status, f"without: {hung}" in answer.text) == (200, True)
            # It cannot show its own stacks.
            found = (await asyncio.to_thread(ask, "/stacks", "application/json")).json
            assert found["hints"] == [f"py-spy dump --pid {hung}"]
            assert {row["process_id"] for row in found["threads"]} == {other}
            assert f"py-spy dump --pid {hung}" in (await asyncio.to_thread(ask, "/stacks", "text/html")).text
        finally:
            os.kill(hung, signal.SIGCONT)
        found = (await asyncio.to_thread(ask, "/stacks", "application/json")).json
        assert found.keys() == {"total", "threads", "tasks"}


async def test_recent_pages_of_workers_have_the_rows_of_all(tmp_path: Path) -> None:
    with worker_pages(tmp_path) as serving:
        async with Client(serving.address) as client:
            for _ in range(3):
                with pytest.raises(CallError):
                    await client.call("work.fail")

        def ask(path: str) -> Any:
            return fetch(serving.port, path).json

        ended = await asyncio.to_thread(ask, "/ended")
        assert [row["method"] for row in ended["ended"]] == ["work.fail"] * 3
        assert {row["process_id"] for row in ended["ended"]} <= set(serving.workers())
        stacks = await asyncio.to_thread(ask, "/stacks")
        assert {row["process_id"] for row in stacks["threads"]} == set(serving.workers())
        for path in ("/logs", "/endpoints"):
            assert (await asyncio.to_thread(ask, path))["total"] >= 0
