"""The places of one call's attempts: picks, moves between endpoints, and the wait for the endpoint of a key."""

import random
import time
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from fastrpc._core.balancing.endpoint_set import EndpointSet, Pick
from fastrpc._core.balancing.selectors import EndpointState
from fastrpc._core.client.caller_view import ViewOptions
from fastrpc._core.client.client_call import ClientCall
from fastrpc.client.endpoint_plan import EndpointPlan
from fastrpc.client.wire import carries_streams
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import NoEndpointError

if TYPE_CHECKING:
    from fastrpc.client.key_wait import KeyWait
    from fastrpc.client.target import Target
    from fastrpc.config import ClientConfig

__all__ = ["AttemptPlacing", "AttemptPool"]

T = TypeVar("T")


class AttemptPool(Protocol):
    """The part of a client's connections that attempts use, in both clients."""

    @property
    def config(self) -> "ClientConfig": ...

    @property
    def target(self) -> "Target": ...

    @property
    def endpoint_set(self) -> EndpointSet | None:
        """The set that picks endpoints; None for a client of one address."""

    @property
    def subchannels(self) -> Sequence[EndpointPlan]:
        """The endpoints of the list, with their connections."""

    @property
    def has_list(self) -> bool:
        """Whether the list of endpoints is known."""

    def subchannel_at(self, address: Address) -> EndpointPlan | None:
        """Return the subchannel of one endpoint; None if the list does not have it."""

    def ready_among(self, endpoint_states: Iterable[EndpointState]) -> Collection[EndpointState]:
        """Return the endpoints with a connection whose SETTINGS arrived."""

    def tried(self) -> str:
        """Return the state of each address, for the message of an error."""


