"""A client and a server in one loop, connected in memory."""

import itertools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastrpc._core.calls.call import enter_call, leave_scope
from fastrpc._core.server.served_call import ServerCall, detached_call
from fastrpc.client.client import Client
from fastrpc.config import ClientConfig, ServerConfig
from fastrpc.config.validation import check_timeout
from fastrpc.endpoint import Address
from fastrpc.handlers.auth.access_options import Authenticate
from fastrpc.peers.peer import Peer
from fastrpc.rpc.identity import Identity
from fastrpc.rpc.interceptor import Interceptor
from fastrpc.server.server import Server
from fastrpc.server.settings import checked_config

if TYPE_CHECKING:
    from fastrpc.brokers import Broker

__all__ = ["connected", "handling"]

_numbers = itertools.count(1)

#: The credentials of a client with an identity. A client without credentials cannot send large messages.
_CREDENTIALS = "connected"


@asynccontextmanager
async def connected(
    *sources: Any,
    interceptors: Sequence[Interceptor] = (),
    client_interceptors: Sequence[Interceptor] = (),
    services: Sequence[Any] = (),
    identity: Identity | None = None,
    config: ServerConfig | None = None,
    client_config: ClientConfig | None = None,
    broker: "str | Broker | None" = None,
) -> AsyncIterator[Client]:
    """Serve `sources` in memory and yield a client of them.

    Calls are encoded and decoded as over a socket, so received values are copies. Results are always checked against
    their annotations, as with `ServerConfig.check_results`.

    Args:
        interceptors: the interceptors of the server.
        client_interceptors: the interceptors of the client.
        services: the services of the client, which handlers of `sources` call through `current_call().peer.client`.
        identity: the identity of the client. Services whose methods have roles need an identity.
        config: the settings of the server; without them, errors of the client have the text of a handler's exception.
        broker: the broker of the server, such as one of `fastrpc.testing.broker`.
    """
    config = replace(
        checked_config(ServerConfig(expose_errors=True) if config is None else config), check_results=True
    )
    server = Server(
        *sources,
        interceptors=interceptors,
        authenticate=None if identity is None else _known_as(identity),
        config=config,
        broker=broker,
    )
    async with server:
        address = await server.listen(f"memory://fastrpc-testing-{next(_numbers)}")
        async with Client(
            str(address),
            interceptors=client_interceptors,
            credentials=None if identity is None else _CREDENTIALS,
            services=services,
            config=client_config or ClientConfig(),
        ) as client:
            yield client


def _known_as(identity: Identity) -> Authenticate:
    async def known(peer: Peer) -> Identity:
        return identity

    return known


class _DirectCall(ServerCall):
    """A call without a connection, with made-up connection details."""

    method = "test.handling"
    peer = Peer(Address("memory", path="test"))

    async def send_metadata(self) -> None:
        """Do nothing: a direct call has no caller that waits for metadata."""


@contextmanager
def handling(
    metadata: Mapping[str, str | bytes] | None = None,
    identity: Identity | None = None,
    timeout: float | None = None,
    *,
    method: str = "test.handling",
) -> Iterator[Any]:
    """Make `current_call()` work while a test calls a handler directly. Yields the current call.

    Its `peer` is at `memory://test`.

    Args:
        metadata: the metadata of the call.
        timeout: seconds until the call's deadline.
        method: full name of the called method.
    """
    check_timeout(timeout, zero=True)
    call = detached_call(_DirectCall, metadata, identity, timeout)
    call.method = method
    token = enter_call(call)
    try:
        yield call
    finally:
        leave_scope(token)
