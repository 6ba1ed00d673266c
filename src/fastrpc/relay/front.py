"""The open port of a relay: the connections whose purpose is not yet clear (`Opening`), the pairs, and their limits."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from fastrpc.gauges import BoundedNames, Gauge, count, tells_gauges
from fastrpc.relay.claims import MOST_CLAIMS, SPARES, Claims
from fastrpc.relay.descriptors import FEW, FEWEST, descriptor_limit
from fastrpc.relay.opening import Opening
from fastrpc.relay.refusals import RefusalReason, Refusals, RelayRefusedError
from fastrpc.relay.splicing import READ_BYTES, SplicedPair
from fastrpc.relay.waiting import WaitingCaller
from fastrpc.relay.wasted import WastedOpenings
from fastrpc.relay.wire import signed_header
from fastrpc.transports.base import SessionFactory
from fastrpc.value_class import named_value_class

if TYPE_CHECKING:
    from fastrpc.server.server import Server

__all__ = ["Front", "RelayLimits"]

#: Seconds between two checks of all pairs, for their bytes and their idle time.
_LOOK_SECONDS: Final = 5.0


@named_value_class
class RelayLimits:
    """The limits of a relay."""

    #: The most pairs of connections; each pair needs two descriptors.
    pairs: int = 4_000
    #: The most pairs of one name (`pairs_of_name`), and of one caller (`pairs_of_caller`): an IPv4 address, or the /64
    #: of an IPv6 address.
    pairs_of_name: int = 1_000
    pairs_of_caller: int = 100
    #: The most openings in total (`openings`), and of one caller (`openings_of_caller`). Above its own limit a caller
    #: loses its oldest opening; above the total limit, the caller with most openings loses one.
    openings: int = 256
    openings_of_caller: int = 100
    #: The most connections of one caller in a second that named no target, or were refused. Beyond this number all
    #: further connections from its address are closed on accept until the second is over, including connections of
    #: other programs at this address, for example behind one NAT.
    wasted_of_caller: int = 200
    #: Seconds without a byte after which a pair is closed.
    idle_seconds: float = 3_600.0

    @property
    def descriptors(self) -> int:
        """The most open files of a relay at these limits."""
        return 2 * self.pairs + self.openings + (SPARES + 1) * MOST_CLAIMS + FEW


class _Joined:
    """A pair with its name and caller, and the bytes that were counted."""

    def __init__(self, name: str, caller: bytes, now: float) -> None:
        self.name = name
        self.caller = caller
        self.counted = (0, 0)
        #: `seen`: the bytes at the last check. `active_at`: the instant at which their number last grew.
        self.seen = (0, 0)
        self.active_at = now


class Front:
    """Checks the connections at the port; implements `OpeningRegister` and `Joining`.

    Args:
        name: the host name of the relay.
    """

    def __init__(self, name: str, limits: RelayLimits) -> None:
        self.name = name
        self.claims = Claims(self)
        self.refusals = Refusals()
        self._limits = limits
        self._suffix = f".{name}"
        self._place = memoryview(bytearray(READ_BYTES))
        # The openings, each with its caller; the longest silent opening is first.
        self._openings: OrderedDict[Opening, bytes] = OrderedDict()
        self._opening_of: Counter[bytes] = Counter()
        self._wasted = WastedOpenings(limits.wasted_of_caller)
        # Callers that wait for a data connection, with the names that they want. They count as pairs.
        self._waiting: dict[Opening, tuple[str, bytes]] = {}
        self._pairs: dict[SplicedPair, _Joined] = {}
        self._of_name: Counter[str] = Counter()
        self._of_caller: Counter[bytes] = Counter()
        self._labels = BoundedNames()
        self._looking: asyncio.TimerHandle | None = None
        self._is_shut = False
        self._descriptors = descriptor_limit()
        # Set while no pair is open.
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()

    def begin(self) -> None:
        """Start to check the pairs, and to report to monitors."""
        tells_gauges(self)
        self._looking = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def shut(self) -> None:
        """Cut all connections."""
        self._is_shut = True
        if self._looking is not None:
            self._looking.cancel()
        for opening in (*self._openings, *self._waiting):
            opening.abort()
        for pair in list(self._pairs):
            pair.abort()

    async def wait_quiet(self) -> None:
        """Return once no pair is open."""
        await self._is_quiet.wait()

    def begin_connections_of(self, server: "Server") -> None:
        """Make the connections of a server begin as connections to a relay; call this before the server listens."""
        server.begin_with(self.wrap, self.wait_quiet, self.admits)

    def admits(self, peer_name: Any) -> bool:
        """Return whether an accepted connection may begin; `peer_name` is the peer's address as sockets return it."""
        is_admitted = not isinstance(peer_name, tuple) or self._wasted.admits(peer_name[0])
        if not is_admitted:
            self.refusals.note(RefusalReason.WASTEFUL, peer_name)
        return is_admitted

    def wrap(self, session_factory: SessionFactory) -> SessionFactory:
        """Return the factory of openings; the sessions belong to the relay's service."""
        # A program may have raised the limit just before it listens.
        self._descriptors = descriptor_limit()
        return lambda: Opening(self, session_factory)

    # The interface for openings

    def enter(self, opening: Opening) -> None:
        """Record that a connection begins."""
        caller = opening.network
        self._openings[opening] = caller
        self._opening_of[caller] += 1
        opening.counted_in = self._wasted.add(caller)
        if self._is_shut:
            opening.abort()
        elif self._left_beside(opening) < FEWEST:
            opening.refuse(RefusalReason.FULL)
        elif self._opening_of[caller] > self._limits.openings_of_caller:
            next(one for one, its in self._openings.items() if its == caller).refuse(RefusalReason.CROWDED)
        elif len(self._openings) > self._limits.openings:
            most = max(self._opening_of.values())
            next(one for one, its in self._openings.items() if self._opening_of[its] == most).refuse(
                RefusalReason.CROWDED
            )

    def leave(self, opening: Opening) -> None:
        """Stop counting an opening: its first bytes were read, or it is lost."""
        caller = self._openings.pop(opening, None)
        if caller is not None:
            _subtract(self._opening_of, caller)
            return
        name, caller = self._waiting.pop(opening)
        self._free(name, caller)
        claim = self.claims.by_name.get(name)
        if claim is not None:
            claim.remove_caller(opening)

    def said(self, opening: Opening) -> None:
        """Record that an opening named its target."""
        self._wasted.remove(opening.network, opening.counted_in)

    def call(self, opening: Opening, host: str) -> None:
        """Find the server that a caller wants.

        Raises:
            RelayRefusedError: no server has that name, or too many connections are open.
        """
        name = host.removesuffix(self._suffix)
        claim = None if name == host else self.claims.by_name.get(name)
        if claim is None:
            raise RelayRefusedError(RefusalReason.AWAY)
        # Even if the relay or the server is full, the caller did not waste the connection.
        self.said(opening)
        caller = self._openings[opening]
        if self._left_beside(opening) < FEW:
            raise RelayRefusedError(RefusalReason.FULL)
        if len(self._pairs) + len(self._waiting) >= self._limits.pairs:
            raise RelayRefusedError(RefusalReason.FULL)
        if self._of_name[name] >= self._limits.pairs_of_name:
            raise RelayRefusedError(RefusalReason.NAME_FULL)
        if self._of_caller[caller] >= self._limits.pairs_of_caller:
            raise RelayRefusedError(RefusalReason.CALLER_FULL)
        del self._openings[opening]
        _subtract(self._opening_of, caller)
        self._waiting[opening] = name, caller
        self._take(name, caller)
        claim.add_caller(opening)

    def refuse(self, reason: RefusalReason, transport: asyncio.Transport) -> None:
        """Count and log that a connection is refused."""
        self.refusals.note(reason, transport.get_extra_info("peername"))

    # The interface for claims

    def join(self, name: str, caller: WaitingCaller, server: asyncio.Transport, key: bytes) -> None:
        """Join a caller and a data connection."""
        first = signed_header(caller.peer_name, key) + caller.first
        pair = SplicedPair(caller.leave(), server, self._place, self._forget)
        network = caller.network
        self._is_quiet.clear()
        self._pairs[pair] = _Joined(name, network, asyncio.get_running_loop().time())
        self._take(name, network)
        count("relay_pairs", name)
        pair.begin(first)

    # Pairs

    @property
    def pairs(self) -> int:
        """The number of open pairs."""
        return len(self._pairs)

    @property
    def openings(self) -> int:
        """The number of connections whose purpose is not yet clear."""
        return len(self._openings)

    def gauges(self) -> Iterator[Gauge]:
        """Return the open pairs of each name; only the loop counts their bytes."""
        shown: Counter[str] = Counter()
        for name, open_pairs in list(self._of_name.items()):
            shown[self._labels.label(name)] += open_pairs
        for label, open_pairs in shown.items():
            yield "fastrpc_relay_open_pairs", (label,), open_pairs
        yield "fastrpc_relay_names", (), len(self.claims.by_name)

    def _forget(self, pair: SplicedPair) -> None:
        joined = self._pairs.pop(pair)
        _count_bytes(pair, joined)
        self._free(joined.name, joined.caller)
        if not self._pairs:
            self._is_quiet.set()

    def _left_beside(self, opening: Opening) -> int:
        """Return an upper bound of the free descriptors: the new connection has got the lowest free number."""
        return self._descriptors - opening.descriptor

    def _take(self, name: str, caller: bytes) -> None:
        self._of_name[name] += 1
        self._of_caller[caller] += 1

    def _free(self, name: str, caller: bytes) -> None:
        _subtract(self._of_name, name)
        _subtract(self._of_caller, caller)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._looking = loop.call_later(_LOOK_SECONDS, self._look)
        now = loop.time()
        for pair, joined in list(self._pairs.items()):
            _count_bytes(pair, joined)
            received = joined.counted
            if received != joined.seen:
                joined.seen, joined.active_at = received, now
            elif now - joined.active_at >= self._limits.idle_seconds:
                pair.abort()


def _subtract(counts: Counter[Any], key: Any) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _count_bytes(pair: SplicedPair, joined: _Joined) -> None:
    before, joined.counted = joined.counted, pair.received_bytes
    for direction, old, new in zip(("in", "out"), before, joined.counted, strict=True):
        if new > old:
            count("relay_bytes", joined.name, direction, times=new - old)
