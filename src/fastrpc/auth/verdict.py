"""The question to an authenticator, and its answer."""

from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from fastrpc.rpc.identity import Identity
from fastrpc.status import Status
from fastrpc.value_class import value_class

__all__ = ["BEARER", "CERTIFICATE", "Answer", "Authenticator", "Presented", "Refusal", "Verdict"]

#: The schemes of credentials: a token (BEARER), or only a TLS certificate (CERTIFICATE).
BEARER = "bearer"
CERTIFICATE = "certificate"


class Presented(Protocol):
    """The credentials that a caller presents; `fastrpc.Peer` is one."""

    @property
    def scheme(self) -> str: ...
    @property
    def credentials(self) -> str | None: ...
    @property
    def certificate(self) -> Mapping[str, Any] | None: ...


@value_class
class Verdict:
    """An accepted credential."""

    identity: Identity
    #: The instant at which the credential expires, in seconds of `time.time()`; None: it is valid as long as the
    #: connection is open.
    valid_until: float | None = None


@value_class
class Refusal:
    """A refused credential.

    The reason is for the server's log. The caller only gets the status: UNAUTHENTICATED, or UNAVAILABLE if a later
    attempt with the same credential may succeed.
    """

    reason: str
    status: Status = Status.UNAUTHENTICATED


Answer = Verdict | Refusal


class Authenticator(Protocol):
    """An object of `fastrpc.auth` that returns the identity behind a credential."""

    @property
    def version(self) -> int:
        """A number that grows each time a file is read again: earlier verdicts may have changed."""

    def look(self) -> None:
        """Check whether a file changed, at most once a second."""

    def handles(self, peer: Presented) -> bool:
        """Return whether the authenticator handles this kind of credential."""

    def verify(self, peer: Presented) -> Answer | Awaitable[Answer]:
        """Return the answer, or an awaitable if keys or other data must be fetched first."""
