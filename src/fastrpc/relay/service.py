"""The service of a relay: servers claim their names there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

from fastrpc._core.calls.call import current_call
from fastrpc.auth.policy import Policy
from fastrpc.config import TLS, Keepalive, ServerConfig
from fastrpc.endpoint import check_relay_host, check_relay_name
from fastrpc.errors import CallError, ConfigError
from fastrpc.hosted.draining import draining
from fastrpc.hosted.rights import Grant, ServiceRights
from fastrpc.patterns import RelayPattern
from fastrpc.relay.claims import Claim
from fastrpc.relay.descriptors import raise_descriptor_limit
from fastrpc.relay.front import Front, RelayLimits
from fastrpc.relay.wire import ClaimTicket
from fastrpc.rpc.identity import Identity
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import service
from fastrpc.server.server import Server
from fastrpc.status import Status
from fastrpc.time_limit import time_limit

__all__ = ["CLAIM", "RelayService", "begun", "relay_config"]

#: A server loses its claim if these times pass without a byte, as when its line is cut.
KEEPALIVE: Final = Keepalive(interval=5.0, timeout=5.0)
#: Seconds between two checks of the rights and the spares of a claim.
_LOOK_SECONDS: Final = 5.0


def _patterns(policy: Policy, identity: Identity | None) -> tuple[RelayPattern, ...]:
    return policy.relay_patterns(identity)


CLAIM: Final[Grant[RelayPattern]] = Grant("claim", "name", "relay", _patterns, RelayPattern.matches)


def relay_config(tls: TLS) -> ServerConfig:
    """Return the settings of a server of the service."""
    return ServerConfig(tls=tls, keepalive=KEEPALIVE)


@service("fastrpc.relay", version="1")
class RelayService:
    """Names for servers behind a NAT.

    Args:
        name: the host name of the relay. The host name of a server is `NAME.` followed by this name.
        rights: grant names; None: every identity may claim every name.
    """

    def __init__(
        self, name: str, *, rights: ServiceRights | None = None, limits: RelayLimits | None = None
    ) -> None:
        self._rights = rights
        #: The limits for connections.
        self.limits = limits or RelayLimits()
        #: Begins the connections of the server that has this service (`Server.begin_with`).
        self.front = Front(_checked_host(name), self.limits)

    async def __aenter__(self) -> Self:
        self.front.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.front.shut()

    @method
    async def claim(
        self, name: str, instance: str, takes_over: bool, started: int = 0
    ) -> AsyncIterator[ClaimTicket]:
        """Claim a name while the stream lasts; each message lets the server open one data connection.

        Args:
            instance: distinguishes the programs of one identity.
            takes_over: whether another program of the same identity loses the name.
            started: the start of the program by its clock, in nanoseconds since 1970: the program takes over the name
                from earlier programs of the same identity.
        """
        identity = current_call().identity
        if identity is None:
            raise CallError(
                Status.UNAUTHENTICATED, "a claim needs an identity: no token was shown", processed="no"
            )
        try:
            check_relay_name(name)
        except ConfigError as error:
            raise CallError(Status.INVALID_ARGUMENT, str(error), processed="no") from None
        self._check(name)
        claim = self.front.claims.enter(name, identity.name, instance, takes_over=takes_over, started=started)
        try:
            with draining() as drain:
                drain.add_done_callback(lambda _: claim.changed.set())
                while not drain.done():
                    for ticket in claim.tickets():
                        yield ticket
                    await _changed(claim)
                    self._check(name)
        finally:
            self.front.claims.leave(claim)

    def _check(self, name: str) -> None:
        if self._rights is not None:
            self._rights.check(CLAIM, [name])


@asynccontextmanager
async def begun(service: RelayService, server: Server) -> AsyncIterator[None]:
    """Make the connections of a server begin as connections to a relay; called before the server listens.

    This is only for a process that is a relay, as it raises the limit of descriptors.
    """
    raise_descriptor_limit(service.limits.descriptors)
    service.front.begin_connections_of(server)
    yield


async def _changed(claim: Claim) -> None:
    """Wait until the claim changes. CallError: the claim has ended."""
    try:
        async with time_limit(_LOOK_SECONDS):
            await claim.changed.wait()
    except TimeoutError:
        return
    claim.changed.clear()
    if claim.failure is not None:
        raise claim.failure


def _checked_host(name: str) -> str:
    """Return the host name of a relay in lower case. ConfigError: it has another form."""
    found = name.lower()
    check_relay_host(found)
    return found
