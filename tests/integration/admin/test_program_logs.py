"""The page of log records under `fastrpc run`: records of all loggers, and the program's logging stays its own."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Client
from fastrpc.server.admin.recent import Recent
from tests.support.admin_pages import fetch
from tests.support.program import Program, command_line

pytestmark = pytest.mark.one_loop

PROGRAM = """
import logging

import fastrpc


class Quiet(logging.Filter):
    def filter(self, record):
        return "quiet" not in record.getMessage()


apart = logging.getLogger("apart")
apart.propagate = False
apart.addHandler(logging.NullHandler())
filtered = logging.getLogger("filtered")
filtered.addFilter(Quiet())


@fastrpc.service("noting")
class Noting:
    @fastrpc.method
    async def note(self) -> None:
        logging.getLogger("shop").info("below the level")
        logging.getLogger("shop").warning("tea is %s", "out\\n")
        apart.error("not propagated")
        filtered.warning("quiet")
        filtered.warning("loud")

    @fastrpc.method
    async def configure(self) -> int:
        logging.basicConfig(format="OURS %(message)s")
        return len(logging.getLogger().handlers)
"""


async def rows_of(port: int) -> list[dict[str, Any]]:
    answer = await asyncio.to_thread(fetch, port, "/logs", Accept="application/json")
    rows: list[dict[str, Any]] = json.loads(answer.content)["logs"]
    return [row for row in rows if not row["logger"].startswith("fastrpc")]


def started(program: Program) -> tuple[int, str]:
    """Return the port of the pages, and the address."""
    port = int(program.wait_errors(r"admin pages at tcp://127\.0\.0\.1:(\d+)")[1])
    return port, program.wait_output(r"(tcp://127\.0\.0\.1:\d+)")[1]


@pytest.mark.parametrize("workers", [1, 2])
async def test_under_run_the_page_has_the_records_of_all_loggers(workers: int, tmp_path: Path) -> None:
    (tmp_path / "noting.py").write_text(PROGRAM)
    command = ["run", "noting:Noting", "--address", "tcp://127.0.0.1:0", "--workers", str(workers)]
    pages = {"FASTRPC_ADMIN_ADDRESS": "tcp://127.0.0.1:0"}
    with command_line(command, tmp_path, pages) as program:
        port, address = await asyncio.to_thread(started, program)
        async with Client(address) as client:
            await client.call("noting.note")
            rows = await rows_of(port)
            assert [(row["logger"], row["level"], row["text"]) for row in rows] == [
                ("filtered", "WARNING", "loud"),
                ("apart", "ERROR", "not propagated"),
                ("shop", "WARNING", r"tea is out\n"),
            ]
            # The program has added no handler so far: its records are on standard error as well.
            await asyncio.to_thread(program.wait_errors, "tea is out")
            assert await client.call("noting.configure") == 1
            await client.call("noting.note")
            await asyncio.to_thread(program.wait_errors, "OURS tea is out")


@pytest.mark.parametrize("ends_in_turn", [True, False])
def test_a_server_that_has_ended_keeps_no_records(
    ends_in_turn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = logging.Logger.callHandlers
    monkeypatch.setattr(logging.Logger, "callHandlers", before)
    first, second = Recent(of_all_loggers=True), Recent(of_all_loggers=True)
    first.begin()
    second.begin()
    logging.getLogger("shop").warning("kept")
    one, other = (second, first) if ends_in_turn else (first, second)
    one.end()
    logging.getLogger("shop").warning("kept by one")
    other.end()
    other.end()
    logging.getLogger("shop").warning("not kept")
    assert [row["text"] for row in one.records()["logs"]] == ["kept"]
    assert [row["text"] for row in other.records()["logs"]] == ["kept by one", "kept"]
    if ends_in_turn:
        assert logging.Logger.callHandlers is before


def test_a_message_without_a_text_does_not_fail_the_program_that_logs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other handlers tell of it on standard error, as the rule of logging is."""

    class Broken:
        def __str__(self) -> str:
            raise ValueError("no text")

    monkeypatch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
    # The handlers of the tests would raise.
    logger = logging.Logger("broken")
    recent = Recent(of_all_loggers=True)
    recent.begin()
    try:
        logger.addHandler(logging.NullHandler())
        logger.warning(Broken())
        logger.warning("%d", "seven")
    finally:
        recent.end()
    found = [row["text"] for row in recent.records()["logs"]]
    assert found[0] == "%d"
    assert "Broken" in found[1]
