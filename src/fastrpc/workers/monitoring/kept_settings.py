"""Settings made by acts in a server with several processes.

::

    monitor ──► the record of the server on the scoreboard ──► each process, at a question or its next beat

The record exists as long as the server. So a process gets all settings even if it starts later, hangs meanwhile or
replaces a killed process, and even if the monitor is killed in the middle of an act. If an announcer is killed between
two records of the registry, its successor writes all records.
"""

import json
import logging
from typing import Any, NamedTuple, Protocol

from fastrpc.errors import FastRPCError
from fastrpc.escaping import printable
from fastrpc.server.admin.acts import ACTS, ActRefusedError, OfRecords, Order, Parts, Setting, problem_of
from fastrpc.server.override import CONFIGURED, Override

__all__ = ["KeptSettings"]

logger = logging.getLogger("fastrpc.server")


class _Kept(Protocol):
    """The server's record of settings, on the scoreboard or a place of it."""

    @property
    def kept_version(self) -> int: ...

    def kept(self) -> bytes: ...


class _Made(NamedTuple):
    """A setting made by an act. Only the last setting of the same act and subject is kept."""

    #: The number of the setting, counted per server.
    number: int
    act: str
    subject: str
    value: Any


class KeptSettings:
    """The settings that one process has carried out.

    Args:
        record: the record of the server.
        parts: the parts of the process.
    """

    def __init__(self, record: _Kept, parts: Parts) -> None:
        self._record = record
        self._parts = parts
        self._version = 0
        self._number = 0

    def catch_up(self) -> None:
        """Carry out settings that are new for this process. If the record cannot be read now, the next call does it."""
        version = self._record.kept_version
        if version == self._version:
            return
        record = self._record.kept()
        if not record:
            return
        for made in _made_of(record):
            if made.number > self._number:
                self._number = made.number
                self._carry_out(made)
        self._version = version

    def made(self) -> list[_Made]:
        """Return all settings of the server, the oldest first."""
        return _made_of(self._record.kept() or b"[]")

    def override(self) -> Override:
        """Return the override of registry records that the settings result in."""
        override = CONFIGURED
        for made in self.made():
            setting = ACTS[made.act]
            if isinstance(setting, OfRecords):
                override = setting.changed(override, made.value)
        return override

    def with_further(self, act: str, subject: str, value: Any) -> bytes:
        """Return the record with one more setting."""
        made = self.made()
        number = max((one.number for one in made), default=0) + 1
        others = [one for one in made if (one.act, one.subject) != (act, subject)]
        return json.dumps([*others, _Made(number, act, subject, value)]).encode()

    async def answer(self, question: str) -> dict[str, Any]:
        """Answer the monitor's question for the value of a setting. If the setting is new, carry it out first.

        Args:
            question: JSON with act and subject, and whether the value is set already.

        Returns:
            `value` (None if the process has none) and `problem`, the reason why it is not fully in effect yet, or "";
            or, after a refusal, its reason as `refused` and its `status`.
        """
        self.catch_up()
        act, subject, is_set = json.loads(question)
        setting = ACTS[act]
        assert not isinstance(setting, Order)
        try:
            value = self.look(setting, subject)
        except ActRefusedError as error:
            return {"refused": error.text, "status": error.status}
        # A question before the act must not wait for a registry.
        return {"value": value, "problem": await problem_of(setting, self._parts) if is_set else ""}

    def look(self, setting: Setting, subject: str) -> Any:
        """Return the value of a setting in this process; None: it has no value.

        Raises:
            ActRefusedError: this process has no such subject, or the act is impossible now.
        """
        return setting.look(self._parts, subject) if self._parts.has(setting.where) else None

    def _carry_out(self, made: _Made) -> None:
        setting = ACTS[made.act]
        assert not isinstance(setting, Order)
        if not self._parts.has(setting.where):
            return
        try:
            setting.set(self._parts, made.subject, made.value)
        except FastRPCError as error:
            # The setting may be for a service that a new version of the program lacks.
            logger.warning(
                "the act %s of %s has no effect here: %s", made.act, printable(made.subject), error.message
            )


def _made_of(record: bytes) -> list[_Made]:
    return [_Made(*row) for row in json.loads(record)]
