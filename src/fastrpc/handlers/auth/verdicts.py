"""Verdicts on credentials. A verdict is requested once for all callers who wait for it, and cached for a while."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from fastrpc.auth.verdict import BEARER, Answer, Authenticator, Refusal, Verdict
from fastrpc.errors import CallError
from fastrpc.handlers.auth.access_options import Authenticate, is_authenticator
from fastrpc.handlers.life import MinuteLog
from fastrpc.peers.outcomes import is_absence
from fastrpc.peers.peer import Peer
from fastrpc.rpc.identity import Identity
from fastrpc.rpc.token import TOKEN_CHARACTERS
from fastrpc.status import Status
from fastrpc.time_limit import time_limit
from fastrpc.user_code import contained

__all__ = ["UNDECIDED", "Verdicts", "seconds_left"]

#: MOST_VERDICTS: the most verdicts that are kept. VERDICT_SECONDS: the most seconds for which each is kept.
MOST_VERDICTS: Final = 10_000
VERDICT_SECONDS: Final = 60.0

#: The most seconds that an AUTH frame can state in 32 bits: more than a century.
LONGEST_SECONDS: Final = float(2**32 - 1)

UNDECIDED: Final = Refusal("the identity could not be decided", Status.INTERNAL)

#: The refusal while the server, store or broker that an authenticator asks is unavailable.
ABSENT: Final = Refusal("the identity cannot be decided now", Status.UNAVAILABLE)

#: Statuses with which an authenticating function may refuse.
_REFUSALS: Final = (Status.UNAUTHENTICATED, Status.PERMISSION_DENIED, Status.UNAVAILABLE)

logger = logging.getLogger("fastrpc.server")


class Verdicts:
    """The verdicts of one authenticator: an object of `fastrpc.auth`, or a function.

    Args:
        seconds: the timeout of a verdict.
    """

    def __init__(
        self, authenticate: Authenticate, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._authenticate = authenticate
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[Verdict, float]] = OrderedDict()
        # Pending verdicts by credential. All callers that wait for a verdict share its future.
        self._asked: dict[bytes, asyncio.Future[Answer]] = {}
        # The tasks of all pending verdicts.
        self._tasks: set[asyncio.Future[Answer]] = set()
        self._absences = MinuteLog(_tell_absences)

    @property
    def is_object(self) -> bool:
        """Whether the authenticator is one of `fastrpc.auth`, not a function."""
        return is_authenticator(self._authenticate)

    def handles(self, peer: Peer) -> bool:
        """Return whether the authenticator handles this kind of credential; a function gets all kinds."""
        return not self.is_object or cast(Authenticator, self._authenticate).handles(peer)

    def forget(self) -> None:
        """Drop all cached verdicts, because the data behind them has changed."""
        self._kept.clear()
        # Waiting callers request the verdict again, and no later caller gets the old verdict.
        self._asked.clear()

    def known(self, peer: Peer) -> Answer | None:
        """Return the cached verdict on a token, or None, without requesting a verdict."""
        if peer.scheme != BEARER:
            return Refusal("its scheme is unknown")
        if not peer.credentials or len(peer.credentials) > TOKEN_CHARACTERS:
            return Refusal("its token is empty or too long")
        key = _key(peer)
        kept = self._kept.get(key)
        if kept is None:
            return None
        if self._clock() < kept[1]:
            return kept[0]
        del self._kept[key]
        return None

    def about(self, peer: Peer) -> Answer | Awaitable[Answer]:
        """Return the verdict on a token, or an awaitable if it takes time."""
        known = self.known(peer)
        if known is not None:
            return known
        key = _key(peer)
        task = self._asked.get(key)
        if task is None:
            answer = self.fresh(peer)
            if isinstance(answer, Verdict | Refusal):
                self._keep(key, answer)
                return answer
            task = self._asked[key] = asyncio.ensure_future(answer)
            self._tasks.add(task)
            task.add_done_callback(lambda task: self._end(key, task))
        # If one caller is cancelled, the shield keeps the task running for the other callers.
        return asyncio.shield(task)

    def fresh(self, peer: Peer) -> Answer | Awaitable[Answer]:
        """Request a new verdict on a token or a certificate."""
        try:
            if self.is_object:
                with contained("authenticate"):
                    answer = cast(Authenticator, self._authenticate).verify(peer)
                return answer if isinstance(answer, Verdict | Refusal) else self._in_time(answer)
            return self._in_time(self._asked_function(peer))
        except Exception as error:
            return self._failed(error)

    def _end(self, key: bytes, task: asyncio.Future[Answer]) -> None:
        self._tasks.discard(task)
        if self._asked.get(key) is task:
            del self._asked[key]
            if not task.cancelled() and task.exception() is None:
                self._keep(key, task.result())

    def _keep(self, key: bytes, answer: Answer) -> None:
        if isinstance(answer, Verdict):
            left = seconds_left(answer)
            until = self._clock() + (VERDICT_SECONDS if left is None else min(left, VERDICT_SECONDS))
            self._kept[key] = (answer, until)
            if len(self._kept) > MOST_VERDICTS:
                self._kept.popitem(last=False)

    async def _asked_function(self, peer: Peer) -> Answer:
        found = await cast(Callable[[Peer], Awaitable[Any]], self._authenticate)(peer)
        if found is None:
            return Refusal("authenticate returned None")
        if not isinstance(found, Identity):
            raise TypeError(
                f"authenticate returned a {type(found).__name__}, it must return an Identity or None"
            )
        return Verdict(found)

    async def _in_time(self, answer: Awaitable[Answer]) -> Answer:
        try:
            async with time_limit(self._seconds):
                with contained("authenticate"):
                    found = await answer
            if not isinstance(found, Verdict | Refusal):
                raise TypeError(
                    f"authenticate returned a {type(found).__name__}, it must return a Verdict or Refusal"
                )
            return found
        except TimeoutError:
            return Refusal("the verdict took too long", Status.UNAVAILABLE)
        except CallError as error:
            return Refusal(error.message, error.status) if error.status in _REFUSALS else UNDECIDED
        except Exception as error:
            return self._failed(error)

    def _failed(self, error: Exception) -> Refusal:
        """Log an authenticator's error; for an unavailable server, store or broker only once a minute."""
        if is_absence(error):
            self._absences.note("a call it made failed", f"{type(error).__name__}: {error}")
            return ABSENT
        logger.error("fastrpc: authenticate raised", exc_info=error)
        return UNDECIDED

    def close(self) -> None:
        """Cancel all running verifications."""
        for task in list(self._tasks):
            task.cancel()


def _tell_absences(count: int, last: str) -> None:
    logger.warning("fastrpc: authenticate could not decide: %d, the last time %s", count, last)


def seconds_left(verdict: Verdict) -> float | None:
    """Return the seconds for which a verdict is valid; None: until the connection closes."""
    if verdict.valid_until is None:
        return None
    return min(verdict.valid_until - time.time(), LONGEST_SECONDS)


def _key(peer: Peer) -> bytes:
    # All that an authenticating function can read of a peer belongs to the key.
    parts = (
        peer.credentials,
        peer.protocol,
        # A function may refuse credentials that were not sent over TLS.
        peer.address.scheme,
        peer.address.host or str(peer.address),
        str((peer.certificate or {}).get("fingerprint", "")),
    )
    import hashlib  # Servers without authentication do not need it.

    return hashlib.sha256("\0".join(part or "" for part in parts).encode("utf-8", "surrogatepass")).digest()
