"""Active probes: at intervals the client asks connected endpoints whether they serve.

No task is involved: a timer sends a probe, and the answer sets the timer. So closing takes no time, and a program that
ends without closing leaves no pending task.

- Probes are off by default (`Pool.probes`): their traffic grows with clients times endpoints. They use the connections
  of calls, because these have to work. An endpoint without a connection is not probed: the dial is its probe.
- A single NOT_SERVING marks an endpoint as down. Silence may be a pause, so only `fall` unanswered probes mark it as
  down; Envoy does the same. As in gRPC (proposal A17), a server without the health service, or a server that refuses
  the probe, counts as up. Unlike gRPC, a new connection accepts calls before its first probe is answered, which saves a
  round trip.
- An answer on a connection that accepts no more calls is ignored: its server may have asked clients to disconnect, and
  another server may listen at its address. The probe of the next connection decides.
- Probes have their own caller, without the client's totals, budget, interceptors and options. The counters of methods
  show them as `fastrpc.health.check`.
- Probes do not count as activity on either side. `Timeouts.idle` ignores them, they wake no dormant endpoint, and a
  connection that only had probes is not made again after a loss.
"""

import asyncio
import contextvars
import logging
import random
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.caller import Caller
from fastrpc._core.client.caller_state import CallerState
from fastrpc.client.wire import protocol_of
from fastrpc.config import ClientConfig, Probes
from fastrpc.endpoint import Endpoint
from fastrpc.errors import DecodeError, FastRPCError, UnavailableError
from fastrpc.protocols.base import ClientEngine, HealthCheck
from fastrpc.status import Status

__all__ = ["HEALTH_METHOD", "EndpointProbes", "Probed", "Prober"]

logger = logging.getLogger("fastrpc.client")

#: The method of a probe; its argument is a service name. PROTOCOL.md lists the answers.
HEALTH_METHOD = "fastrpc.health.check"

#: Each interval varies by this share in both directions.
JITTER = 0.1

# A server that refuses probes with one of these statuses is alive, but does not report its health.
_UNTOLD = frozenset({Status.UNIMPLEMENTED, Status.UNAUTHENTICATED, Status.PERMISSION_DENIED})

# The codecs of probes. Every server accepts msgpack, which all clients use unless they are configured for JSON.
_PLAIN_CODECS = ("msgpack", "json")


class Probed(Protocol):
    """The part of an endpoint that probes use."""

    #: The endpoint, as the list has it now.
    endpoint: Endpoint
    #: The state of the endpoint in the endpoint set.
    endpoint_state: Any

    @property
    def all_connections(self) -> Iterable[ClientEngine]:
        """All open connections, including connections that accept no new calls."""


class Prober:
    """Makes the probes of one client and judges their outcomes.

    Probes bypass interceptors, retries, breakers and the client's options, and its totals do not count them.
    """

    def __init__(
        self,
        settings: Probes,
        endpoint_set: EndpointSet,
        config: ClientConfig,
        resolve: Callable[[Any, str], MethodRoute],
    ) -> None:
        self.settings = settings
        self._endpoint_set = endpoint_set
        self._config = config
        codec = config.codec if config.codec in _PLAIN_CODECS else _PLAIN_CODECS[0]
        self._check = HealthCheck(method=HEALTH_METHOD, codec=codec, question=_unchanged, verdict=_unchanged)
        self._state = CallerState(_NoRunner(), resolve, RetryBudget())
        self._callers: dict[str, Caller] = {}
        self._warned: set[Status] = set()

    def probe_on(self, connection: ClientEngine) -> AwaitedCall:
        """Return a probe for a connection."""
        check = self._check_of(connection.endpoint)
        caller = self._caller_of(check.codec)
        call = cast(AwaitedCall, caller.call(check.method, check.question(self.settings.service)))
        probe = call._attempt_on(connection, 0)
        call.close()
        return probe

    def answered(self, subchannel: Probed, answer: object) -> None:
        """Judge the answer of a server."""
        verdict = self._check_of(subchannel.endpoint).verdict(answer)
        if verdict == "SERVING":
            self._passed(subchannel)
        else:
            self._failed(subchannel, 1, f"it says {verdict!r:.50}")

    def _caller_of(self, codec: str) -> Caller:
        caller = self._callers.get(codec)
        if caller is None:
            caller = self._callers[codec] = _ProbeCaller(self._state, codec, self.settings.timeout)
        return caller

    def _check_of(self, endpoint: Any) -> HealthCheck:
        """Return the call by which a server reports its health, in the protocol of its connections."""
        return protocol_of(endpoint, self._config).traits.health or self._check

    def failed(self, subchannel: Probed, error: FastRPCError) -> None:
        """Judge a probe that failed."""
        status, fall = error.status, self.settings.fall
        if status in _UNTOLD:
            if status not in self._warned:
                self._warned.add(status)
                logger.warning(
                    "%s does not report its health (%s): probes only show that it answers",
                    subchannel.endpoint,
                    status.name,
                )
            self._passed(subchannel)
        elif status is Status.RESOURCE_EXHAUSTED:
            # The server is overloaded, but answers in time.
            self._passed(subchannel)
        elif not _was_left(error):
            # A probe that gets no slot before its deadline counts as failed: a call would have failed as well.
            reason = status.name if error.processed == "yes" else error.message
            self._failed(subchannel, fall, f"its probes fail, the last one with {reason!r:.200}")
        # In other cases the connection was lost: the probe of the next connection decides.

    def _passed(self, subchannel: Probed) -> None:
        if self._endpoint_set.probe_passed(subchannel.endpoint_state, self.settings.rise):
            logger.info("%s is up: it passed its probes", subchannel.endpoint)

    def _failed(self, subchannel: Probed, fall: int, reason: str) -> None:
        if self._endpoint_set.probe_failed(subchannel.endpoint_state, fall):
            logger.warning("%s is down: %s", subchannel.endpoint, reason)


