"""The acts of a server of several workers: the monitor passes them on."""

import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from fastrpc.server.admin.acts import (
    NO_REGISTRY,
    ActRefusedError,
    Done,
    Note,
    OfRecords,
    Parts,
    Setting,
    Where,
    check_was,
)
from fastrpc.workers.monitoring.kept_settings import KeptSettings
from fastrpc.workers.monitoring.scoreboard import ProcessPlace, Role, Scoreboard

__all__ = ["ActedWorkers"]

#: Seconds for processes to run an act, or to report its value beforehand.
ACT_SECONDS: Final = 3.0

#: Seconds without a sign of life after which a process is not asked. It carries out missed acts once it runs again.
SILENT_SECONDS: Final = 2.5

#: The purpose of the processes that have a setting.
ROLES: Final = {Where.SERVICES: (Role.WORKER,), Where.RECORDS: (Role.ANNOUNCER,), Where.ALL: tuple(Role)}

#: The error if no process answered.
SILENCE: Final = {
    Where.RECORDS: "the process that registers the server does not answer, nothing was changed",
    Where.SERVICES: "no worker answers, nothing was changed",
}


class _Asking(Protocol):
    """The processes of the server."""

    is_draining: bool

    async def answers(
        self, question: str, places: Sequence[ProcessPlace], seconds: float
    ) -> dict[str, dict[str, Any]]: ...


class ActedWorkers:
    """A server of several workers, as acts change it. This object lives in the process of the monitor.

    Args:
        asking: asks the processes.
        has_registry: whether a process registers the server.
        tell: sends a signal to a process: `os.kill`.
    """

    def __init__(
        self,
        asking: _Asking,
        board: Scoreboard,
        tell: Callable[[int, int], None] = os.kill,
        *,
        has_registry: bool = False,
    ) -> None:
        self._asking = asking
        self._board = board
        self._has_registry = has_registry
        self._tell = tell
        self._supervisor = os.getppid()
        self._is_ending = False
        self._kept = KeptSettings(board, Parts())
        # A monitor that ran before this one may have kept some settings.
        self._kept.catch_up()

    @property
    def identity(self) -> str:
        """The identity of the server, which changes with each start."""
        return self._board.identity

    async def set(self, name: str, setting: Setting, values: dict[str, Any], note: Note) -> Done:
        """Apply a setting in all processes that have it, if each still has the value that the caller saw.

        Args:
            note: called once the setting is kept, before the processes are told of it.

        Raises:
            ActRefusedError: the act is not carried out.
        """
        if setting.where is Where.RECORDS and not self._has_registry:
            raise ActRefusedError(409, NO_REGISTRY)
        subject, wanted = setting.wanted(values)
        places = [one for one in self._board.living() if one.role in ROLES[setting.where]]
        processes = [place.process for place in places]
        # A starting process catches up with the settings before its first sign of life.
        asked = [one for one in places if one.has_begun and one.silent_seconds < SILENT_SECONDS]
        ask = self._asker(name, subject, asked)
        answers = await ask(False)
        found, refusals = self._found(setting, subject, answers)
        if not found:
            raise _refused(setting, answers, refusals)
        check_was(values["was"], wanted, found)
        self._keep(name, setting, values, note)
        # From here on each process carries out the setting, at its next beat at the latest.
        answers = await ask(True)
        found, _ = self._found(setting, subject, answers)
        without = [process for process in processes if str(process) not in answers]
        after = _shared(found) if found else wanted
        return Done(values["was"], after, sorted(found), without, _problem(setting, answers))

    def _keep(self, name: str, setting: Setting, values: dict[str, Any], note: Note) -> None:
        subject, wanted = setting.wanted(values)
        override = self._kept.override()
        self._board.keep(self._kept.with_further(name, subject, wanted))
        if isinstance(setting, OfRecords):
            note(override.values(), setting.changed(override, wanted).values())
        else:
            note(values["was"], wanted)
        self._kept.catch_up()

    def _asker(
        self, name: str, subject: str, places: Sequence[ProcessPlace]
    ) -> Callable[[bool], Awaitable[Mapping[str, Mapping[str, Any]]]]:
        """Return the function that asks for the values; its argument says whether they are set already."""

        def ask(is_set: bool) -> Awaitable[Mapping[str, Mapping[str, Any]]]:
            question = json.dumps([name, subject, is_set], ensure_ascii=False)
            return self._asking.answers(f"act {question}", places, ACT_SECONDS)

        return ask

    def _found(
        self, setting: Setting, subject: str, answers: Mapping[str, Mapping[str, Any]]
    ) -> tuple[dict[int, Any], list[ActRefusedError]]:
        """Return the values by process, and the refusals of processes."""
        found = {
            int(process): answer["value"]
            for process, answer in answers.items()
            if answer.get("value") is not None
        }
        refusals = [
            ActRefusedError(answer["status"], answer["refused"])
            for answer in answers.values()
            if "refused" in answer
        ]
        try:
            own = self._kept.look(setting, subject)
        except ActRefusedError as error:
            refusals.append(error)
        else:
            if own is not None:
                found[os.getpid()] = own
        return found, refusals

    def drain(self) -> list[int]:
        """Tell the supervisor to drain; return its process.

        Raises:
            ActRefusedError: the server drains already, or the supervisor is gone.
        """
        self._check_goes_on()
        # A second signal would cut calls off.
        self._is_ending = True
        return self._told(signal.SIGTERM)

    def roll(self) -> list[int]:
        """Tell the supervisor to replace the workers; return its process.

        Raises:
            ActRefusedError: the server drains, or the supervisor is gone.
        """
        self._check_goes_on()
        return self._told(signal.SIGHUP)

    def _check_goes_on(self) -> None:
        if self._is_ending or self._asking.is_draining:
            raise ActRefusedError(409, "the server drains already")

    def _told(self, number: int) -> list[int]:
        if os.getppid() != self._supervisor:
            # The supervisor ended, so another process adopted this one.
            raise ActRefusedError(503, "the supervisor is gone")
        self._tell(self._supervisor, number)
        return [self._supervisor]


def _refused(
    setting: Setting, answers: Mapping[str, Mapping[str, Any]], refusals: Sequence[ActRefusedError]
) -> ActRefusedError:
    """Return the reason why no process has a value."""
    if refusals:
        return refusals[0]
    if answers:
        return ActRefusedError(409, "the server drains, nothing was changed")
    return ActRefusedError(503, SILENCE[setting.where])


def _problem(setting: Setting, answers: Mapping[str, Mapping[str, Any]]) -> str:
    """Return why a kept setting has no full effect yet; "" if it has."""
    if setting.where is Where.RECORDS and not answers:
        return "the process that registers the server did not answer: it sends the records once it runs"
    return next((text for answer in answers.values() if (text := answer.get("problem"))), "")


def _shared(found: Mapping[int, Any]) -> Any:
    """Return the value that all processes have, or the values by process."""
    values: Iterable[Any] = found.values()
    first = next(iter(values))
    return (
        first
        if all(value == first for value in values)
        else {str(process): value for process, value in found.items()}
    )
