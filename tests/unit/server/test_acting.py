"""Acts that take too long or fail by a mistake: the caller gets an answer, and the audit a record."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from fastrpc.endpoint import Address
from fastrpc.peers.peer import Peer
from fastrpc.rpc.identity import Identity
from fastrpc.server.admin import acting
from fastrpc.server.admin.access import AdminAccess
from fastrpc.server.admin.acting import Acts
from fastrpc.server.admin.acts import Done, Setting
from fastrpc.server.admin.operators import Operators
from tests.support.admin_pages import operators_file

pytestmark = pytest.mark.one_loop

BODY = b'{"service": "a", "serving": false, "was": true}'


class Acted:
    """Carries settings out as a test says, and counts those under way."""

    identity = "of-a-test"

    def __init__(self, work: Any) -> None:
        self._work = work
        self.most = self.under_way = 0

    async def set(self, name: str, setting: Setting, values: dict[str, Any]) -> Done:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self._work()
        finally:
            self.under_way -= 1
        return Done(True, False, [1], [])

    def drain(self) -> list[int]:
        raise NotImplementedError

    def roll(self) -> list[int]:
        raise NotImplementedError


async def answers_of(acted: Acted, folder: Path, number: int = 1) -> list[tuple[int, dict[str, Any]]]:
    """Ask for an act so many times at once, and return the answers."""
    access = AdminAccess(None, is_local=True, has_host=False)
    acts = Acts(acted, Operators(operators_file(folder), access, "http"))
    told: list[tuple[int, dict[str, Any]]] = []
    all_told = asyncio.Event()

    def tell(status: int, values: dict[str, Any]) -> None:
        told.append((status, values))
        if len(told) == number:
            all_told.set()

    for _ in range(number):
        acts.begin("serving", BODY, Identity("ada"), Peer(Address("unix")), tell)
    async with asyncio.timeout(20):
        await all_told.wait()
    acts.close()
    return told


async def test_an_act_that_takes_too_long_is_answered_and_in_the_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(acting, "ACT_SECONDS", 0.01)
    [(status, values)] = await answers_of(Acted(asyncio.Event().wait), tmp_path)
    assert status == 503
    assert "some processes may carry it out later" in values["error"]
    [record] = [one for one in caplog.records if one.name == "fastrpc.audit"]
    assert (record.levelno, vars(record)["identity"]) == (logging.WARNING, "ada")


async def test_an_act_that_fails_by_a_mistake_tells_its_caller_no_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise LookupError("inside")

    [(status, values)] = await answers_of(Acted(fail), tmp_path)
    assert (status, values) == (500, {"error": "the act failed, the log of the server has the reason"})
    assert {one.name for one in caplog.records} == {"fastrpc.server", "fastrpc.audit"}
    assert "inside" in caplog.text


async def test_acts_are_carried_out_one_after_the_other(tmp_path: Path) -> None:
    async def wait() -> None:
        await asyncio.sleep(0)

    acted = Acted(wait)
    told = await answers_of(acted, tmp_path, 5)
    assert [status for status, _ in told] == [200] * 5
    assert acted.most == 1
