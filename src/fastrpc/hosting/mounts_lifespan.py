"""The lifespan of a mounted application: its startup before the server listens, its shutdown after the drain."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from fastrpc.errors import ConfigError
from fastrpc.hosting.mounts_scope import ASGI
from fastrpc.user_code import contained

__all__ = ["Lifespan", "LifespanError"]

logger = logging.getLogger("fastrpc.server")

_VERSIONS: Final = {**ASGI, "spec_version": "2.0"}

#: Stands for the answer of an application that treats its lifespan as a request, so it does not support lifespans.
_UNSUPPORTED: Final = "unsupported"


class LifespanError(ConfigError):
    """Raised if the startup of a mounted application has failed."""


class Lifespan:
    """The lifespan of one application.

    Args:
        place: the first path at which the application is mounted, for errors and logs.
    """

    def __init__(self, application: Callable[..., Any], place: str) -> None:
        self.application = application
        self.place = place
        #: The lifespan state, which the application sets for its requests.
        self.state: dict[str, Any] = {}
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        # `_asked`: the event that was sent last. `_received`: the last event that the application took. `_answer`: the
        # pending answer.
        self._asked = self._received = ""
        self._answer: asyncio.Future[dict[str, Any]] | None = None

    async def start(self) -> None:
        """Start the application. If it raises before it receives an event, or answers by HTTP, it has no lifespan.

        Raises:
            LifespanError: its startup failed.
        """
        try:
            answer = await self._ask("lifespan.startup")
        except BaseException:
            # A drain may cancel this after the answer: shut down an application that has started.
            await (self.stop() if self._has_started() else self._end())
            raise
        if answer is None:
            self._task = None
        elif answer["type"] == _UNSUPPORTED:
            logger.info("the application at %s answers its lifespan by HTTP: it has no lifespan", self.place)
            await self._end()
        elif answer["type"] == "lifespan.startup.failed":
            await self._end()
            raise self._failure(str(answer.get("message", "")))
        elif self._task is not None:
            self._task.add_done_callback(self._note_death)

    async def stop(self) -> None:
        """Shut the application down. Log an error of the shutdown."""
        if self._task is None or self._task.done():
            # `_note_death` has logged the end of the task.
            return
        self._task.remove_done_callback(self._note_death)
        try:
            answer = await self._ask("lifespan.shutdown")
        except LifespanError as error:
            logger.error("%s", error, exc_info=error.__cause__)
        else:
            if answer is not None and answer["type"] == "lifespan.shutdown.failed":
                logger.error(
                    "the application at %s could not shut down: %s", self.place, answer.get("message", "")
                )
        finally:
            await self._end()

    async def _ask(self, event: str) -> dict[str, Any] | None:
        """Send an event and return the answer, or None if the application has ended without an answer."""
        self._answer = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
        self._asked = event
        self._events.put_nowait({"type": event})
        await asyncio.wait((self._answer, self._task), return_when=asyncio.FIRST_COMPLETED)
        if self._answer.done():
            return self._answer.result()
        error = asyncio.CancelledError("its task") if self._task.cancelled() else self._task.exception()
        if error is not None and self._received:
            raise self._failure(f"{type(error).__name__}: {error}") from error
        return None

    def _has_started(self) -> bool:
        answer = self._answer
        return answer is not None and answer.done() and answer.result()["type"] == "lifespan.startup.complete"

    def _failure(self, reason: str) -> LifespanError:
        step = "start" if self._asked == "lifespan.startup" else "shut down"
        return LifespanError(f"the application at {self.place} could not {step}: {reason}")

    def _note_death(self, task: asyncio.Task[None]) -> None:
        """Log that the lifespan failed after its startup. The application still gets requests."""
        error = asyncio.CancelledError("its task") if task.cancelled() else task.exception()
        if error is not None:
            logger.error(
                "the lifespan of the application at %s failed while the server runs: %s: %s",
                self.place,
                type(error).__name__,
                error,
                exc_info=error,
            )

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": _VERSIONS.copy(), "state": self.state}
        with contained(f"the application at {self.place}"):
            await self.application(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        event = await self._events.get()
        self._received = event["type"]
        return event

    async def _send(self, message: dict[str, Any]) -> None:
        kind, answer = message["type"], self._answer
        is_foreign = kind.startswith(("http.", "websocket.")) and self._asked == "lifespan.startup"
        if is_foreign and answer is not None and not answer.done():
            answer.set_result({"type": _UNSUPPORTED})
            raise RuntimeError(f"the application at {self.place} has sent {kind!r} in its lifespan")
        if not self._received or kind not in (f"{self._received}.complete", f"{self._received}.failed"):
            raise RuntimeError(
                f"the application at {self.place} has sent {kind!r} as an answer of its lifespan"
            )
        if answer is None or answer.done():
            raise RuntimeError(f"the application at {self.place} has answered {self._received!r} twice")
        answer.set_result(message)

    async def _end(self) -> None:
        """Wait briefly for the task of the application, then cancel it."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            # The application has answered, so ignore an exception that it raises afterwards.
            await asyncio.wait((asyncio.gather(task, return_exceptions=True),), timeout=1.0)
