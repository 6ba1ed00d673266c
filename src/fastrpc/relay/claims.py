"""The names that servers have claimed at a relay, and the data connections that wait there for callers.

::

    ticket: sent to the server, 10 s ──► presented: spare ──► a caller arrives: pair
                  └─► not presented: another ticket          └─► a minute old: another spare takes its place

The tickets and spares of a name together number SPARES plus one for each waiting caller; at most MOST_ASKED callers
count.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from typing import Final, Protocol

from fastrpc.errors import CallError
from fastrpc.relay.refusals import RefusalReason, RelayRefusedError
from fastrpc.relay.told import ToldReasons
from fastrpc.relay.waiting import WaitingCaller, WaitingCallers
from fastrpc.relay.wire import ClaimTicket, new_ticket
from fastrpc.status import Status

__all__ = [
    "MOST_ASKED",
    "MOST_CLAIMS",
    "SPARES",
    "TICKET_SECONDS",
    "Claim",
    "Claims",
    "Joining",
    "Spare",
]

audit = logging.getLogger("fastrpc.audit")

#: Data connections kept ready for each name.
SPARES: Final = 2
#: Seconds within which a server has to present a token.
TICKET_SECONDS: Final = 10.0
#: Seconds after which a data connection is replaced: a NAT forgets idle connections.
_RENEWAL_SECONDS: Final = 60.0
#: The most data connections, in addition to its spares, that a server is asked for at the same time. Further callers
#: wait until some of these connections arrive.
MOST_ASKED: Final = 64
#: The most names at one relay: each has SPARES data connections and the connection of its claim.
MOST_CLAIMS: Final = 4_000


class Spare(asyncio.BufferedProtocol):
    """A data connection that waits for a caller, with nothing to send."""

    def __init__(self, claim: "Claim", transport: asyncio.Transport, key: bytes) -> None:
        self.transport = transport
        self.key = key
        self.made_at = asyncio.get_running_loop().time()
        self._claim = claim
        self._place = bytearray(1)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._place

    def buffer_updated(self, nbytes: int) -> None:
        self._claim.refuse(self)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._claim.lose(self)


class Claim:
    """A name, the server that claimed it, and the callers that wait for this server.

    Args:
        owner: the name of the server's identity.
        instance: distinguishes the programs of one identity.
        started: orders these programs: the start of the program, or of a later program from which it took over the
            name.
    """

    def __init__(self, claims: "Claims", name: str, owner: str, instance: str, started: int) -> None:
        self.name = name
        self.owner = owner
        self.instance = instance
        self.started = started
        #: The reason why the claim ended; None while it lasts.
        self.failure: CallError | None = None
        #: Set when the stream of the claim has tickets to send, or has to end.
        self.changed = asyncio.Event()
        self._claims = claims
        #: `spares`: the data connections that are ready, the oldest first. `callers`: the callers that wait for a
        #: connection.
        self.spares: deque[Spare] = deque()
        self.callers = WaitingCallers()
        # `_due`: the instants at which outstanding tickets expire, in order of time. `_unsent`: the unsent tickets.
        self._due: OrderedDict[bytes, float] = OrderedDict()
        self._unsent: dict[bytes, ClaimTicket] = {}

    def tickets(self) -> list[ClaimTicket]:
        """Return the tickets to send now."""
        self._look()
        unsent, self._unsent = self._unsent, {}
        return list(unsent.values())

    def holds(self, token: bytes) -> bool:
        """Return whether a token may still be presented."""
        return self._due.get(token, 0.0) > asyncio.get_running_loop().time()

    def add_caller(self, caller: WaitingCaller) -> None:
        """Join a caller and a data connection, immediately or as soon as there is a data connection.

        Raises:
            RelayRefusedError: too many callers wait, and this caller has to give way, as in `WaitingCallers.add`.
        """
        self.callers.note_call(caller.network)
        while self.spares:
            spare = self.spares.popleft()
            if not spare.transport.is_closing():
                self._claims.joining.join(self.name, caller, spare.transport, spare.key)
                self._look()
                return
        self.callers.add(caller)
        self._look()

    def remove_caller(self, caller: WaitingCaller) -> None:
        """Forget a caller that has disconnected."""
        self.callers.discard(caller)

    def add_spare(self, transport: asyncio.Transport, ticket: ClaimTicket) -> None:
        """Add a data connection whose token was presented."""
        self._due.pop(ticket.token, None)
        caller = self.callers.take()
        if caller is not None:
            self._claims.joining.join(self.name, caller, transport, ticket.key)
            self._look()
            return
        spare = Spare(self, transport, ticket.key)
        transport.set_protocol(spare)
        self.spares.append(spare)
        if len(self.spares) > SPARES:
            self.spares.popleft().transport.close()

    def lose(self, spare: Spare) -> None:
        """Remove a spare that has ended."""
        if spare in self.spares:
            self.spares.remove(spare)
            self._look()

    def refuse(self, spare: Spare) -> None:
        """Refuse a spare that sent bytes before it had a caller."""
        self._claims.joining.refuse(RefusalReason.EARLY, spare.transport)

    def end(self, failure: CallError) -> None:
        """Close the spares and waiting callers; joined pairs stay open."""
        self.failure = failure
        self.changed.set()
        for token in self._due:
            self._claims.forget(token)
        self._due.clear()
        self._unsent.clear()
        spares, self.spares = self.spares, deque()
        for spare in spares:
            spare.transport.close()
        for caller in self.callers.take_all():
            caller.refuse(RefusalReason.AWAY)

    def _look(self) -> None:
        """Issue tickets until as many are outstanding as are needed."""
        if self.failure is not None:
            return
        now = asyncio.get_running_loop().time()
        while self._due and next(iter(self._due.values())) <= now:
            token, _ = self._due.popitem(last=False)
            self._unsent.pop(token, None)
            self._claims.forget(token)
        fresh = sum(now - spare.made_at < _RENEWAL_SECONDS for spare in self.spares)
        for _ in range(SPARES + min(len(self.callers), MOST_ASKED) - fresh - len(self._due)):
            ticket = new_ticket()
            self._due[ticket.token] = now + TICKET_SECONDS
            self._claims.remember(self, ticket)
            self._unsent[ticket.token] = ticket
            self.changed.set()


class Joining(Protocol):
    """Makes pairs of connections."""

    def join(self, name: str, caller: WaitingCaller, server: asyncio.Transport, key: bytes) -> None:
        """Join a caller and the data connection of a name; `key` is the key of the connection's ticket."""

    def refuse(self, reason: RefusalReason, transport: asyncio.Transport) -> None:
        """Count and log that a connection is refused."""


