"""Settings that acts have made, as processes carry them out: each once, in their order, whenever they look."""

import asyncio
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

from fastrpc.errors import ConfigError
from fastrpc.server.admin.acts import ACTS, ActRefusedError, Parts, Setting, Where, check_was
from fastrpc.workers.monitoring.acted_workers import ActedWorkers
from fastrpc.workers.monitoring.kept_settings import KeptSettings
from fastrpc.workers.monitoring.scoreboard import Role, Scoreboard
from tests.support.forking import fork

pytestmark = pytest.mark.one_loop


class Served:
    """Notes its settings."""

    def __init__(self, *services: str) -> None:
        self.states = dict.fromkeys(services, True)
        self.noted: list[tuple[str, bool]] = []

    def serves(self, service: str) -> bool | None:
        if service not in self.states:
            raise ConfigError(f"this server has no service {service!r}")
        return self.states[service]

    def set_serving(self, serving: bool, service: str) -> None:
        self.serves(service)
        self.states[service] = serving
        self.noted.append((service, serving))


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    made = Scoreboard(3)
    yield made
    made.close()


def keep(board: Scoreboard, service: str, serving: bool) -> None:
    board.keep(KeptSettings(board, Parts()).with_further("serving", service, serving))


class Torn:
    """The record of a server, which cannot be read whole for now."""

    def __init__(self, board: Scoreboard) -> None:
        self._board = board
        self.is_torn = True

    @property
    def kept_version(self) -> int:
        return self._board.kept_version

    def kept(self) -> bytes:
        return b"" if self.is_torn else self._board.kept()


def test_settings_that_cannot_be_read_whole_are_carried_out_later(board: Scoreboard) -> None:
    keep(board, "a", False)
    served = Served("a")
    torn = Torn(board)
    kept = KeptSettings(torn, Parts(served))
    kept.catch_up()
    assert served.noted == []
    torn.is_torn = False
    kept.catch_up()
    assert served.noted == [("a", False)]


def test_each_setting_is_carried_out_once(board: Scoreboard) -> None:
    served = Served("a", "b")
    kept = KeptSettings(board.places[0], Parts(served))
    kept.catch_up()
    assert served.noted == []
    keep(board, "a", False)
    kept.catch_up()
    kept.catch_up()
    keep(board, "b", False)
    kept.catch_up()
    assert served.noted == [("a", False), ("b", False)]


def test_a_process_that_starts_later_gets_the_last_of_each_subject(board: Scoreboard) -> None:
    for serving in (False, True, False):
        keep(board, "a", serving)
        keep(board, "b", not serving)
    served = Served("a", "b")
    KeptSettings(board.places[1], Parts(served)).catch_up()
    assert served.noted == [("a", False), ("b", True)]


