"""What callers may fetch or bring, by the token that each was given: once, and soon."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fastrpc._core.serving.served_engine import Caller
from fastrpc.errors import CallError
from fastrpc.status import Status

__all__ = ["TOKEN_BYTES", "Ticket", "Tickets"]

#: The size of a token, as in rpcx.
TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Ticket:
    """One transfer that a caller may make.

    Attributes:
        method: the full name of the method that gave it.
        caller: who asked for it.
        path: the file, relative to the root.
        size: its bytes.
        sha256: its digest in hexadecimal digits; "" if nobody said.
        version: that of a file which is read.
    """

    method: str
    caller: Caller
    path: str
    size: int
    sha256: str = ""
    version: str = ""


class Tickets:
    """Tickets that were given out and not used.

    Args:
        most: the most of them at a time.
        seconds: for how long each is valid.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        # In the order in which they end.
        self._given: OrderedDict[bytes, tuple[Ticket, float]] = OrderedDict()

    def give(self, ticket: Ticket) -> bytes:
        """Return a token for a ticket.

        Raises:
            CallError: RESOURCE_EXHAUSTED: too many are given out.
        """
        self._drop_old()
        if len(self._given) >= self._most:
            oldest = next(iter(self._given.values()))[1]
            text = f"{self._most} transfers were asked for and not begun, the limit is {self._most}"
            raise CallError(
                Status.RESOURCE_EXHAUSTED, text, retry_after=max(0.0, oldest - self._clock()), processed="no"
            )
        token = secrets.token_bytes(TOKEN_BYTES)
        self._given[token] = ticket, self._clock() + self._seconds
        return token

    def take(self, token: bytes) -> Ticket | None:
        """Return the ticket of a token, which is used up by that; None if it has none."""
        self._drop_old()
        found = self._given.pop(token, None)
        return None if found is None else found[0]

    def _drop_old(self) -> None:
        now = self._clock()
        while self._given and next(iter(self._given.values()))[1] <= now:
            self._given.popitem(last=False)
