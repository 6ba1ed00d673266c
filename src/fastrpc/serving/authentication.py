"""Authentication: from the credentials of connections and calls to identities."""

import asyncio
import hashlib
import inspect
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, cast

from fastrpc._core.serving.exchange import Exchange
from fastrpc._core.serving.gate import Gate
from fastrpc._core.serving.served_call import ServerCall
from fastrpc._core.serving.server_session import ServerSession
from fastrpc.auth.policy import Policy, Route
from fastrpc.auth.verdict import BEARER, CERTIFICATE, Answer, Authenticator, Refusal, Verdict
from fastrpc.calling.peer import Peer
from fastrpc.endpoint import Address
from fastrpc.errors import CallError
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.identity import Identity
from fastrpc.rpc.token import TOKEN_CHARACTERS
from fastrpc.serving.audit import Audit, place_of
from fastrpc.status import Status

__all__ = ["Authenticate", "Authentication", "Authorize", "checked_authenticate", "checked_authorize"]

logger = logging.getLogger("fastrpc.server")

#: Verdicts that are kept, and for how many seconds at most.
MOST_VERDICTS: Final = 10_000
VERDICT_SECONDS: Final = 60.0

#: AUTH tells the seconds in 32 bits. What holds for longer holds for more than a century.
LONGEST_SECONDS: Final = float(2**32 - 1)

#: Failed logins of one host within a minute after which each further verdict waits a second.
MOST_FAILURES: Final = 10
FAILURE_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 1.0
MOST_HOSTS: Final = 10_000

#: The peer of a call whose engine names none.
_NOBODY: Final = Peer(Address("memory"))

#: The GOAWAY reason of a connection that is to be replaced (PROTOCOL.md 3.4).
_REASON_MAX_AGE: Final = 1

_UNDECIDED: Final = Refusal("it could not be decided who this is", Status.INTERNAL)

Authenticate = Authenticator | Callable[[Peer], Awaitable[Identity | None]]
Authorize = Callable[[Identity | None, Route], bool]


def checked_authenticate(authenticate: Any) -> Any:
    """Return what authenticates.

    Raises:
        TypeError: it is neither an object of `fastrpc.auth` nor an `async def` function of a peer.
    """
    if authenticate is None or _is_object(authenticate):
        return authenticate
    called: Any = authenticate if inspect.isroutine(authenticate) else getattr(authenticate, "__call__", None)  # noqa: B004
    while hasattr(called, "func"):
        called = called.func
    if isinstance(authenticate, type) or not inspect.iscoroutinefunction(called):
        raise TypeError(
            f"authenticate is {type(authenticate).__name__}, it must be an object of fastrpc.auth,"
            " or async (Peer) -> Identity | None"
        )
    return authenticate


def checked_authorize(authorize: Any) -> Any:
    """Return what authorises.

    Raises:
        TypeError: it is neither a policy nor a plain function.
    """
    if authorize is None or isinstance(authorize, Policy):
        return authorize
    if isinstance(authorize, type) or not callable(authorize) or inspect.iscoroutinefunction(authorize):
        raise TypeError(
            f"authorize is {type(authorize).__name__}, it must be a Policy,"
            " or a plain function (Identity | None, Route) -> bool"
        )
    return authorize