def test_a_child_of_the_supervisor_gets_them_whenever_it_was_forked(board: Scoreboard) -> None:
    keep(board, "a", False)
    child = fork()
    if child == 0:
        served = Served("a")
        KeptSettings(board.places[2], Parts(served)).catch_up()
        os._exit(0 if served.states == {"a": False} else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_setting_without_its_service_is_logged_and_the_others_continue(
    board: Scoreboard, caplog: pytest.LogCaptureFixture
) -> None:
    keep(board, "gone", False)
    keep(board, "a", False)
    served = Served("a")
    KeptSettings(board.places[0], Parts(served)).catch_up()
    assert served.noted == [("a", False)]
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "the act serving of gone has no effect here" in record.getMessage()


def test_the_record_of_the_server_is_separate_from_records_of_its_processes(board: Scoreboard) -> None:
    assert (board.kept(), board.kept_version) == (b"", 0)
    for place in board.places:
        place.prepare(Role.WORKER)
        place.set_connections(2**32 - 1, 2**32 - 1)
    board.count_refused("address")
    board.keep(b"kept")
    assert (board.places[0].kept(), board.places[0].kept_version) == (b"kept", 1)
    assert board.refused()["address"] == 1
    assert board.living() == []


@pytest.mark.parametrize(
    ("found", "agrees"),
    [
        ({1: True, 2: True}, True),
        # One process took an earlier act that the other did not: the next act repairs it.
        ({1: True, 2: False}, True),
        ({1: False, 2: False}, False),
        ({1: False}, False),
    ],
)
def test_an_act_that_came_half_way_is_repaired_by_the_next_one(found: dict[int, Any], agrees: bool) -> None:
    if agrees:
        check_was(True, False, found)
    else:
        with pytest.raises(ActRefusedError) as caught:
            check_was(True, False, found)
        assert (caught.value.status, caught.value.now) == (409, False)


def test_values_that_differ_are_told_by_process() -> None:
    with pytest.raises(ActRefusedError) as caught:
        check_was("info", "debug", {1: "warning", 2: "error"})
    assert caught.value.now == {"1": "warning", "2": "error"}


class Asked:
    """Answers for processes, and notes the questions."""

    def __init__(self, *answers: dict[str, dict[str, Any]]) -> None:
        self.is_draining = False
        self.answered = list(answers)
        self.questions: list[str] = []
        self.asked: list[int] = []
        # Before the values are noted, and after that.
        self.noted: list[tuple[int, Any, Any]] = []

    def note(self, before: Any, after: Any) -> None:
        self.noted.append((len(self.questions), before, after))

    async def answers(self, question: str, places: Any, seconds: float) -> dict[str, dict[str, Any]]:
        self.questions.append(question)
        self.asked = [place.process for place in places]
        return self.answered.pop(0)


async def set_serving(board: Scoreboard, asked: Asked) -> Any:
    setting = ACTS["serving"]
    values = {"service": "a", "serving": False, "was": True}
    acted = ActedWorkers(asked, board)
    assert not isinstance(setting, tuple)
    return await acted.set("serving", setting, values, asked.note)


async def test_a_value_that_differs_in_one_process_keeps_nothing(board: Scoreboard) -> None:
    asked = Asked({"5": {"value": False}, "6": {"value": False}})
    with pytest.raises(ActRefusedError) as caught:
        await set_serving(board, asked)
    assert (caught.value.status, board.kept_version, len(asked.questions)) == (409, 0, 1)


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ({}, 503),
        ({"5": {"value": None}}, 409),
        ({"5": {"refused": "this server has no service 'a'", "status": 404}}, 404),
    ],
)
async def test_an_act_without_a_value_is_refused_with_the_reason(
    answers: dict[str, dict[str, Any]], status: int, board: Scoreboard
) -> None:
    with pytest.raises(ActRefusedError) as caught:
        await set_serving(board, Asked(answers))
    assert (caught.value.status, board.kept_version) == (status, 0)


async def test_processes_that_drain_take_no_part(board: Scoreboard) -> None:
    asked = Asked({"5": {"value": True}, "6": {"value": None}}, {"5": {"value": False}, "6": {"value": None}})
    done = await set_serving(board, asked)
    assert (done.after, done.processes, done.without) == (False, [5], [])
    assert board.kept_version == 1


async def test_an_act_that_is_kept_is_done_even_if_all_processes_end_then(board: Scoreboard) -> None:
    done = await set_serving(board, Asked({"5": {"value": True}}, {}))
    assert (done.after, done.processes, board.kept_version) == (False, [], 1)


async def act_on_records(board: Scoreboard, asked: Asked, name: str, **values: Any) -> Any:
    setting: Any = ACTS[name]
    return await ActedWorkers(asked, board, has_registry=True).set(name, setting, values, asked.note)


async def take_out(board: Scoreboard, *answers: dict[str, dict[str, Any]], has_registry: bool = True) -> Any:
    setting: Any = ACTS["out"]
    asked = Asked(*answers)
    acted = ActedWorkers(asked, board, has_registry=has_registry)
    return await acted.set("out", setting, {"was": False}, asked.note)


