"""Authentication: from the credentials of connections to identities.

::

    AUTH, a certificate ──► Authentication ──► Verdicts ──► the authenticator
    a call's own credential ──► OwnCredentials ──┘
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, Protocol, cast

from fastrpc._core.server.served_connection import ServedConnection
from fastrpc.auth.policy import Route
from fastrpc.auth.verdict import CERTIFICATE, Answer, Refusal, Verdict
from fastrpc.handlers.auth.access_options import Authenticate
from fastrpc.handlers.auth.audit import Audit
from fastrpc.handlers.auth.failed_logins import FailedLogins
from fastrpc.handlers.auth.verdicts import UNDECIDED, Verdicts, seconds_left
from fastrpc.peers.peer import Peer, presenting
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.identity import Identity
from fastrpc.status import Status

__all__ = ["Authentication"]

#: The timeout of a verdict if there is no timeout for opening a connection.
VERDICT_SECONDS: Final = 4.0

#: The GOAWAY reason of a connection that is to be replaced (PROTOCOL.md 3.4).
_REASON_MAX_AGE: Final = 1


class _Certified(Protocol):
    """A connection whose peer may have proved its identity by a certificate."""

    def describe_peer(self) -> Peer: ...
    def identify(
        self,
        identity: Identity,
        valid_seconds: float | None = None,
        *,
        by_certificate: bool = False,
        generation: int = 0,
    ) -> bool: ...
    def go_on(self) -> None: ...


class _Asking(_Certified, Protocol):
    """A connection whose peer has sent a credential and waits for the verdict."""

    def answer_auth(self, status: int, text: str, valid_seconds: int = 0) -> None: ...


class Authentication:
    """Identifies callers by their credentials, for all connections of one server.

    Args:
        seconds: the timeout of a verdict.
    """

    def __init__(
        self,
        authenticate: Authenticate,
        authorize: Any = None,
        *,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authenticate = authenticate
        self._authorize = authorize
        self.verdicts = Verdicts(authenticate, VERDICT_SECONDS if seconds is None else seconds, clock)
        self.failed = FailedLogins(clock)
        self.audit = Audit()
        self._tasks: set[asyncio.Future[Any]] = set()
        self._versions: tuple[int, int] = (0, 0)
        #: The connections of the server.
        self.engines: Collection[Any] = ()
        # Connections whose credential was removed from its file, or now expires earlier.
        self._removed: set[ServedConnection] = set()
        #: Incremented whenever a file is read again, after which earlier verdicts and decisions may have changed.
        self.generation = 1
        #: The generation since which the verdicts are unchanged: later generations only changed data that `authorize`
        #: reads.
        self.proved_since = 1

    @property
    def is_idle(self) -> bool:
        """Whether no verdict is pending."""
        return not self._tasks

    def public_route(self, definition: MethodDefinition) -> Route:
        """Return the route that describes a method to `authorize`."""
        return Route(
            service=definition.service,
            method=definition.name,
            kind=definition.kind,
            roles=definition.roles,
            public=definition.public,
        )

    # Files

    def look(self) -> int:
        """Check for changed files, and return the generation."""
        for source in (self._authenticate, self._authorize):
            if callable(getattr(source, "look", None)):
                cast(Any, source).look()
        versions = (getattr(self._authenticate, "version", 0), getattr(self._authorize, "version", 0))
        if versions != self._versions:
            self.generation += 1
            if versions[0] != self._versions[0]:
                self.verdicts.forget()
                self.proved_since = self.generation
            self._versions = versions
        return self.generation

    def reload(self) -> None:
        """Read the files again now."""
        for source in (self._authenticate, self._authorize):
            if callable(getattr(source, "reload", None)):
                cast(Any, source).reload()
        self.look()

    def again(self, connection: ServedConnection) -> None:
        """Verify the credential of a connection again, after a file changed.

        A client whose credential is refused is asked to reconnect, because it may have a newer credential.
        """
        peer, known = connection.peer_info, connection.identity
        if peer is None or not self.verdicts.is_object:
            return
        answer = self.verdicts.fresh(peer)
        if isinstance(answer, Verdict | Refusal):
            self._conclude_again(connection, peer, known, answer)
        else:
            # The connection keeps its identity until the verdict.
            self.wait(answer, lambda found: self._conclude_again(connection, peer, known, found))

    def _conclude_again(
        self, connection: ServedConnection, peer: Peer, known: Identity | None, answer: Answer
    ) -> None:
        access = connection.gate.guards.access
        if access is None or connection.is_closed or connection.identity is not known:
            # Another credential was proved meanwhile, or this one has expired.
            return
        if isinstance(answer, Verdict):
            left = seconds_left(answer)
            if left is not None and left <= 0:
                answer = Refusal("its credential has expired")
            elif answer.identity.name == getattr(known, "name", None):
                if _is_shorter(connection, left):
                    # The client knows a later expiry, and would renew its credential too late.
                    self._replace_soon(connection)
                access.replace(connection, answer.identity, left)
                return
            else:
                answer = Refusal("it proves another identity than the connection began with")
        if answer.status is Status.UNAVAILABLE:
            # The credential could not be verified now, which is no refusal.
            return
        self.audit.refused("authentication", "", known, peer, answer.reason)
        self._replace_soon(connection)
        access.expire(connection)

    def _replace_soon(self, connection: ServedConnection) -> None:
        if not self._removed:
            asyncio.get_running_loop().call_soon(self._replace_removed)
        self._removed.add(connection)

    def _replace_removed(self) -> None:
        removed, self._removed = self._removed, set()
        for engine in list(self.engines):
            if engine.connection in removed:
                engine.begin_drain(_REASON_MAX_AGE, "the credential is no longer accepted")

    # Connections

    def opened(self, connection: _Certified) -> bool:
        """Verify the certificate of an opened connection, if it has one. Return whether the verdict was immediate."""
        peer = connection.describe_peer()
        if peer.certificate is None:
            return True
        peer.scheme = CERTIFICATE
        if not self.verdicts.handles(peer):
            return True
        generation = self.generation
        answer = self.verdicts.fresh(peer)
        if isinstance(answer, Verdict | Refusal):
            self._take_certificate(connection, peer, answer, generation)
            return True
        self.wait(answer, lambda found: self._take_certificate(connection, peer, found, generation))
        return False

    def _take_certificate(self, connection: _Certified, peer: Peer, answer: Answer, generation: int) -> None:
        if isinstance(answer, Verdict):
            connection.identify(
                answer.identity, seconds_left(answer), by_certificate=True, generation=generation
            )
        else:
            # The peer may yet present a token.
            self.audit.refused("authentication", "", None, peer, answer.reason)
        connection.go_on()

    def begin(self, connection: _Asking, scheme: bytes, data: bytes) -> bool:
        """Verify the credential of a connection; return whether the verdict was immediate."""
        peer = presenting(connection.describe_peer(), scheme.decode("ascii", "replace"), _text(data))
        self.look()
        answer = self.answer_now(peer)
        if answer is not None:
            self._conclude(connection, peer, answer)
            return True
        self.answer_later(peer, lambda found: self._conclude(connection, peer, found))
        return False

    def _conclude(self, connection: _Asking, peer: Peer, answer: Answer) -> None:
        if isinstance(answer, Verdict):
            left = seconds_left(answer)
            if left is not None and left <= 0:
                answer = Refusal("its credential has expired")
            elif connection.identify(answer.identity, left, generation=self.generation):
                shown = connection.describe_peer()
                shown.scheme, shown.credentials = peer.scheme, peer.credentials
                connection.answer_auth(0, "", 0 if left is None else max(1, int(left)))
                return
            else:
                answer = Refusal("it proves another identity than the connection began with")
        self.failed.note(peer, answer)
        self.audit.refused("authentication", "", None, peer, answer.reason)
        connection.answer_auth(int(answer.status), _told(answer))

    # Answers for connections and calls

    def answer_now(self, peer: Peer) -> Answer | None:
        """Return the verdict on a token; None if it takes time, or is delayed after wrong tokens of the host."""
        known = self.verdicts.known(peer)
        if isinstance(known, Verdict):
            # A known token is not a guess, even if this host presented wrong tokens before.
            return known
        if self.failed.pause_of(peer):
            return None
        answer = known or self.verdicts.about(peer)
        return answer if isinstance(answer, Verdict | Refusal) else None

    def answer_later(self, peer: Peer, conclude: Callable[[Answer], None]) -> None:
        """Answer a token for which `answer_now` returned None."""
        generation = self.generation

        def is_outdated(answer: Answer) -> bool:
            return isinstance(answer, Verdict) and generation < self.proved_since

        self.wait(
            self._answer(peer, self.failed.pause_of(peer)),
            lambda found: self.answer_later(peer, conclude) if is_outdated(found) else conclude(found),
        )

    async def _answer(self, peer: Peer, pause: float) -> Answer:
        if pause:
            await asyncio.sleep(pause)
        # The verdict is requested only after the delay, so a token that was removed meanwhile is refused.
        answer = self.verdicts.about(peer)
        return answer if isinstance(answer, Verdict | Refusal) else await answer

    def wait(self, answer: Awaitable[Answer], conclude: Callable[[Answer], None]) -> None:
        """Call a function with the answer when the answer is known."""
        task = asyncio.ensure_future(answer)
        self._tasks.add(task)

        def done(task: "asyncio.Future[Answer]") -> None:
            self._tasks.discard(task)
            if task.cancelled():
                conclude(Refusal("the server stops", Status.UNAVAILABLE))
            else:
                conclude(UNDECIDED if task.exception() is not None else task.result())

        task.add_done_callback(done)

    def close(self) -> None:
        """Cancel all running verifications."""
        for task in list(self._tasks):
            task.cancel()
        self.verdicts.close()
        self.audit.close()


def _is_shorter(connection: ServedConnection, seconds: float | None) -> bool:
    """Return whether a credential now expires at least a second before its known expiry."""
    if seconds is None:
        return False
    return not connection.expires_ns or time.monotonic() + seconds < connection.expires_ns / 1e9 - 1.0


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _told(refusal: Refusal) -> str:
    """Return the error text for the caller, without the reason, which would help to guess credentials."""
    if refusal.status is Status.UNAUTHENTICATED:
        return "the credential is not accepted"
    if refusal.status is Status.UNAVAILABLE:
        return "the credential cannot be verified now"
    return "the identity could not be decided"
