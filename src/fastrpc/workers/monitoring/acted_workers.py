"""Acts on a server with several workers, which the monitor passes on to its processes."""

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

#: Seconds that processes have to carry out an act, or to report the setting's value before it.
ACT_SECONDS: Final = 3.0

#: Seconds without a beat after which a process is not asked. It carries out missed acts when it runs again.
SILENT_SECONDS: Final = 2.5

#: The roles of the processes that a setting applies to.
ROLES: Final = {Where.SERVICES: (Role.WORKER,), Where.RECORDS: (Role.ANNOUNCER,), Where.ALL: tuple(Role)}

#: The error text if no process answered.
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
    """A server with several workers, as the object of acts. It is in the monitor's process.

    Args:
        asking: asks the processes.
        has_registry: whether a process registers the server.
        tell: sends a signal to a process, like `os.kill`.
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
        # A previous monitor may have recorded settings.
        self._kept.catch_up()

    @property
    def identity(self) -> str:
        """The identity of the server, which changes with each start."""
        return self._board.identity

    async def set(self, name: str, setting: Setting, values: dict[str, Any], note: Note) -> Done:
        """Apply a setting in all processes that have it, if each still has the value that the caller saw.

        Args:
            note: called after the setting was recorded, before the processes are notified.

        Raises:
            ActRefusedError: the act is not carried out.
        """
        if setting.where is Where.RECORDS and not self._has_registry:
            raise ActRefusedError(409, NO_REGISTRY)
        subject, wanted = setting.wanted(values)
        places = [one for one in self._board.living() if one.role in ROLES[setting.where]]
        processes = [place.process for place in places]
        # Processes that are starting are not asked: they apply the recorded settings before their first beat.
        asked = [one for one in places if one.has_begun and one.silent_seconds < SILENT_SECONDS]
        ask = self._asker(name, subject, asked)
        answers = await ask(False)
        found, refusals = self._found(setting, subject, answers)
        if not found:
            raise _refused(setting, answers, refusals)
        check_was(values["was"], wanted, found)
        self._keep(name, setting, values, note)
        # From now on each process carries out the setting, at its next beat at the latest.
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
        """Return a function that asks for the values. Its argument states whether they were set already."""

        def ask(is_set: bool) -> Awaitable[Mapping[str, Mapping[str, Any]]]:
            question = json.dumps([name, subject, is_set], ensure_ascii=False)
            return self._asking.answers(f"act {question}", places, ACT_SECONDS)

        return ask

    def _found(
        self, setting: Setting, subject: str, answers: Mapping[str, Mapping[str, Any]]
    ) -> tuple[dict[int, Any], list[ActRefusedError]]:
        """Return the values and the refusals, by process."""
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
        """Signal the supervisor to drain; return a list with its process id.

        Raises:
            ActRefusedError: the server drains already, or the supervisor has ended.
        """
        self._check_goes_on()
        # A second signal would cancel calls.
        self._is_ending = True
        return self._told(signal.SIGTERM)

    def roll(self) -> list[int]:
        """Signal the supervisor to replace the workers; return a list with its process id.

        Raises:
            ActRefusedError: the server drains, or the supervisor has ended.
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
    """Return the error for the case that no process has a value."""
    if refusals:
        return refusals[0]
    if answers:
        return ActRefusedError(409, "the server drains, nothing was changed")
    return ActRefusedError(503, SILENCE[setting.where])


def _problem(setting: Setting, answers: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the reason why a recorded setting is not fully in effect yet; "" if it is."""
    if setting.where is Where.RECORDS and not answers:
        return "the process that registers the server did not answer: it sends the records once it runs"
    return next((text for answer in answers.values() if (text := answer.get("problem"))), "")


def _shared(found: Mapping[int, Any]) -> Any:
    """Return the value if all processes have the same, else the values by process."""
    values: Iterable[Any] = found.values()
    first = next(iter(values))
    return (
        first
        if all(value == first for value in values)
        else {str(process): value for process, value in found.items()}
    )
