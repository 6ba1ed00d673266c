"""Active probes: connected endpoints are asked at intervals whether they are to be called.

Nothing of it is a task: a timer sends a probe, the answer of a probe sets the timer. So closing takes no time, and a
program that ends without closing leaves nothing that could complain.

- Probes have to be asked for (`Pool.probes`): their traffic grows with clients times endpoints. They go out on the
  connection that calls use, since that one has to work. An endpoint without a connection needs none, as connecting is
  its probe.
- A server that says NOT_SERVING is believed at once, silence only after `fall` probes: the first is an answer, the
  second may be a pause. Envoy does the same. As in gRPC (proposal A17) a server without the service counts as up, and
  so does one that refuses to tell. Unlike there a new connection takes calls before the first answer, as waiting
  would cost each of them a round trip.
- Probes are calls of a caller of their own, without the client's totals, budget, interceptors and options; the
  counters of methods show them as `fastrpc.health.check`.
- Probes do not count as activity, on both sides: `Timeouts.idle` passes over them, they wake no endpoint that sleeps,
  and a connection that had nothing else is not made again by itself.
"""

import asyncio
import contextvars
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.balancing.retry_budget import RetryBudget
from fastrpc._core.calling.caller import Caller
from fastrpc._core.calling.caller_state import CallerState
from fastrpc._core.calling.client_call import ClientCall
from fastrpc._core.calling.client_session import ClientSession
from fastrpc._core.calls.call import Route
from fastrpc.config import ClientConfig, Probes
from fastrpc.errors import DecodeError, FastRPCError, UnavailableError
from fastrpc.status import Status

if TYPE_CHECKING:
    from fastrpc.client.subchannel import Subchannel

__all__ = ["HEALTH_METHOD", "EndpointProbes", "Prober"]

logger = logging.getLogger("fastrpc.client")

#: What a server is asked, with the name of a service; PROTOCOL.md has the answers.
HEALTH_METHOD = "fastrpc.health.check"

#: Share of each pause that is random, to either side.
JITTER = 0.1

# With these a server refuses the question; so it lives, and says no more than that.
_UNTOLD = frozenset({Status.UNIMPLEMENTED, Status.UNAUTHENTICATED, Status.PERMISSION_DENIED})

# Every server takes the first of them; one that was told not to may take the second.
_PLAIN_CODECS = ("msgpack", "json")


class Prober:
    """Makes the probes of one client and judges what comes of them.

    They are calls of their own: no interceptor, no retry, no breaker and none of the client's options sees them, and
    they are not among its totals.
    """

    def __init__(
        self,
        settings: Probes,
        endpoint_set: EndpointSet,
        config: ClientConfig,
        resolve: Callable[[Any, str], Route],
    ) -> None:
        self.settings = settings
        self._endpoint_set = endpoint_set
        self._caller = Caller()
        codec = config.codec if config.codec in _PLAIN_CODECS else _PLAIN_CODECS[0]
        self._caller._share(CallerState(_NoRunner(), resolve, RetryBudget()), codec)
        self._caller._set_options({"timeout": settings.timeout})
        self._warned: set[Status] = set()

    def probe_on(self, session: ClientSession) -> ClientCall:
        """Return a probe that goes out on a connection."""
        call = cast(ClientCall, self._caller.call(HEALTH_METHOD, self.settings.service))
        probe = call._attempt_on(session, 0)
        call.close()
        return probe

    def answered(self, subchannel: "Subchannel", answer: object) -> None:
        """Judge what a server said of itself."""
        if answer == "SERVING":
            self._passed(subchannel)
        else:
            self._failed(subchannel, 1, f"it says {answer!r:.50}")

    def failed(self, subchannel: "Subchannel", error: FastRPCError) -> None:
        """Judge a probe that was not answered as it should be."""
        status, fall = error.status, self.settings.fall
        if status in _UNTOLD:
            if status not in self._warned:
                self._warned.add(status)
                logger.warning(
                    "%s does not tell its health (%s): probes only show that it answers",
                    subchannel.endpoint,
                    status.name,
                )
            self._passed(subchannel)
        elif status is Status.RESOURCE_EXHAUSTED:
            # It is full, and says so in time.
            self._passed(subchannel)
        elif not _was_left(error):
            # A probe that got no slot before its deadline counts as failed: a call would have failed as well.
            reason = status.name if error.processed == "yes" else error.message
            self._failed(subchannel, fall, f"its probes fail, the last one with {reason!r:.200}")
        # Else the next connection tells.

    def _passed(self, subchannel: "Subchannel") -> None:
        if self._endpoint_set.probe_passed(subchannel.endpoint_state, self.settings.rise):
            logger.info("%s is up: it passed its probes", subchannel.endpoint)

    def _failed(self, subchannel: "Subchannel", fall: int, reason: str) -> None:
        if self._endpoint_set.probe_failed(subchannel.endpoint_state, fall):
            logger.warning("%s is down: %s", subchannel.endpoint, reason)