class Authentication:
    """Tells who presents a credential, for all connections of one server.

    Args:
        seconds: how long a verdict may take.
    """

    def __init__(
        self,
        authenticate: Authenticate,
        authorize: Any = None,
        *,
        seconds: float | None = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authenticate = authenticate
        self._authorize = authorize
        self._seconds = seconds
        self._clock = clock
        self._verdicts: OrderedDict[bytes, tuple[Verdict, float]] = OrderedDict()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._audit = Audit()
        self._versions: tuple[int, int] = (0, 0)
        #: The connections of the server.
        self.sessions: Collection[Any] = ()
        # Of those whose credential a changed file no longer has.
        self._removed: set[Exchange] = set()
        #: Rises when a file was read again: earlier verdicts and decisions may have changed.
        self.generation = 1

    @property
    def is_idle(self) -> bool:
        """Whether no credential is being verified."""
        return not self._tasks

    def public_route(self, definition: MethodDefinition) -> Route:
        """Return a method as `authorize` sees it."""
        return Route(
            service=definition.service,
            method=definition.name,
            kind=definition.kind,
            roles=definition.roles,
            public=definition.public,
        )

    # Files

    def look(self) -> int:
        """Look for changed files, and return the generation."""
        for source in (self._authenticate, self._authorize):
            if callable(getattr(source, "look", None)):
                cast(Any, source).look()
        versions = (getattr(self._authenticate, "version", 0), getattr(self._authorize, "version", 0))
        if versions != self._versions:
            self._versions = versions
            self._verdicts.clear()
            self.generation += 1
        return self.generation

    def reload(self) -> None:
        """Read the files again now."""
        for source in (self._authenticate, self._authorize):
            if callable(getattr(source, "reload", None)):
                cast(Any, source).reload()
        self.look()

    def again(self, exchange: Exchange) -> Identity | None:
        """Return the identity of a connection after a file changed; None if its credential is refused now.

        A client whose credential is refused is asked to connect again: it may have a newer one.
        """
        identity = self._identified_again(exchange)
        if identity is None:
            if not self._removed:
                asyncio.get_running_loop().call_soon(self._replace_removed)
            self._removed.add(exchange)
        return identity

    def _replace_removed(self) -> None:
        removed, self._removed = self._removed, set()
        for session in list(self.sessions):
            if session.exchange in removed:
                session.begin_drain(_REASON_MAX_AGE, "the credential is accepted no longer")

    def _identified_again(self, exchange: Exchange) -> Identity | None:
        peer = exchange.peer_info
        if peer is None or not _is_object(self._authenticate):
            return exchange.identity
        answer = cast(Authenticator, self._authenticate).verify(peer)
        if isinstance(answer, Verdict):
            return (
                answer.identity if answer.identity.name == getattr(exchange.identity, "name", None) else None
            )
        if isinstance(answer, Refusal):
            self._audit.refused("authentication", "", exchange.identity, peer, answer.reason)
            return None
        if inspect.iscoroutine(answer):
            # It has to be fetched: no file of ours says that it is refused.
            answer.close()
        return exchange.identity

    # Connections

    def opened(self, session: ServerSession) -> bool:
        """A connection opened: its certificate may name an identity. Return whether that was decided at once."""
        peer = session.describe_peer()
        if peer.certificate is None:
            return True
        peer.scheme = CERTIFICATE
        if _is_object(self._authenticate) and not cast(Authenticator, self._authenticate).handles(peer):
            return True
        generation = self.generation
        answer = self._verify(peer)
        if isinstance(answer, Verdict | Refusal):
            self._take_certificate(session, peer, answer, generation)
            return True
        self._run(answer, lambda found: self._take_certificate(session, peer, found, generation))
        return False

    def _take_certificate(self, session: ServerSession, peer: Peer, answer: Answer, generation: int) -> None:
        if isinstance(answer, Verdict):
            session.identify(answer.identity, _left(answer), by_certificate=True, generation=generation)
        else:
            # It may still present a token.
            self._audit.refused("authentication", "", None, peer, answer.reason)
        session.go_on()

    def begin(self, session: ServerSession, scheme: bytes, data: bytes) -> bool:
        """Verify the credential of a connection; return whether the verdict was given at once."""
        known = session.describe_peer()
        peer = _presenting(known, scheme.decode("ascii", "replace"), _text(data))
        self.look()
        generation = self.generation
        answer, pause = self._answer_about(peer)
        if isinstance(answer, Verdict | Refusal) and not pause:
            self._conclude(session, peer, answer, generation)
            return True
        self._run(_later(answer, pause), lambda found: self._conclude(session, peer, found, generation))
        return False

    def _conclude(self, session: ServerSession, peer: Peer, answer: Answer, generation: int) -> None:
        answer = self._up_to_date(peer, answer, generation)
        if isinstance(answer, Verdict):
            left = _left(answer)
            if left is not None and left <= 0:
                answer = Refusal("its credential has expired")
            elif session.identify(answer.identity, left, generation=self.generation):
                shown = session.describe_peer()
                shown.scheme, shown.credentials = peer.scheme, peer.credentials
                session.answer_auth(0, "", 0 if left is None else max(1, int(left)))
                return
            else:
                answer = Refusal("it proves another identity than the connection began with")
        self._note_failure(peer)
        self._audit.refused("authentication", "", None, peer, answer.reason)
        session.answer_auth(int(answer.status), _told(answer))

    # Calls

    def of_call(self, call: ServerCall, credential: str) -> tuple[Identity | None, int] | Awaitable[Answer]:
        """Return whose credential a call has, or None and the status of a refusal; an awaitable if that takes time."""
        peer = self._peer_of(call, credential)
        answer, pause = self._answer_about(peer)
        if isinstance(answer, Verdict | Refusal) and not pause:
            return self._of_answer(peer, call.method if call.route is not None else "", answer)
        return _later(answer, pause)

    def wait_for_call(self, gate: Gate, call: ServerCall, method: str, names: int, payload: bytes) -> None:
        """Verify what `of_call` could not at once; the call goes on then."""
        peer = self._peer_of(call, call.metadata.get("authorization", ""))
        generation = self.generation

        def conclude(answer: Answer) -> None:
            identity, status = self._of_answer(peer, method, self._up_to_date(peer, answer, generation))
            gate.conclude_access(call, method, names, payload, identity, status)

        assert gate.access is not None
        self._run(gate.access.pending, conclude)

    def _peer_of(self, call: ServerCall, credential: str) -> Peer:
        known = call.peer or _NOBODY
        scheme, _, token = credential.partition(" ")
        scheme = scheme.lower()
        return _presenting(known, scheme, token.strip(" ") or None)

    def _of_answer(self, peer: Peer, method: str, answer: Answer) -> tuple[Identity | None, int]:
        if isinstance(answer, Verdict):
            left = _left(answer)
            if left is None or left > 0:
                return answer.identity, 0
            answer = Refusal("its credential has expired")
        self._note_failure(peer)
        self._audit.refused("authentication", method, None, peer, answer.reason)
        return None, int(answer.status)

    def note_refused(self, call: ServerCall, method: str, status: int) -> None:
        """Log that a call was refused; a refused credential has been logged."""
        if call.identity is not None or not call.metadata.get("authorization"):
            step = "authorisation" if status == Status.PERMISSION_DENIED else "authentication"
            reason = "the caller may not call it" if call.identity is not None else "no identity"
            self._audit.refused(step, method, call.identity, call.peer, reason)

    # Verdicts

    def _answer_about(self, peer: Peer) -> tuple[Answer | Awaitable[Answer], float]:
        """Return the answer to a credential, and the seconds that it waits."""
        if peer.scheme != BEARER:
            return Refusal("its scheme is not known"), self._pause_of(peer)
        if not peer.credentials or len(peer.credentials) > TOKEN_CHARACTERS:
            return Refusal("its token is empty or too long"), self._pause_of(peer)
        key = self._key(peer)
        known = self._verdicts.get(key)
        if known is not None:
            verdict, until = known
            if self._clock() < until:
                # Nothing is guessed here, whatever else this host tried.
                return verdict, 0.0
            del self._verdicts[key]
        answer = self._verify(peer)
        kept = (
            self._kept(key, answer) if isinstance(answer, Verdict | Refusal) else self._keeping(key, answer)
        )
        return kept, self._pause_of(peer)

    def _up_to_date(self, peer: Peer, answer: Answer, generation: int) -> Answer:
        """Return an answer that took time; it is asked for again if files changed meanwhile."""
        if generation == self.generation or not isinstance(answer, Verdict):
            return answer
        fresh = self._verify(peer)
        if isinstance(fresh, Verdict | Refusal):
            return fresh
        # It has to be fetched: no file of ours says that it is refused.
        if inspect.iscoroutine(fresh):
            fresh.close()
        return answer

    async def _keeping(self, key: bytes, answer: Awaitable[Answer]) -> Answer:
        generation = self.generation
        found = await answer
        return self._kept(key, found) if generation == self.generation else found

    def _kept(self, key: bytes, answer: Answer) -> Answer:
        if isinstance(answer, Verdict):
            left = _left(answer)
            until = self._clock() + (VERDICT_SECONDS if left is None else min(left, VERDICT_SECONDS))
            self._verdicts[key] = (answer, until)
            if len(self._verdicts) > MOST_VERDICTS:
                self._verdicts.popitem(last=False)
        return answer

    def _key(self, peer: Peer) -> bytes:
        # A function may look at all of it.
        parts = (peer.credentials, place_of(peer), str((peer.certificate or {}).get("fingerprint", "")))
        return hashlib.sha256(
            "\0".join(part or "" for part in parts).encode("utf-8", "surrogatepass")
        ).digest()

    def _verify(self, peer: Peer) -> Answer | Awaitable[Answer]:
        try:
            if _is_object(self._authenticate):
                answer = cast(Authenticator, self._authenticate).verify(peer)
                return answer if isinstance(answer, Verdict | Refusal) else self._in_time(answer)
            return self._in_time(self._asked(peer))
        except Exception:
            logger.exception("fastrpc: authenticate raised")
            return _UNDECIDED

    async def _asked(self, peer: Peer) -> Answer:
        """Ask the user's function."""
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
            async with asyncio.timeout(self._seconds):
                found = await answer
            if not isinstance(found, Verdict | Refusal):
                raise TypeError(f"authenticate returned a {type(found).__name__}, not a verdict")
            return found
        except TimeoutError:
            return Refusal("the verdict took too long", Status.UNAVAILABLE)
        except CallError as error:
            known = error.status in (Status.UNAUTHENTICATED, Status.PERMISSION_DENIED, Status.UNAVAILABLE)
            return Refusal(error.message, error.status) if known else _UNDECIDED
        except Exception:
            logger.exception("fastrpc: authenticate raised")
            return _UNDECIDED

    def _run(self, answer: Awaitable[Answer], conclude: Callable[[Answer], None]) -> None:
        task = asyncio.ensure_future(answer)
        self._tasks.add(task)

        def done(task: "asyncio.Future[Answer]") -> None:
            self._tasks.discard(cast(asyncio.Task[Any], task))
            if task.cancelled():
                conclude(Refusal("the server stops", Status.UNAVAILABLE))
            else:
                conclude(_UNDECIDED if task.exception() is not None else task.result())

        task.add_done_callback(done)

    def close(self) -> None:
        """Give up what is being verified."""
        for task in list(self._tasks):
            task.cancel()

    # Failed logins

    def _pause_of(self, peer: Peer) -> float:
        """Return the seconds that the next verdict of a host waits."""
        failures = self._failures.get(place_of(peer))
        if failures is None:
            return 0.0
        since = self._clock() - FAILURE_SECONDS
        while failures and failures[0] < since:
            failures.popleft()
        return PAUSE_SECONDS if len(failures) >= MOST_FAILURES else 0.0

    def _note_failure(self, peer: Peer) -> None:
        place = place_of(peer)
        failures = self._failures.setdefault(place, deque(maxlen=MOST_FAILURES))
        self._failures.move_to_end(place)
        failures.append(self._clock())
        if len(self._failures) > MOST_HOSTS:
            self._failures.popitem(last=False)


def _is_object(authenticate: Any) -> bool:
    return callable(getattr(authenticate, "verify", None)) and callable(
        getattr(authenticate, "handles", None)
    )


def _presenting(known: Peer, scheme: str, credentials: str | None) -> Peer:
    """Return a peer with a credential that it presents now."""
    return Peer(known.address, scheme, credentials, certificate=known.certificate, protocol=known.protocol)


def _left(verdict: Verdict) -> float | None:
    """Return the seconds for which a verdict holds, None: as long as the connection lasts."""
    if verdict.valid_until is None:
        return None
    return min(verdict.valid_until - time.time(), LONGEST_SECONDS)


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _told(refusal: Refusal) -> str:
    """Return what the caller is told: no reason, which would help to guess."""
    if refusal.status is Status.UNAUTHENTICATED:
        return "the credential is not accepted"
    if refusal.status is Status.UNAVAILABLE:
        return "the credential cannot be verified now"
    return "it could not be decided who this is"


async def _later(answer: Answer | Awaitable[Answer], pause: float) -> Answer:
    if pause:
        await asyncio.sleep(pause)
    return answer if isinstance(answer, Verdict | Refusal) else await answer
