"""The plan of one endpoint, sans-IO: its next dial, its connections, and its last error.

A subchannel reports the outcome of dials and connections. It asks when the next dial is due, whether a connection is
missing, and which connections to retire.
"""

import logging
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from fastrpc._core.io.client_life import ClientLife
from fastrpc.client.dial_pauses import DialPauses
from fastrpc.client.reach_errors import trouble_at
from fastrpc.config import Backoff
from fastrpc.endpoint import Endpoint
from fastrpc.errors import CallError, ConnectError, FastRPCError
from fastrpc.status import Status

__all__ = ["CROWD_CALLS", "CROWD_SECONDS", "MOST_AUTOMATIC", "EndpointPlan", "refusal_at"]

logger = logging.getLogger("fastrpc.client")

#: With `connections_per_endpoint="auto"` a connection with CROWD_CALLS in flight is crowded. When all connections have
#: been crowded for CROWD_SECONDS, the client adds one, up to MOST_AUTOMATIC. A worker serves 16 calls in less than a
#: millisecond if their handlers do not wait, so a lasting crowd shows that the worker cannot keep up.
CROWD_CALLS = 16
CROWD_SECONDS = 0.1
MOST_AUTOMATIC = 8

#: The largest factor by which the interval of pings grows beyond `Keepalive.interval`.
RAREST_PINGS = 1_024

#: The number of pauses for which calls wait while the workers of a server are replaced.
REPLACEMENT_PAUSES = 5


class _Connection(Protocol):
    """The part of a connection that the plan uses."""

    @property
    def is_ready(self) -> bool:
        """Whether the server's SETTINGS have arrived."""

    @property
    def is_usable(self) -> bool:
        """Whether the connection accepts new calls."""

    @property
    def life(self) -> ClientLife:
        """The rules for the connection's age. An aged connection accepts calls until it is replaced."""

    def retire(self) -> None:
        """Accept no new calls. The clients retire the connections that the plan names."""


