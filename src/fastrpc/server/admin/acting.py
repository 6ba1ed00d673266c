"""Requests for acts, from their heads to their answers and their records in the audit."""

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

#: Seconds that an act may take.
ACT_SECONDS = 10.0

#: Seconds that an act waits for earlier acts.
TURN_SECONDS = 10.0

#: The steps at which requests are refused, by the status of the answer; every other status is refused by the act.
STEPS = {401: "authentication", 403: "authorisation", 421: "authorisation"}

#: A function that takes status and values of an answer.
Tell: TypeAlias = Callable[[int, dict[str, Any]], None]


class Acting(Protocol):
    """The server that acts change: one process, or several."""

    @property
    def identity(self) -> str:
        """Identifies the server; it differs after each start."""

    async def set(self, name: str, setting: Setting, values: dict[str, Any], note: Note) -> Done:
        """Carry out a setting.

        Args:
            note: is called with the values before and after, once the value is set and before anything is waited for.

        Raises:
            ActRefusedError: the act is not carried out.
        """

    def drain(self) -> list[int]:
        """Drain, as after SIGTERM; return the notified processes.

        Raises:
            ActRefusedError: the server drains already.
        """

    def roll(self) -> list[int]:
        """Replace the workers, as after SIGHUP; return the notified processes.

        Raises:
            ActRefusedError: there are no workers, or the server drains.
        """


@dataclass(slots=True)
class _Asked:
    """A request for an act."""

    name: str
    body: bytes
    operator: Identity
    peer: Peer
    tell: Tell
    #: Whether the act was carried out and is in the audit.
    is_done: bool = False


class Acts:
    """Runs the acts that one server is asked for, one after the other."""

    def __init__(self, acting: Acting, operators: "Operators") -> None:
        self._acting = acting
        self._operators = operators
        self._audit = Audit()
        keep_audit()
        # Without this two operators could each compare a value that the other is about to change.
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Log the number of refusals that were left out. Acts under way continue."""
        self._audit.close()

    def judge(self, name: str, head: RequestHead, peer: Peer) -> Identity:
        """Return the operator of a request for an act; a refusal is logged.

        Raises:
            ActRefusedError: the operator may not act.
        """
        try:
            return self._operators.judge(head)
        except ActRefusedError as error:
            self._refused(name, None, peer, error)
            raise

    def begin(self, name: str, body: bytes, operator: Identity, peer: Peer, tell: Tell) -> None:
        """Run an act soon, and report status and values of the answer, even if the caller has left meanwhile."""
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
        # If the act was carried out meanwhile, the audit has it already.
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
        """Log an act as soon as it is done: later steps may fail or be cut off."""
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
        # `Audit` bounds the records of one peer.
        self._audit.refused(
            STEPS.get(error.status, "act"),
            printable(f"/act/{name}"),
            operator,
            peer,
            # The text may hold keys of the body.
            printable(error.text),
        )