class Claims:
    """All claims of a relay, by name, and all tokens."""

    def __init__(self, joining: "Joining") -> None:
        self.by_name: dict[str, Claim] = {}
        self._tickets: dict[bytes, tuple[Claim, ClaimTicket]] = {}
        self.joining = joining
        # A server whose claim is refused keeps retrying, so refusals are logged rarely.
        self._told = ToldReasons()

    def enter(self, name: str, owner: str, instance: str, *, takes_over: bool, started: int = 0) -> Claim:
        """Claim a name.

        Args:
            takes_over: whether another program of the same owner loses the name, even if it started later by its clock.
            started: the start of the program by its clock, in nanoseconds; an earlier program of the same owner loses
                the name.

        Raises:
            CallError: another program has the name, or there are too many names.
        """
        present = self.by_name.get(name)
        if present is not None and present.owner != owner:
            raise self._refused(
                owner,
                Status.PERMISSION_DENIED,
                f"another server has claimed {name!r}: its owner is another identity",
            )
        if present is not None and not (
            takes_over or present.instance == instance or present.started < started
        ):
            raise self._refused(
                owner, Status.ALREADY_EXISTS, f"another program of {owner} has claimed {name!r}"
            )
        if present is None and len(self.by_name) >= MOST_CLAIMS:
            raise self._refused(
                owner, Status.RESOURCE_EXHAUSTED, f"the relay has {MOST_CLAIMS:,} names, which is its limit"
            )
        if present is not None:
            audit.info(
                "relay: %s takes %s over", owner, name, extra={"identity": owner, "name_at_relay": name}
            )
            # Clocks differ, so the start is corrected: the loser must not take the name back by its own clock.
            started = max(started, present.started)
            present.end(CallError(Status.ABORTED, f"another program of {owner} has taken {name!r} over"))
        else:
            audit.info("relay: %s claims %s", owner, name, extra={"identity": owner, "name_at_relay": name})
        claim = self.by_name[name] = Claim(self, name, owner, instance, started)
        return claim

    def leave(self, claim: Claim) -> None:
        """Withdraw a claim, unless another claim has replaced it."""
        if self.by_name.get(claim.name) is claim:
            del self.by_name[claim.name]
            audit.info(
                "relay: %s leaves %s",
                claim.owner,
                claim.name,
                extra={"identity": claim.owner, "name_at_relay": claim.name},
            )
        claim.end(CallError(Status.ABORTED, f"{claim.name!r} is withdrawn"))

    def redeem(self, token: bytes) -> tuple[Claim, ClaimTicket]:
        """Use up a token and return its claim.

        Raises:
            RelayRefusedError: the token is unknown, used or expired.
        """
        found = self._tickets.pop(token, None)
        if found is None or not found[0].holds(token):
            raise RelayRefusedError(RefusalReason.TOKEN)
        return found

    def remember(self, claim: Claim, ticket: ClaimTicket) -> None:
        """Accept a token from now on."""
        self._tickets[ticket.token] = claim, ticket

    def forget(self, token: bytes) -> None:
        """Stop accepting a token."""
        self._tickets.pop(token, None)

    def _refused(self, owner: str, status: Status, reason: str) -> CallError:
        left_out = self._told.note((owner, status))
        if left_out is not None:
            audit.warning(
                "relay: a claim is refused: %s: %s%s",
                owner,
                reason,
                f" ({left_out} more were not logged)" if left_out else "",
                extra={"identity": owner, "reason": reason},
            )
        return CallError(status, reason, processed="no")
