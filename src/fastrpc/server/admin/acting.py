"""Handle requests for acts: checks, the act, the answer, and the record in the audit log."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from fastrpc._core.exchange.request_head import RequestHead
from fastrpc.escaping import printable
from fastrpc.handlers.auth.audit import Audit
from fastrpc.peers.peer import Peer
from fastrpc.rpc.identity import Identity
from fastrpc.server.admin.acts import (
    ACTS,
    ActRefusedError,
    Done,
    Note,
    Order,
    Setting,
    keep_audit,
    values_of,
)
from fastrpc.time_limit import time_limit

if TYPE_CHECKING:
    from fastrpc.server.admin.operators import Operators

__all__ = ["Acting", "Acts"]

logger = logging.getLogger("fastrpc.audit")
life = logging.getLogger("fastrpc.server")

#: The most seconds for an act.
ACT_SECONDS = 10.0

#: The most seconds that an act waits for earlier acts.
TURN_SECONDS = 10.0

#: The step that refused a request, by the status of the answer. For every other status it is the act itself.
STEPS = {401: "authentication", 403: "authorisation", 421: "authorisation"}

#: Sends an answer with a status and values.
Tell: TypeAlias = Callable[[int, dict[str, Any]], None]


class Acting(Protocol):
    """The server that acts change. It may have one process or several."""

    @property
    def identity(self) -> str:
        """Identifies this start of the server."""

    async def set(self, name: str, setting: Setting, values: dict[str, Any], note: Note) -> Done:
        """Change a setting.

        Args:
            note: is called with the previous and the new value, when the value is set and before any wait.

        Raises:
            ActRefusedError: nothing was changed.
        """

    def drain(self) -> list[int]:
        """Drain as after SIGTERM; return the IDs of the notified processes.

        Raises:
            ActRefusedError: the server is already draining.
        """

    def roll(self) -> list[int]:
        """Replace the workers as after SIGHUP; return the IDs of the notified processes.

        Raises:
            ActRefusedError: there are no workers, or the server is draining.
        """


@dataclass(slots=True)
class _Asked:
    """A request for an act."""

    name: str
    body: bytes
    operator: Identity
    peer: Peer
    tell: Tell
    #: True if the act was executed and is in the audit log.
    is_done: bool = False


class Acts:
    """Runs the requested acts of one server, one after another."""

    def __init__(self, acting: Acting, operators: "Operators") -> None:
        self._acting = acting
        self._operators = operators
        self._audit = Audit()
        keep_audit()
        # Without this lock, two operators could compare the same value before either changes it.
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Log how many refusals were not logged. Running acts continue."""
        self._audit.close()

    def judge(self, name: str, head: RequestHead, peer: Peer) -> Identity:
        """Return the operator who requests an act. Log a refusal.

        Raises:
            ActRefusedError: the operator may not act.
        """
        try:
            return self._operators.judge(head)
        except ActRefusedError as error:
            self._refused(name, None, peer, error)
            raise

    def begin(self, name: str, body: bytes, operator: Identity, peer: Peer, tell: Tell) -> None:
        """Start to run an act; pass the answer to `tell`. A caller that disconnects does not stop the act."""
        task = asyncio.ensure_future(self._take(_Asked(name, body, operator, peer, tell)))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _take(self, asked: _Asked) -> None:
        try:
            async with time_limit(TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            text = f"the acts before this one took longer than {TURN_SECONDS:g} s, nothing was changed"
            self._refuse(asked, ActRefusedError(503, text))
            return
        try:
            await self._take_turn(asked)
        finally:
            self._turn.release()

    async def _take_turn(self, asked: _Asked) -> None:
        try:
            async with time_limit(ACT_SECONDS):
                values = await self._carry_out(asked)
        except ActRefusedError as error:
            self._refuse(asked, error)
        except TimeoutError:
            text = f"the act took longer than {ACT_SECONDS:g} s; some processes may carry it out later"
            self._refuse(asked, ActRefusedError(503, text))
        except Exception as error:
            life.error("the act %s failed", printable(asked.name), exc_info=error)
            text = "the act failed, the log of the server has the reason"
            self._refuse(asked, ActRefusedError(500, text))
        else:
            asked.tell(200, values)

    def _refuse(self, asked: _Asked, error: ActRefusedError) -> None:
        # If the act was executed before the error, it is already in the audit log.
        if not asked.is_done:
            self._refused(asked.name, asked.operator, asked.peer, error)
        asked.tell(error.status, error.values())

    async def _carry_out(self, asked: _Asked) -> dict[str, Any]:
        name = asked.name
        act = ACTS.get(name)
        if act is None:
            raise ActRefusedError(404, f"there is no such act; there are {', '.join(ACTS)}")
        values = values_of(act, asked.body)
        if isinstance(act, Order):
            done = self._order(act, values)
            self._log(asked, "", done.before, done.after)
        else:
            subject, _ = act.wanted(values)
            done = await self._acting.set(name, act, values, partial(self._log, asked, subject))
        return {"act": name, "server": self._acting.identity} | done.values()

    def _order(self, order: Order, values: dict[str, Any]) -> Done:
        now = {"server": self._acting.identity}
        if values["was"] != now:
            raise ActRefusedError(409, "this is another server, nothing was changed", now=now)
        processes: list[int] = getattr(self._acting, order.method)()
        return Done(now, now, processes, [])

    def _log(self, asked: _Asked, subject: str, before: Any, after: Any) -> None:
        """Log an act as soon as it has taken effect, because later steps may fail or time out."""
        asked.is_done = True
        shown = {
            "act": printable(" ".join(filter(None, (asked.name, subject)))),
            "operator": printable(asked.operator.name),
            "peer": str(asked.peer),
        }
        logger.warning(
            "act %s by %s of %s: %s before, %s now",
            shown["act"],
            shown["operator"],
            shown["peer"],
            before,
            after,
            extra={"event": "admin_act", "before": before, "after": after} | shown,
        )

    def _refused(self, name: str, operator: Identity | None, peer: Peer, error: ActRefusedError) -> None:
        # `Audit` limits the number of records for one peer.
        self._audit.refused(
            STEPS.get(error.status, "act"),
            printable(f"/act/{name}"),
            operator,
            peer,
            # The text may contain keys of the body.
            printable(error.text),
        )
