"""Acts that change a server of one process."""

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from fastrpc.server.admin.acts import (
    ActRefusedError,
    Done,
    Note,
    OfRecords,
    Parts,
    Records,
    Setting,
    check_was,
    problem_of,
)
from fastrpc.server.override import CONFIGURED

if TYPE_CHECKING:
    from fastrpc.server.health import ServingState

__all__ = ["ActedServer", "Changeable"]


class Changeable(Protocol):
    """The interface of a server that acts use."""

    def set_serving(self, serving: bool, *, service: str | None = None) -> None:
        """Set the health of the server, or of one service."""

    def begin_drain(self) -> None:
        """Start to drain in the background."""


class ActedServer:
    """The interface through which acts change a server of one process, or the services of one worker.

    Args:
        identity: identifies this start of the server.
        records: returns the server's records in the registry; None without a registry.
    """

    def __init__(
        self,
        server: Changeable,
        health: "ServingState",
        identity: str,
        records: Callable[[], Records | None],
    ) -> None:
        self.identity = identity
        self._server = server
        self._health = health
        self._records = records
        self._is_ending = False

    def serves(self, service: str) -> bool | None:
        """Return whether a service is set to serve ("" for the whole server); None while the server drains.

        Raises:
            ConfigError: the server has no such service.
        """
        self._health.check_name(service)
        return None if self._health.is_draining else self._health.of(service) == "SERVING"

    def set_serving(self, serving: bool, service: str) -> None:
        """Set whether a service serves ("" for the whole server)."""
        self._server.set_serving(serving, service=service or None)

    async def set(self, name: str, setting: Setting, values: dict[str, Any], note: Note) -> Done:
        """Change a setting.

        Args:
            note: is called when the value is set, before waiting for the registry.

        Raises:
            ActRefusedError: nothing was changed.
        """
        subject, wanted = setting.wanted(values)
        parts = Parts(self, self._records())
        before = setting.look(parts, subject)
        if before is None:
            raise ActRefusedError(409, "the server drains, nothing was changed")
        check_was(values["was"], wanted, {os.getpid(): before})
        override = parts.records.override if parts.records is not None else CONFIGURED
        setting.set(parts, subject, wanted)
        after = setting.look(parts, subject)
        if isinstance(setting, OfRecords):
            note(override.values(), setting.changed(override, wanted).values())
        else:
            note(before, after)
        return Done(before, after, [os.getpid()], [], await problem_of(setting, parts))

    def drain(self) -> list[int]:
        """Drain as after SIGTERM; return the ID of this process.

        Raises:
            ActRefusedError: the server is already draining.
        """
        if self._is_ending or self._health.is_draining:
            raise ActRefusedError(409, "the server drains already")
        self._is_ending = True
        # Start later, so that the answer is sent first.
        asyncio.get_running_loop().call_soon(self._server.begin_drain)
        return [os.getpid()]

    def roll(self) -> list[int]:
        """Raise ActRefusedError, because there are no workers to replace.

        Raises:
            ActRefusedError: the server has no workers.
        """
        raise ActRefusedError(409, "the server has one process: there are no workers to replace")
