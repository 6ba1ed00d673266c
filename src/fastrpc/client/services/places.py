"""The addresses that the clients of several services call, each with the connections that they share.

The place of an address (`SharedAddress`) exists from its first dial until the last subchannel that dialled it has left
and its last connection has ended.

One subchannel at a time dials an address. The others wait, and then use its connection; after a failed dial they get
its error until the next dial is due. So several clients dial a dead address as often as one client. A call of any
client may end a pause, by the rules of `client/dial_pauses.py`.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from fastrpc.client.dial_pauses import DialPauses
from fastrpc.client.endpoint_plan import EndpointPlan, refusal_at
from fastrpc.client.wire import wire_of
from fastrpc.config import ClientConfig
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConnectError, FastRPCError
from fastrpc.gauges import Gauge, tells_gauges

__all__ = ["SharedAddress", "SharedAddresses", "failure_of"]

C = TypeVar("C", bound=Any)


class SharedAddress(Generic[C]):
    """The place of one address in one protocol: its connections, and its next dial."""

    def __init__(self, key: tuple[Address, str], lock: Any, pauses: DialPauses) -> None:
        #: The key of the place; the lock that a subchannel holds while it dials.
        self.key, self.dialing = key, lock
        #: The number of subchannels that have dialled the place and not left it.
        self.users = 0
        #: The connections, each with the subchannels that use it.
        self.connections: dict[C, list[Any]] = {}
        #: The subchannel that made the last dial.
        self.dialler: EndpointPlan | None = None
        #: The pauses between the dials of all subchannels.
        self.pauses = pauses
        self._error: FastRPCError | None = None

    def take(self, subchannel: EndpointPlan, now: float) -> C | None:
        """Return a connection that is new to a subchannel; None if the subchannel has to dial now.

        Raises:
            FastRPCError: the last dial failed, and the next dial is not due.
        """
        for connection, users in list(self.connections.items()):
            if connection.is_usable and not connection.life.is_aged and subchannel not in users:
                users.append(subchannel)
                return connection
        if self._error is not None and self.pauses.left(now):
            raise self._error
        self.dialler = subchannel
        return None

    def add(self, connection: C, subchannel: EndpointPlan) -> None:
        """Add the connection that a subchannel has made."""
        self.connections[connection] = [subchannel]

    def failed(self, error: FastRPCError | None, now: float) -> None:
        """Pause before the next dial, longer each time; error None: do nothing."""
        if error is not None:
            self._error = error
            self.pauses.fail(now, is_awaited=self.dialler is not None and self.dialler.has_callers)

    def answered(self) -> None:
        """Record that the server answered: the next dial has no pause."""
        self._error = self.dialler = None
        self.pauses.answer()


class SharedAddresses(Generic[C]):
    """The places of all addresses.

    Args:
        new_lock: makes the lock of an address.
    """

    def __init__(self, config: ClientConfig, new_lock: Callable[[], Any]) -> None:
        self._config, self._new_lock = config, new_lock
        # Re-entrant: a client may be collected on any line, and then its subchannels leave.
        self._changing = threading.RLock()
        self._places: dict[tuple[Address, str], SharedAddress[C]] = {}
        self._joined: dict[EndpointPlan, SharedAddress[C]] = {}
        tells_gauges(self)

    def find(self, endpoint: Endpoint) -> SharedAddress[C] | None:
        """Return the place of an endpoint; None if there is no such place."""
        return self._places.get(self._key(endpoint))

    def at(self, endpoint: Endpoint) -> SharedAddress[C]:
        """Return the place of an endpoint. The caller adds a user or a connection to it next."""
        key = self._key(endpoint)
        made = SharedAddress[C](key, self._new_lock(), DialPauses(self._config.backoff))
        # Several threads may arrive here together: the first place stays, and the places of the other threads are never
        # used.
        return self._places.setdefault(key, made)

    def join(self, subchannel: EndpointPlan) -> SharedAddress[C]:
        """Return the place of a subchannel; the place exists at least until the subchannel calls `leave`."""
        with self._changing:
            place = self.at(subchannel.endpoint)
            if self._joined.get(subchannel) is not place:
                # The record of the endpoint may have a different protocol now.
                self.leave(subchannel)
                self._joined[subchannel] = place
                place.users += 1
                # A finalizer may have removed a subchannel meanwhile, and with it the place.
                self._places[place.key] = place
            return place

    def leave(self, subchannel: EndpointPlan) -> None:
        """End a subchannel's use of a place; the last user drops the place."""
        with self._changing:
            place = self._joined.pop(subchannel, None)
            if place is not None:
                place.users -= 1
                self.drop(place)

    def next_dial(self, subchannel: EndpointPlan) -> tuple[float | None, bool]:
        """Return the instant of the next dial to the address, and whether another subchannel made the last one."""
        place = self._joined.get(subchannel)
        return (None, False) if place is None else (place.pauses.due, place.dialler is not subchannel)

    def ask(self, subchannel: EndpointPlan, now: float) -> None:
        """Record that a call of a subchannel asks for a connection to its address."""
        place = self._joined.get(subchannel)
        if place is not None:
            place.pauses.ask(now)

    def users(self, connection: C) -> list[Any]:
        """Return the subchannels that use a connection."""
        place = self.find(connection.endpoint)
        return [] if place is None else place.connections.get(connection, [])

    def leave_to_others(self, subchannel: EndpointPlan, connection: C) -> bool:
        """Stop using a connection that other subchannels share; return whether there are such subchannels."""
        users = self.users(connection)
        if users in ([], [subchannel]):
            return False
        users.remove(subchannel)
        return True

    def drop(self, place: SharedAddress[C]) -> None:
        """Drop a place that has neither a user nor a connection."""
        with self._changing:
            if not (place.users or place.connections) and self._places.get(place.key) is place:
                del self._places[place.key]

    def _key(self, endpoint: Endpoint) -> tuple[Address, str]:
        return endpoint.address, wire_of(endpoint, self._config)

    def gauges(self) -> Iterator[Gauge]:
        """Yield the number of connections, in the form of a client's gauges."""
        counts: Counter[tuple[str, str]] = Counter()
        for (address, wire), place in list(self._places.items()):
            counts[address.scheme, wire] += sum(each.is_usable for each in list(place.connections))
        for labels, count in counts.items():
            yield "fastrpc_client_connections", labels, count


def failure_of(endpoint: Endpoint, engine: Any, reason: object, *, was_ready: bool) -> FastRPCError | None:
    """Return the error of a connection that ended before its server accepted calls; None if it ended later."""
    if engine.auth_status > 0:
        return refusal_at(endpoint, engine.auth_status, engine.auth_text)
    if was_ready:
        return None
    return ConnectError(f"{endpoint}: the connection ended during its handshake: {reason}")