class _ProbeCaller(Caller):
    """Makes the probes that use one codec."""

    def __init__(self, state: CallerState, codec: str, timeout: float) -> None:
        self._share(state, codec)
        self._set_options({"timeout": timeout})


def _was_left(error: FastRPCError) -> bool:
    """Return whether the connection was lost or drained before the server got the probe."""
    return isinstance(error, UnavailableError) and error.processed == "no" and not error._was_received


def _unchanged(value: Any) -> Any:
    return value


class _NoRunner:
    """The call runner of probes, which does nothing: a probe is sent on its connection or not at all."""

    def first_use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do nothing: probes make no connection."""

    async def unpack(self, call: AwaitedCall) -> Any:
        raise DecodeError(f"{HEALTH_METHOD} sent a compressed answer, but its answers are short")


class EndpointProbes:
    """The probes of one endpoint: one for each new connection, then one per interval while it is connected."""

    def __init__(self, prober: Prober, subchannel: Probed, loop: asyncio.AbstractEventLoop) -> None:
        self._prober = prober
        self._subchannel = subchannel
        self._loop = loop
        # The first caller's context variables must not live as long as the client.
        self._context = contextvars.Context()
        self._timer: asyncio.Handle | None = None
        # The unanswered probe: its connection, its call, and the future that the call awaits.
        self._under_way: tuple[ClientEngine, AwaitedCall, asyncio.Future[None]] | None = None
        self._is_first = True

    def begin(self) -> None:
        """Probe a new connection immediately."""
        if self._under_way is None:
            self._is_first = True
            self._set_timer(0.0)

    def end(self) -> None:
        """Stop probing, and cancel an unanswered probe."""
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
        connections = [each for each in self._subchannel.all_connections if each.is_ready and each.is_usable]
        if not connections:
            return  # The next connection calls `begin`.
        connection = random.choice(connections)
        probe = self._prober.probe_on(connection)
        connection.begin_probe(probe)
        try:
            # The coroutine's first step sends the probe and yields the future that a task would await.
            answer = probe.send(None)
        except FastRPCError as error:
            connection.end_probe(probe)
            self._conclude(error)
        else:
            self._under_way = connection, probe, answer
            answer.add_done_callback(self._ended, context=self._context)

    def _ended(self, _: "asyncio.Future[None]") -> None:
        if self._under_way is None:
            return  # `end` ran in the same turn of the loop as the answer.
        connection = self._under_way[0]
        try:
            self._take(self._under_way).send(None)
        except StopIteration as answer:
            if connection.is_usable:
                self._conclude(answer.value)
            else:
                # The next connection may lead to another server. While a probe is unanswered no other connection is
                # probed.
                self.begin()
        except FastRPCError as error:
            self._conclude(error)

    def _take(self, under_way: "tuple[ClientEngine, AwaitedCall, asyncio.Future[None]]") -> AwaitedCall:
        connection, probe, _ = under_way
        self._under_way = None
        connection.end_probe(probe)
        return probe

    def _conclude(self, outcome: object) -> None:
        """Set the timer of the next probe, then judge this one."""
        interval = self._prober.settings.interval
        # A random first pause spreads the probes of endpoints that were connected together.
        low, high = (0.0, 1.0) if self._is_first else (1 - JITTER, 1 + JITTER)
        self._is_first = False
        self._set_timer(interval * random.uniform(low, high))
        if isinstance(outcome, FastRPCError):
            self._prober.failed(self._subchannel, outcome)
        else:
            self._prober.answered(self._subchannel, outcome)
