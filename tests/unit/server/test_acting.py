"""Acts that take too long, are cut off or fail by a mistake: the caller gets an answer, and the audit a record."""

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
from fastrpc.server.admin.acts import Done, Note, Setting
from fastrpc.server.admin.operators import Operators
from tests.support.admin_pages import operators_file

pytestmark = pytest.mark.one_loop

BODY = b'{"service": "a", "serving": false, "was": true}'


class Acted:
    """Carries settings out as a test says, and counts those under way."""

    identity = "of-a-test"

    def __init__(self, work: Any, *, is_set_first: bool = False) -> None:
        self._work = work
        self._is_set_first = is_set_first
        self.most = self.under_way = 0

    async def set(self, name: str, setting: Setting, values: dict[str, Any], note: Note) -> Done:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self._is_set_first:
            note(True, False)
        try:
            await self._work()
        finally:
            self.under_way -= 1
        if not self._is_set_first:
            note(True, False)
        return Done(True, False, [1], [])

    def drain(self) -> list[int]:
        raise NotImplementedError

    def roll(self) -> list[int]:
        raise NotImplementedError


def acts_of(acted: Acted, folder: Path) -> Acts:
    access = AdminAccess(None, is_local=True, has_host=False)
    return Acts(acted, Operators(operators_file(folder), access, "http"))


def audited(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [one for one in caplog.records if one.name == "fastrpc.audit"]


async def answers_of(
    acted: Acted, folder: Path, number: int = 1, body: bytes = BODY
) -> list[tuple[int, dict[str, Any]]]:
    """Send a number of requests for an act at once, and return the answers."""
    acts = acts_of(acted, folder)
    told: list[tuple[int, dict[str, Any]]] = []
    all_told = asyncio.Event()

    def tell(status: int, values: dict[str, Any]) -> None:
        told.append((status, values))
        if len(told) == number:
            all_told.set()

    for _ in range(number):
        acts.begin("serving", body, Identity("ada"), Peer(Address("unix")), tell)
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
    [record] = audited(caplog)
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


@pytest.mark.parametrize("fault", ["no end", "mistake"])
async def test_an_act_that_fails_once_it_is_set_is_in_the_audit_with_its_values(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(acting, "ACT_SECONDS", 0.01)

    async def work() -> None:
        if fault == "mistake":
            raise LookupError("inside")
        await asyncio.Event().wait()

    [(status, _)] = await answers_of(Acted(work, is_set_first=True), tmp_path)
    assert status == (500 if fault == "mistake" else 503)
    [record] = audited(caplog)
    facts = vars(record)
    assert (facts["event"], facts["before"], facts["after"]) == ("admin_act", True, False)


async def test_an_act_that_is_cut_off_once_it_is_set_is_in_the_audit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    acts = acts_of(Acted(work, is_set_first=True), tmp_path)
    acts.begin("serving", BODY, Identity("ada"), Peer(Address("unix")), lambda status, values: None)
    await begun.wait()
    [task] = acts._under_way
    # As the end of the loop does.
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    acts.close()
    assert [vars(one)["event"] for one in audited(caplog)] == ["admin_act"]


async def test_an_act_whose_turn_does_not_come_says_that_nothing_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(acting, "TURN_SECONDS", 0.01)
    second_is_told = asyncio.Event()
    acted = Acted(second_is_told.wait)
    acts = acts_of(acted, tmp_path)
    told: list[tuple[int, dict[str, Any]]] = []
    first_is_told = asyncio.Event()
    peer = Peer(Address("unix"))
    acts.begin("serving", BODY, Identity("ada"), peer, lambda status, values: first_is_told.set())

    def tell(status: int, values: dict[str, Any]) -> None:
        told.append((status, values))
        second_is_told.set()

    acts.begin("serving", BODY, Identity("eve"), peer, tell)
    async with asyncio.timeout(20):
        await first_is_told.wait()
    acts.close()
    assert told == [(503, {"error": "the acts before this one took longer than 0.01 s, nothing was changed"})]
    assert (acted.most, len(audited(caplog))) == (1, 2)


async def test_keys_of_a_body_are_escaped_in_the_audit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        raise NotImplementedError

    body = b'{"\\u001b[31m": 1}'
    [(status, _)] = await answers_of(Acted(work), tmp_path, body=body)
    assert status == 400
    [record] = audited(caplog)
    assert vars(record)["reason"].startswith(r"unknown: \x1b[31m; missing: ")
