"""A connection of the HTTP gateway over a transport that leads nowhere: its requests and answers are bytes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

from fastrpc import HTTP, Limits, ServerConfig
from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.http.connection import GatewayConnection
from fastrpc._core.http.own_hosts import OwnHosts
from fastrpc._core.http.service import HttpMethod, HttpService
from fastrpc._core.io.session import Session
from fastrpc._core.payload.marshal import Marshal
from fastrpc._core.server.gate import Gate
from fastrpc.protocols.base import ServerParts
from fastrpc.rpc.marshals import marshal_for
from tests.support.http_shop import Shop
from tests.support.http_talk import HttpClient
from tests.support.kept_connection import gate_for
from tests.support.still_transport import StillTransport
from tests.support.waiting import eventually

__all__ = ["GatewayTalk", "connected", "method_of"]


class FedTransport(StillTransport):
    """A transport whose output goes to a reader."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__()
        self.reader = reader

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self.reader.feed_data(bytes(data))

    def abort(self) -> None:
        super().abort()
        self.reader.feed_eof()


class GatewayTalk(HttpClient):
    """One connection, to which a test gives bytes."""

    def __init__(self, engine: GatewayConnection, gate: Gate) -> None:
        self.engine = engine
        self._gate = gate
        self.is_lost = False
        self.reader = asyncio.StreamReader()
        self.transport = FedTransport(self.reader)
        self.session = Session(engine, loop=asyncio.get_running_loop())
        self.session.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        """Receive these bytes in the next turn of the loop, outside of any task, as a transport does."""
        asyncio.get_running_loop().call_soon(self._receive, data)

    async def sent(self, data: bytes) -> None:
        """Receive these bytes; return once they are handled, which a stall puts off."""
        self.send(data)
        await asyncio.sleep(0)
        await eventually(lambda: not self.session.is_put_off and not self._gate.admission.waiting)

    def _receive(self, data: bytes) -> None:
        with memoryview(self.session.get_buffer(len(data))) as place:
            place[: len(data)] = data
        self.session.buffer_updated(len(data))

    def lose(self) -> None:
        """End the connection from below, unless that was done."""
        if self.is_lost:
            return
        self.is_lost = True
        self.transport.abort()
        self.session.connection_lost(None)


def method_of(route: MethodRoute) -> HttpMethod:
    """Return a method that GET may call too, with one argument, `text`, in its query."""

    def marshal_of(codec: str) -> Marshal:
        return marshal_for(route.definition, codec, depth=64, items=1_000, by_name=True)

    return HttpMethod(route, marshal_of, lambda query: b'{"text":"%b"}' % query.encode(), is_safe=True)


@asynccontextmanager
async def connected(
    make_method: Callable[[MethodRoute], HttpMethod] = method_of,
    *,
    http: HTTP | None = None,
    limits: Limits | None = None,
    paths: Mapping[str, Any] | None = None,
    hosts: OwnHosts | None = None,
    shop: Shop | None = None,
    **options: Any,
) -> AsyncIterator[GatewayTalk]:
    """Yield a connection to the shop."""
    async with gate_for(shop or Shop(), **options) as gate:
        service = HttpService(gate, http or HTTP(), limits or Limits(), make_method, paths or {}, hosts)
        parts = SimpleNamespace(reveals_services=True, config=options.get("config") or ServerConfig())
        talk = GatewayTalk(GatewayConnection(service, cast(ServerParts, parts)), gate)
        yield talk
        talk.lose()