class EndpointPlan:
    """The state of one endpoint, and its next dial."""

    #: Whether a connection that ends right after SETTINGS is logged like a failed dial.
    logs_early_ends = True

    #: The factor by which the interval of pings on the endpoint's connections exceeds the setting.
    ping_factor = 1

    #: The instant since which a call with a key has waited for a connection that accepts calls.
    awaited_since: float | None = None

    def __init__(
        self,
        endpoint: Endpoint,
        backoff: Backoff,
        uniform: Callable[[float, float], float] = random.uniform,
        *,
        width: int | Literal["auto"] = 1,
    ) -> None:
        self.endpoint = endpoint
        #: The reason why there is no connection; None once SETTINGS arrived.
        self.error: FastRPCError | None = None
        #: The number of failed dials, and of connections that ended right after the handshake.
        self.failures = 0
        #: Whether a dial is in progress or queued.
        self.is_dialing = False
        #: Whether a dial has ended, successful or not.
        self.was_dialed = False
        #: Whether SETTINGS ever arrived from the endpoint.
        self.was_ready = False
        #: Whether the list of endpoints no longer has this endpoint.
        self.is_removed = False
        #: Whether it is connected before the first call and stays connected (`Pool.warm`).
        self.is_warm = False
        #: The random rank of the endpoint in this client, which selects the warm endpoints.
        self.rank = random.random()
        #: The endpoint's EndpointState in the endpoint set, or None.
        self.endpoint_state: Any = None
        #: The number of workers of the server, from its SETTINGS.
        self.workers = 1
        # The number of connections that calls have needed, if the width is automatic.
        self._needed = 1
        self._width = width
        self._first = backoff.first
        #: Whether calls wait for the next dial, which a pause defers although no dial failed.
        self.is_awaited = False
        # `_replacements`: how many connections in a row the server replaced early. `_replaced_at`: when it last did so.
        self._replacements, self._replaced_at = 0, -math.inf
        self._pauses = DialPauses(backoff, uniform)

    @property
    def connections(self) -> Sequence[_Connection]:
        """The connections that accept calls, as far as is known."""
        raise NotImplementedError

    @property
    def may_come(self) -> bool:
        """Whether a connection exists, is being made, or will be made after a pause that no failure caused."""
        return self.is_dialing or self.is_awaited or bool(self.connections)

    @property
    def has_callers(self) -> bool:
        """Whether a call waits for the dial in progress; a thread dials only for its own call."""
        return True

    # The wanted number of connections

    @property
    def width(self) -> int:
        """The number of connections allowed now."""
        return self._width if self._width != "auto" else min(self._needed, self.most)

    @property
    def most(self) -> int:
        """The number of connections that may ever be allowed."""
        return self._width if self._width != "auto" else min(self.workers, MOST_AUTOMATIC)

    @property
    def is_automatic(self) -> bool:
        """Whether calls decide the number of connections."""
        return self._width == "auto"

    @property
    def may_widen(self) -> bool:
        """Whether one more connection is allowed once all are crowded."""
        return self.width < self.most

    def widen(self) -> None:
        """Allow one more connection: each had too many calls for too long."""
        self._needed = self.width + 1

    def narrow(self) -> None:
        """Require only the current number of connections, because one ended after being idle."""
        self._needed = max(1, len(self.lasting))

    # The outcome of dials and connections

    def answered(self) -> None:
        """Record SETTINGS: after the next loss the first dial has no delay."""
        if self.error is not None:
            logger.info("connected to %s again", self.endpoint)
        self.error = self.awaited_since = None
        self.is_awaited = False
        self.was_ready = True
        self._pauses.answer(is_awaited=self.has_callers)

    def ended(
        self,
        *,
        was_ready: bool,
        lived: float,
        reason: object,
        at: float,
        hint: str | None = None,
        is_aged: bool = False,
        is_replaced: bool = False,
    ) -> None:
        """Record the end of a connection that was still wanted.

        Args:
            lived: seconds since the dial.
            hint: the remedy for the reason, if the connection ended before it was ready.
            at: the instant from which the next pause counts.
            is_aged: whether the connection was due to be replaced by `Keepalive.max_age`, which may be shorter than a
                pause.
            is_replaced: whether the server asked for another connection, by a GOAWAY that starts a drain.
        """
        if not was_ready:
            text = f"{self.endpoint}: the connection ended during its handshake: {reason}"
            self.note_failure(ConnectError(text, hint=hint), at)
        elif is_aged or lived >= self._first:
            # A new wait for the next dial begins here.
            self.awaited_since = None
            self._replacements = 0
            self._pauses.last()
        elif not (is_replaced and self._note_restart(at - lived, at)):
            # A server that drops every connection right after SETTINGS is redialled with a pause, too.
            error = ConnectError(f"{self.endpoint} ended the connection after {lived:.3f} s: {reason}")
            self.note_failure(error, at, is_logged=self.logs_early_ends, is_early=True)

    @property
    def is_called(self) -> bool:
        """Whether a call asked for the current connection, or was sent on it."""
        return self._pauses.is_called

    def note_use(self) -> None:
        """Record that a call is sent on the current connection."""
        self._pauses.use()

    def _note_restart(self, dialed_at: float, now: float) -> bool:
        """Record that the server replaced a connection early; return False if this counts as a failed dial.

        The next dial may reach another worker that is about to end. So there is no pause for as many early ends as the
        server has workers, and then a few pauses. A connection dialled before the last early end does not count again.
        """
        if dialed_at >= self._replaced_at:
            self._replacements += 1
            self._replaced_at = now
        beyond = self._replacements - min(self.workers, MOST_AUTOMATIC)
        if beyond > REPLACEMENT_PAUSES:
            return False
        if beyond <= 0:
            self._pauses.last()
        else:
            self.put_off(now)
            self.is_awaited = True
        return True

    def note_failure(
        self,
        error: FastRPCError,
        at: float,
        *,
        is_logged: bool = True,
        is_early: bool = False,
        is_refused: bool = False,
    ) -> None:
        """Store the error for messages, and pause before the next dial, longer each time.

        Args:
            is_early: whether the failure is the early end of a connection that had accepted calls.
            is_refused: whether the server refused the credentials.
        """
        if self.error is None and is_logged:
            logger.warning("%s", trouble_at(self.endpoint, error))
        self.error = _without_frames(error)
        self.awaited_since = None
        self.is_awaited = False
        self.failures += 1
        if is_early:
            self._pauses.end_early(at)
        else:
            self._pauses.fail(at, is_awaited=self.has_callers, is_refused=is_refused)

    def note_refusal(self, status: int, text: object, at: float) -> None:
        """Record that the server refused the credentials: calls fail with its status until another dial succeeds."""
        self.note_failure(refusal_at(self.endpoint, status, text), at, is_refused=True)

    def note_pings(self, engine: object) -> None:
        """Halve the rate of pings on later connections if the server closed one for too many pings."""
        if getattr(engine, "wants_fewer_pings", False):
            self.ping_factor = min(2 * self.ping_factor, RAREST_PINGS)

    def put_off(self, at: float) -> None:
        """Pause before the next dial, longer each time."""
        self._pauses.put_off(at)

    def spent(self) -> None:
        """Record that a connection ended by idleness or age: the next dial has no delay."""
        self._pauses.last()

    # The next dial

    @property
    def dial_rank(self) -> int:
        """The rank of the next dial, the likeliest to succeed first: 0 up, 1 unknown, 2 failed since up, 3 never up."""
        if self.error is None:
            return 0 if self.was_ready else 1
        return 2 if self.was_ready else 3

    @property
    def due(self) -> float:
        """The instant of the next dial, after failures."""
        return self._pauses.due

    @due.setter
    def due(self, instant: float) -> None:
        self._pauses.due = instant

    def pause_left(self, now: float) -> float:
        """Return the seconds until the next dial may begin."""
        return self._pauses.left(now)

    def ask(self, now: float) -> bool:
        """Record that a call asks for a connection; return whether this ends a pause, as `DialPauses` says."""
        return self._pauses.ask(now)

    @property
    def lasting(self) -> list[_Connection]:
        """The connections that are not aged."""
        return [connection for connection in self.connections if not connection.life.is_aged]

    def lacks(self, width: int = 1) -> bool:
        """Return whether a connection is missing: the first one, or after SETTINGS a further one.

        A dead or silent server sends no SETTINGS, so it is dialled for one connection only.
        """
        lasting = self.lasting
        if not lasting:
            return True
        return len(lasting) < width and any(connection.is_ready for connection in lasting)

    def replaced(self, width: int = 1) -> list[_Connection]:
        """Return the aged connections to retire: younger ones are ready, and at least `width` connections remain."""
        ready = sum(connection.is_ready for connection in self.lasting)
        if not ready:
            return []
        aged = [connection for connection in self.connections if connection.life.is_aged]
        return aged[: max(0, len(aged) + ready - width)]

    @property
    def is_ready(self) -> bool:
        """Whether a connection accepts calls and its SETTINGS have arrived."""
        return any(connection.is_ready and connection.is_usable for connection in self.connections)

    @property
    def is_expected(self) -> bool:
        """Whether the next dial is likely to succeed: the last dial did not fail, and the server does not drain."""
        return self.error is None and not (self.is_awaited or self.is_removed)

    @property
    def is_new(self) -> bool:
        """Whether no dial has ended yet."""
        return self.error is None and not self.was_dialed

    @property
    def is_untried(self) -> bool:
        """Whether SETTINGS never arrived and no dial failed."""
        return self.error is None and not self.was_ready


def refusal_at(endpoint: Endpoint, status: int, text: object) -> FastRPCError:
    """Return the error for calls to a server that refused the credentials of a connection."""
    told = f"{endpoint} refused the credentials: {text}"
    if status == Status.UNAVAILABLE:
        return ConnectError(told)
    return CallError(Status(status), told, processed="no")


def _without_frames(error: FastRPCError) -> FastRPCError:
    """Return an error without tracebacks, whose frames would keep their calls alive."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error