async def test_processes_that_start_or_are_silent_are_not_waited_for(
    board: Scoreboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    for process, place in enumerate(board.places, 5):
        place.prepare(Role.WORKER)
        place.give(process)
    board.places[0].set_ready(False)
    board.places[1].set_ready(True)
    asked = Asked(
        {"5": {"value": True}, "6": {"value": True}}, {"5": {"value": False}, "6": {"value": False}}
    )
    done = await set_serving(board, asked)
    assert (asked.asked, done.processes, done.without) == ([5, 6], [5, 6], [7])
    monkeypatch.setattr("fastrpc.workers.monitoring.acted_workers.SILENT_SECONDS", 0.0)
    with pytest.raises(ActRefusedError):
        await set_serving(board, asked := Asked({}))
    assert asked.asked == []


async def test_values_are_noted_as_soon_as_they_are_kept(board: Scoreboard) -> None:
    asked = Asked({"5": {"value": True}}, {"5": {"value": False}})
    await set_serving(board, asked)
    assert asked.noted == [(1, True, False)]


async def test_only_the_question_after_an_act_waits_for_the_registry(board: Scoreboard) -> None:
    asked = Asked({"5": {"value": False, "problem": ""}}, {"5": {"value": True, "problem": ""}})
    await act_on_records(board, asked, "out", was=False)
    assert asked.questions == ['act ["out", "", false]', 'act ["out", "", true]']


async def test_the_whole_override_is_noted_of_an_act_on_records(board: Scoreboard) -> None:
    rounds: list[tuple[str, dict[str, Any], Any, Any]] = [
        ("weight", {"weight": 5, "was": 3}, 3, 5),
        ("out", {"was": False}, False, True),
        ("in", {"was": True}, True, False),
        ("weight", {"weight": 5, "was": 3}, 3, 5),
        ("in", {"was": False}, False, False),
    ]
    asked = Asked()
    for name, values, before, after in rounds:
        asked.answered += [{"5": {"value": before}}, {"5": {"value": after}}]
        await act_on_records(board, asked, name, **values)
    configured, weighed = {"is_out": False, "weight": None}, {"is_out": False, "weight": 5}
    out = {"is_out": True, "weight": 5}
    assert [(before, after) for _, before, after in asked.noted] == [
        (configured, weighed),
        (weighed, out),
        (out, configured),
        (configured, weighed),
        (weighed, configured),
    ]


async def test_an_act_that_is_cut_off_holds_in_the_process_of_the_pages(
    board: Scoreboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("fastrpc.server")
    monkeypatch.setattr(logger, "level", logging.INFO)

    class CutOff(Asked):
        async def answers(self, question: str, places: Any, seconds: float) -> dict[str, dict[str, Any]]:
            if self.questions:
                raise asyncio.CancelledError
            return await super().answers(question, places, seconds)

    setting: Any = ACTS["log_level"]
    asked = CutOff({})
    values = {"logger": "fastrpc.server", "level": "debug", "was": "info"}
    with pytest.raises(asyncio.CancelledError):
        await ActedWorkers(asked, board).set("log_level", setting, values, asked.note)
    assert (asked.noted, logger.level) == ([(1, "info", "debug")], logging.DEBUG)
    logger.setLevel(logging.INFO)


async def test_an_announcer_that_ends_within_an_act_is_reported_and_the_act_is_kept(
    board: Scoreboard,
) -> None:
    done = await take_out(board, {"5": {"value": False, "problem": ""}}, {})
    assert (done.after, done.processes, board.kept_version) == (True, [], 1)
    assert done.values()["problem"] == (
        "the process that registers the server did not answer: it sends the records once it runs"
    )
    answers = [{"5": {"value": value, "problem": "no such right"}} for value in (False, True)]
    done = await take_out(board, *answers)
    assert (done.after, done.processes, done.problem) == (True, [5], "no such right")


@pytest.mark.parametrize(
    ("answers", "has_registry", "text"),
    [
        ({}, False, "the server has no registry"),
        ({}, True, "the process that registers the server does not answer, nothing was changed"),
        ({"5": {"value": None, "problem": ""}}, True, "the server drains, nothing was changed"),
    ],
)
async def test_an_act_on_records_that_nothing_keeps_is_refused(
    answers: dict[str, dict[str, Any]], has_registry: bool, text: str, board: Scoreboard
) -> None:
    with pytest.raises(ActRefusedError) as caught:
        await take_out(board, answers, has_registry=has_registry)
    assert (caught.value.text, board.kept_version) == (text, 0)


async def test_a_supervisor_that_is_gone_gets_no_signal(
    board: Scoreboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    acted = ActedWorkers(Asked(), board, lambda process, number: told.append((process, number)))
    monkeypatch.setattr(os, "getppid", lambda: 1)
    for act in (acted.roll, acted.drain):
        with pytest.raises(ActRefusedError):
            act()
    assert told == []


def test_settings_and_orders_are_distinguished() -> None:
    names = [name for name, act in ACTS.items() if not isinstance(act, tuple)]
    assert names == ["serving", "log_level", "out", "in", "weight"]
    settings: list[Setting] = [act for act in ACTS.values() if not isinstance(act, tuple)]
    assert [one.where for one in settings] == [Where.SERVICES, Where.ALL, *[Where.RECORDS] * 3]