def _was_left(error: FastRPCError) -> bool:
    """Whether the connection went, or takes nothing new, before the probe got there."""
    return isinstance(error, UnavailableError) and error.processed == "no" and not error._was_received


class _NoRunner:
    """What stands where a client has its balancer: probes are sent on a connection or not at all."""

    def first_use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing has to be connected."""

    async def unpack(self, call: ClientCall) -> Any:
        raise DecodeError(f"{HEALTH_METHOD} answered with more than its answers have")


class EndpointProbes:
    """The probes of one endpoint: one when it gets a connection, then one per interval while it has any."""

    def __init__(self, prober: Prober, subchannel: "Subchannel", loop: asyncio.AbstractEventLoop) -> None:
        self._prober = prober
        self._subchannel = subchannel
        self._loop = loop
        # What the first caller has in its context must not live as long as the client.
        self._context = contextvars.Context()
        self._timer: asyncio.Handle | None = None
        # The probe that waits for its answer: where it went out, the call, what that waits on.
        self._under_way: tuple[ClientSession, ClientCall, asyncio.Future[None]] | None = None
        self._is_first = True

    def begin(self) -> None:
        """There is a new connection: ask without waiting for the turn of the endpoint."""
        if self._under_way is None:
            self._is_first = True
            self._set_timer(0.0)

    def end(self) -> None:
        """Ask no more; a probe under way is cancelled."""
        self._stop_timer()
        if self._under_way is not None:
            self._under_way[2].remove_done_callback(self._ended)
            self._take(self._under_way).close()

    def _set_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, self._send, context=self._context)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self) -> None:
        self._timer = None
        sessions = [each for each in self._subchannel.sessions if each.is_ready and each.is_usable]
        if not sessions:
            return  # The next connection begins anew.
        session = random.choice(sessions)
        probe = self._prober.probe_on(session)
        session.begin_probe(probe)
        try:
            # Its first step sends it, and yields what its task would wait for.
            answer = probe.send(None)
        except FastRPCError as error:
            session.end_probe(probe)
            self._conclude(error)
        else:
            self._under_way = session, probe, answer
            answer.add_done_callback(self._ended, context=self._context)

    def _ended(self, _: "asyncio.Future[None]") -> None:
        if self._under_way is None:
            return  # The end came in the turn of the answer.
        try:
            self._take(self._under_way).send(None)
        except StopIteration as answer:
            self._conclude(answer.value)
        except FastRPCError as error:
            self._conclude(error)

    def _take(self, under_way: "tuple[ClientSession, ClientCall, asyncio.Future[None]]") -> ClientCall:
        session, probe, _ = under_way
        self._under_way = None
        session.end_probe(probe)
        return probe

    def _conclude(self, outcome: object) -> None:
        """Set the timer for the next one, then judge this one."""
        interval = self._prober.settings.interval
        # Endpoints that were connected together are asked one after the other from now on.
        low, high = (0.0, 1.0) if self._is_first else (1 - JITTER, 1 + JITTER)
        self._is_first = False
        self._set_timer(interval * random.uniform(low, high))
        if isinstance(outcome, FastRPCError):
            self._prober.failed(self._subchannel, outcome)
        else:
            self._prober.answered(self._subchannel, outcome)
