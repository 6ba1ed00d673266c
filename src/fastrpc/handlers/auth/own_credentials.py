"""The credentials of single calls, in their metadata.

A call whose verdict takes time waits; other calls of its connection continue.
"""

from collections.abc import Callable
from typing import Final

from fastrpc._core.server.guards import Guards
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_connection import ServedConnection
from fastrpc.auth.verdict import Answer, Refusal, Verdict
from fastrpc.endpoint import Address
from fastrpc.handlers.auth.authentication import Authentication
from fastrpc.handlers.auth.verdicts import seconds_left
from fastrpc.peers.peer import Peer, presenting
from fastrpc.rpc.identity import Identity
from fastrpc.status import Status

__all__ = ["OwnCredentials", "peer_of"]

#: Most calls of one connection that wait because their host presented wrong tokens. Further calls are refused
#: immediately, even with a good token, because other callers need the slots.
MOST_PAUSED: Final = 32

#: Most calls of one connection that are answered at their deadline while their verification still runs. Further calls
#: are answered only after the verification: otherwise calls with short deadlines could start more verifications than a
#: connection may have.
MOST_LATE: Final = 32

#: The peer of a call whose engine knows no peer.
_NOBODY: Final = Peer(Address("memory"))

# Gateways and the command line call these methods of servers on their own (`server/builtin.py`).
_REFLECTION: Final = frozenset({"fastrpc.reflection.services", "fastrpc.reflection.info"})

#: The identity of a call's credential, the status of a refusal, and the seconds until the credential expires (None:
#: never).
_Found = tuple[Identity | None, int, float | None]

_Conclude = Callable[[Identity | None, int, float | None], None]


class OwnCredentials:
    """Verifies the credentials of calls, for all connections of one server."""

    def __init__(self, authentication: Authentication) -> None:
        self._authentication = authentication
        self._paused: dict[ServedConnection, int] = {}
        # For each waiting call, the function that gets the verdict.
        self._waiting: dict[ServerCall, _Conclude] = {}
        # For each connection, the number of calls that were answered before their verdict.
        self._late: dict[ServedConnection, int] = {}

    def of_call(self, call: ServerCall, credential: str) -> _Found | None:
        """Return the finding about a call's credential, or None if it takes time: then use `wait`."""
        peer = peer_of(call, credential)
        answer = self._authentication.answer_now(peer)
        if answer is not None:
            return self._found(peer, call.method or "", answer)
        if self._paused.get(call.connection, 0) >= MOST_PAUSED and self._authentication.failed.pause_of(peer):
            return None, int(Status.RESOURCE_EXHAUSTED), None
        return None

    def wait(self, guards: Guards, call: ServerCall, method: str, names: int, payload: bytes) -> None:
        """Continue a call after its credential is verified."""
        self.verify(call, method, lambda *found: guards.conclude_access(call, method, names, payload, *found))

    def verify(self, call: ServerCall, method: str, conclude: _Conclude) -> None:
        """Pass the finding about a call's credential to a function, unless `give_up` is called before."""
        peer, connection = peer_of(call, call.metadata.get("authorization", "")), call.connection
        is_paused = self._authentication.failed.pause_of(peer) > 0
        self._waiting[call] = conclude
        if is_paused:
            self._paused[connection] = self._paused.get(connection, 0) + 1

        def answered(answer: Answer) -> None:
            if is_paused:
                _count_down(self._paused, connection)
            # A wrong credential counts even if the call was answered already.
            found = self._found(peer, method, answer)
            waiting = self._waiting.pop(call, None)
            if waiting is None:
                _count_down(self._late, connection)
            else:
                waiting(*found)

        self._authentication.answer_later(peer, answered)

    def give_up(self, call: ServerCall) -> bool:
        """Return whether a call whose deadline has passed is to be answered now. If so, its verdict is dropped."""
        late = self._late.get(call.connection, 0)
        if call not in self._waiting or late >= MOST_LATE:
            return False
        self._late[call.connection] = late + 1
        del self._waiting[call]
        return True

    def again(self, call: ServerCall) -> None:
        """Verify the credential of a running call again, after a file changed."""
        peer = peer_of(call, call.metadata.get("authorization", ""))

        def conclude(answer: Answer) -> None:
            is_same = isinstance(answer, Verdict) and answer.identity.name == getattr(
                call.identity, "name", None
            )
            access = call.connection.gate.guards.access
            if (
                access is not None
                and not is_same
                and getattr(answer, "status", None) is not Status.UNAVAILABLE
            ):
                access.expire_call(call)

        answer = self._authentication.verdicts.about(peer)
        if isinstance(answer, Verdict | Refusal):
            conclude(answer)
        else:
            self._authentication.wait(answer, conclude)

    def _found(self, peer: Peer, method: str, answer: Answer) -> _Found:
        if isinstance(answer, Verdict):
            left = seconds_left(answer)
            if left is None or left > 0:
                return answer.identity, 0, left
            answer = Refusal("its credential has expired")
        self._authentication.failed.note(peer, answer)
        self._authentication.audit.refused("authentication", method, None, peer, answer.reason)
        return None, int(answer.status), None

    def note_refused(self, call: ServerCall, method: str, status: int) -> None:
        """Log a refused call. The refusal of a call's own credential is logged already, so it is skipped."""
        if call.identity is not None or not call.metadata.get("authorization"):
            step = "authorisation" if status == Status.PERMISSION_DENIED else "authentication"
            # The log is for the operator: the caller gets the same text in either case.
            reason = "there is no such method" if call.route is None else "the caller may not call it"
            if status != Status.PERMISSION_DENIED:
                reason = "no identity" if call.identity is None else "its credential has expired"
            audit = self._authentication.audit
            tell = audit.refused_reflection if method in _REFLECTION else audit.refused
            tell(step, method, call.identity, call.peer, reason)


def _count_down(counts: dict[ServedConnection, int], connection: ServedConnection) -> None:
    counts[connection] -= 1
    if not counts[connection]:
        del counts[connection]


def peer_of(call: ServerCall, credential: str) -> Peer:
    """Return the peer of a call with the credential that it presents."""
    scheme, _, token = credential.partition(" ")
    return presenting(call.peer or _NOBODY, scheme.lower(), token.strip(" \t") or None)