class AttemptPlacing:
    """Places the attempts of one call, for either client."""

    #: Whether attempts go only to endpoints whose protocol has streams, if there is such an endpoint.
    is_stream = False

    def __init__(self, pool: AttemptPool, call: ClientCall) -> None:
        self._pool = pool
        self._call = call
        self._options: ViewOptions = call._options
        self._tried: list[Endpoint] = []
        self._picks: list[Pick] = []
        self._running: list[tuple[Any, Pick | None]] = []
        #: Picks of attempts that still wait for a connection.
        self._connecting: list[Pick] = []
        #: Picks of endpoints for which the call waits. When the time for them is over, the call picks another endpoint.
        self._key_picks: list[Pick] = []
        #: For each picked endpoint without a connection, the endpoint that took the attempt instead.
        self._moved: dict[Endpoint, Endpoint] = {}
        #: The wait for the endpoint of the call's key; None for a call that may go anywhere.
        self._key_wait = None
        if pool.endpoint_set is not None and pool.endpoint_set.has_key(call):
            self._key_wait = self._new_key_wait()

    def _new_key_wait(self) -> "KeyWait":
        from fastrpc.client.key_wait import KeyWait  # Few clients call by keys.

        return KeyWait(self._pool.config.timeouts.connect)

    @property
    def _endpoint_set(self) -> EndpointSet:
        """The set that picks endpoints; a client of one address has none, and places no attempt."""
        endpoint_set = self._pool.endpoint_set
        assert endpoint_set is not None
        return endpoint_set

    @property
    def asks_once(self) -> bool:
        """Whether a pick stays valid while its endpoint may still connect.

        This is so for user-defined selectors, which get the outcome of each pick.
        """
        return bool(self._endpoint_set.selector.observes_each_pick)

    def pick(self) -> Endpoint:
        """Return the endpoint of the next attempt."""
        pinned: Address | None = self._options.endpoint
        if self._pool.endpoint_set is None or pinned is not None:
            return cast(Endpoint, self._subchannel_at(pinned).endpoint)
        pick = self.place(None)
        self._picks.append(pick)
        return pick.endpoint

    def _subchannel_at(self, address: Address | None) -> Any:
        subchannel = self._pool.subchannels[0] if address is None else self._pool.subchannel_at(address)
        if subchannel is None:
            raise NoEndpointError(
                f"{self._call.method}: {address} is not an endpoint of {self._pool.target}",
                hint="with_options(endpoint=…) takes an endpoint that its target or registry names now",
            )
        return subchannel

    def _taken(self, endpoint: Endpoint) -> Pick | None:
        """Return the waiting pick of an endpoint; None if the selector did not pick that endpoint."""
        for pick in self._picks:
            # The record may have changed since the pick.
            if pick.endpoint is endpoint or pick.endpoint.address == endpoint.address:
                self._picks.remove(pick)
                return pick
        return None

    def _went(self, endpoint: Endpoint, pick: Pick) -> None:
        """Record that the attempt for this endpoint went to the endpoint of `pick`; later attempts go there, too."""
        if pick.endpoint is not endpoint:
            self._moved[endpoint] = pick.endpoint

    def place(self, pinned: Address | None) -> Pick:
        """Place the next attempt at the address `pinned`; if that is None, let the selector pick."""
        endpoint_set = self._endpoint_set
        if pinned is None:
            # A hedge avoids the endpoints of concurrent attempts; an attempt that has to move avoids them, too.
            beside = [pick for _, pick in self._running if pick is not None]
            beside += self._connecting
            tried = [*self._tried, *(pick.endpoint for pick in beside)]
            preferred = self._preferred(tried)
            if preferred is not None:
                if self._takes_preferred(preferred):
                    return preferred
                preferred.undone()
            return self._place_key(tried) if endpoint_set.places_keys else self._place_past(tried)
        return endpoint_set.pick_at(self._call, self._subchannel_at(pinned).endpoint_state)

    def _preferred(self, tried: Sequence[Endpoint]) -> Pick | None:
        """Place an attempt at the endpoint that the call prefers, if the endpoint can take it."""
        name: str | None = self._options.prefer
        if name is None:
            return None
        endpoint_set = self._endpoint_set
        return endpoint_set.pick_preferred(self._call, name, tried)

    def _takes_preferred(self, pick: Pick) -> bool:
        """Return whether a call uses its preferred endpoint.

        A call with a key waits for the preferred endpoint as it would for its key's endpoint.
        """
        subchannel = pick.endpoint_state.subchannel
        if self._key_wait is None or (subchannel is not None and subchannel.is_ready):
            return True
        is_expected = self.key_wait_ends(subchannel) is not None
        if is_expected:
            self.note_key_pick(pick)
        return is_expected

    def _place_past(self, tried: Sequence[Endpoint]) -> Pick:
        endpoint_set = self._endpoint_set
        return self._place_stream(tried) if self.is_stream else endpoint_set.pick(self._call, tried)

    def _place_key(self, tried: Sequence[Endpoint]) -> Pick:
        """Place an attempt by its key: at the first endpoint that is connected, or that the call may wait for.

        An endpoint that was tried is preferred to an unconnected one.
        """
        absent, expected = self._unready()
        there = [one.endpoint for one in absent]
        for avoided in ([*tried, *there], there, tried):
            pick = self._place_past(avoided)
            if pick.endpoint_state not in absent or avoided is tried:
                break
            pick.undone()
        if pick.endpoint_state in expected:
            self.note_key_pick(pick)
        return pick

    def _unready(self) -> tuple[set[EndpointState], set[EndpointState]]:
        """Return the endpoints without a connection for calls with a key: a set to skip, and a set to wait for."""
        endpoint_set = self._endpoint_set
        ready = self._pool.ready_among(endpoint_set.left)
        if self._key_wait is not None and not ready:
            self._key_wait.renew()
        unready = {one for one in endpoint_set.left if one not in ready}
        absent = {one for one in unready if self.key_wait_ends(one.subchannel) is None}
        return absent, unready - absent

    def key_wait_ends(self, subchannel: EndpointPlan | None) -> float | None:
        """Return the instant until which the call waits for an endpoint of its key; None if it does not wait."""
        if self._key_wait is None or subchannel is None:
            return None
        return self._key_wait.ends(subchannel, time.monotonic(), self._seconds_left())

    def waits_for_key(self, pick: Pick) -> bool:
        """Return whether the call waits for the endpoint of a pick: it waits already, or it may begin to wait now."""
        if self.key_wait_ends(pick.endpoint_state.subchannel) is not None:
            self.note_key_pick(pick)
        return pick in self._key_picks

    def note_key_pick(self, pick: Pick) -> None:
        """Record that the call waits for the endpoint of a pick, until the pick is forgotten."""
        if pick not in self._key_picks:
            self._key_picks.append(pick)

    def forget_key_pick(self, pick: Pick) -> None:
        if pick in self._key_picks:
            self._key_picks.remove(pick)

    def begin_key_wait(self, subchannel: EndpointPlan) -> None:
        """Start to wait for the endpoint of the key."""
        if self._key_wait is not None:
            self._key_wait.begin(subchannel, time.monotonic(), self._seconds_left())

    def _seconds_left(self) -> float | None:
        left: float | None = self._call.remaining()
        return left

    def _place_stream(self, tried: Sequence[Endpoint]) -> Pick:
        """Place an attempt of a stream: never at an endpoint without streams, even if no other is connected yet."""
        endpoint_set = self._endpoint_set
        config = self._pool.config
        pick = endpoint_set.pick(self._call, tried)
        if carries_streams(pick.endpoint, config):
            return pick
        able = [one for one in endpoint_set.left if carries_streams(one.endpoint, config)]
        if not able:
            # No endpoint has streams. An attempt at this endpoint fails with an error that says so.
            return pick
        pick.undone()
        unable = [one.endpoint for one in endpoint_set.left if one not in able]
        pick = endpoint_set.pick(self._call, [*tried, *unable])
        if carries_streams(pick.endpoint, config):
            return pick
        pick.undone()
        addresses = {each.address for each in tried}
        untried = [one for one in able if one.endpoint.address not in addresses]
        return endpoint_set.pick_at(self._call, random.choice(untried or able))

    def candidates(self, subchannels: Sequence[T]) -> Sequence[T]:
        """Return the subchannels that an attempt may wait for."""
        if not self.is_stream:
            return subchannels
        able = [one for one in subchannels if carries_streams(cast(Any, one).endpoint, self._pool.config)]
        return able or subchannels
