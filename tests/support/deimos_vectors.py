"""Recorded exchanges with real nodes of Deimos (`tests/golden/deimos.json`), and a server of ours to replay them."""

import contextlib
import functools
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

from fastrpc import HTTP, Address, Server, ServerConfig
from fastrpc.coordination import StoreService, deimos_app
from fastrpc.coordination.deimos.application import DeimosApplication
from fastrpc.coordination.remote import service as service_module
from fastrpc.stores.local import LocalStore
from fastrpc.testing import FakeClock
from tests.support.http_talk import HttpClient, Response
from tests.support.source_tree import ROOT

__all__ = ["DeimosServer", "deimos_cases", "deimos_server", "recorded", "sent"]

#: Cases of crashes, clusters, restarts, the proxy, the peers' port, and limits that are ours.
_OTHERS = {
    "limits",
    "peer_port",
    "restart",
    "proxy",
    "crash_delete_above_watch",
    "crash_expire_above_watch",
    "crash_after_snapshot",
    "cluster",
    "leader_killed",
    "majority_lost",
    "cluster_crash_watch",
    "cluster_crash_member",
    "phobos_registers_late",
}


@functools.cache
def deimos_cases() -> dict[str, list[dict[str, Any]]]:
    """Return the exchanges of each case that concerns one node."""
    text = (ROOT / "tests/golden/deimos.json").read_text(encoding="utf-8")
    cases = {case["name"]: case["exchanges"] for case in json.loads(text)["cases"]}
    assert cases.keys() > _OTHERS
    return {name: exchanges for name, exchanges in cases.items() if name not in _OTHERS}


def sent(exchange: dict[str, Any]) -> bytes:
    """Return the request of an exchange."""
    body = exchange.get("request_body", "").encode()
    fields = {"Host": "127.0.0.1", **exchange.get("request_headers", {})}
    if body:
        fields["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{exchange['request']} HTTP/1.1\r\n{lines}\r\n".encode() + body


def recorded(text: str) -> str:
    """Return a body without its undefined parts: instants, and seconds that are left."""
    text = re.sub(r'"expiration":"(?!0001)[^"]*"', '"expiration":"…"', text)
    if '"action":"expire"' in text:
        # They are overdue by seconds at a Deimos.
        text = re.sub(r'"ttl":-?\d+,', "", text)
    return re.sub(r'"ttl":-?\d+', '"ttl":…', text)


@dataclass
class DeimosServer:
    """A server of the dialect."""

    address: Address
    clock: FakeClock
    app: DeimosApplication

    @property
    def store(self) -> LocalStore:
        return self.app.local

    def advance(self, seconds: float) -> None:
        """Let keys grow older."""
        self.clock.advance(seconds)
        self.store.content.expire()

    async def answer(self, exchange: dict[str, Any]) -> Response:
        """Return the response to an exchange's request."""
        async with await HttpClient.to(self.address) as client:
            client.send(sent(exchange))
            return await client.response(has_body=not exchange["request"].startswith("HEAD "))

    async def ask(self, verb: str, target: str, form: str = "", **fields: str) -> Response:
        """Send a request with a form."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        return await self.answer(
            {"request": f"{verb} {target}", "request_headers": kind | fields, "request_body": form}
        )


@contextlib.asynccontextmanager
async def deimos_server(
    service: StoreService | None = None,
    *,
    around: Callable[[Any], Any] = lambda app: app,
    address: str = "tcp://127.0.0.1:0",
    clock: FakeClock | None = None,
    **options: Any,
) -> AsyncIterator[DeimosServer]:
    """Serve the dialect; the indexes of a new store match a new node.

    Args:
        around: returns the application in its place.
        clock: the clock of the service.
    """
    clock = clock or FakeClock()
    service = service or StoreService(clock=clock)
    # Two indexes of a new node belong to its members.
    with mock.patch.object(service_module, "revision_of_now", return_value=2):
        await service.__aenter__()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_exit(service.__aexit__)
        app = deimos_app(service)
        allowed = True if "authenticate" in options else None
        http = HTTP(json=False, docs=False, mounts={"/": around(app)}, mount_authenticated=allowed)
        async with Server(config=ServerConfig(protocols=("http",), http=http), **options) as server:
            yield DeimosServer(await server.listen(address), clock, app)
