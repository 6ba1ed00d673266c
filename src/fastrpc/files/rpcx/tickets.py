"""Tickets for transfers. Each has a token that is valid once and for a short time."""

import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fastrpc._core.server.python_wire import ProvenCaller
from fastrpc.errors import CallError
from fastrpc.peers.peer import Peer
from fastrpc.status import Status

__all__ = ["TOKEN_BYTES", "Ticket", "Tickets"]

#: The size of a token, as in rpcx.
TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Ticket:
    """The permission for one transfer.

    Attributes:
        method: the full name of the method that gave the ticket.
        caller: the identity that asked for the ticket.
        path: the file, relative to the root.
        size: the bytes of the file.
        sha256: the digest of the file in hexadecimal digits; "" if unknown.
        version: the version of a file to be read.
        peer: the caller's connection with its credential, which is verified again when a file of tokens changes.
        holder: the name by which the tickets of this caller are counted.
    """

    method: str
    caller: ProvenCaller
    path: str
    size: int
    sha256: str = ""
    version: str = ""
    peer: Peer | None = None
    holder: str = ""


class Tickets:
    """The issued and unused tickets.

    Args:
        most: the most tickets at a time. With more, the holder of the most tickets loses its oldest ticket. If that is
            the caller, the call is refused.
        seconds: the seconds for which a ticket is valid.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        # The tickets and their expirations by token, in the order of expiration.
        self._given: OrderedDict[bytes, tuple[Ticket, float]] = OrderedDict()

    def give(self, ticket: Ticket) -> bytes:
        """Return a token for a ticket.

        Raises:
            CallError: RESOURCE_EXHAUSTED: there are too many tickets, and no holder has more than the caller.
        """
        self._drop_old()
        if len(self._given) >= self._most and not self._take_back(ticket.holder):
            oldest = next(iter(self._given.values()))[1]
            text = f"{self._most} transfers were asked for and not begun, the limit is {self._most}"
            raise CallError(
                Status.RESOURCE_EXHAUSTED, text, retry_after=max(0.0, oldest - self._clock()), processed="no"
            )
        token = secrets.token_bytes(TOKEN_BYTES)
        self._given[token] = ticket, self._clock() + self._seconds
        return token

    def take(self, token: bytes) -> Ticket | None:
        """Return the ticket of a token and invalidate the token; None for an unknown token."""
        self._drop_old()
        found = self._given.pop(token, None)
        return None if found is None else found[0]

    def _take_back(self, asker: str) -> bool:
        """Drop the oldest ticket of the holder with most tickets; return False if one more gave `asker` as many."""
        counts = Counter(ticket.holder for ticket, _ in self._given.values())
        holder, most = counts.most_common(1)[0]
        if counts[asker] + 1 >= most:
            return False
        token = next(token for token, (ticket, _) in self._given.items() if ticket.holder == holder)
        del self._given[token]
        return True

    def _drop_old(self) -> None:
        now = self._clock()
        while self._given and next(iter(self._given.values()))[1] <= now:
            self._given.popitem(last=False)
