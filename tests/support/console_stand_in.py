"""A console whose views are a test's data, like the views of a hostile fleet or of a future service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

import fastrpc
from fastrpc import Server, ServerConfig
from fastrpc.auth import Identity, StaticTokens
from fastrpc.config import HTTP
from fastrpc.console.page_files import with_page
from fastrpc.rpc.service import CONSOLE_PREFIX

__all__ = ["OWNER", "StandIn", "stand_in"]

#: The service of acts.
ACT = f"{CONSOLE_PREFIX}act"

#: The token of a person who may do everything; "viewer" may not act.
OWNER = "token-of-the-owner"


class StandIn:
    """Blocks by the names of views, and the requests of the page."""

    def __init__(self) -> None:
        self.blocks: dict[str, list[Any]] = {"services": []}
        self.title = "services"
        self.origin = ""
        #: Arguments and `after` of each request for a view.
        self.asked: list[tuple[str, dict[str, str], str]] = []
        #: The arguments of each act, and the answers to the next one.
        self.acts: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self._asked = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"{self.origin}/#token={OWNER}"

    async def note(self, name: str, arguments: dict[str, str], after: str) -> None:
        async with self._asked:
            self.asked.append((name, arguments, after))
            self._asked.notify_all()

    async def until_asked(self, name: str, more: int = 1, **arguments: str) -> None:
        """Wait until a view with these arguments was asked for some times more."""

        def count() -> int:
            return sum(one[:2] == (name, arguments) for one in self.asked)

        async with asyncio.timeout(20), self._asked:
            wanted = count() + more
            await self._asked.wait_for(lambda: count() >= wanted)

    def view(self, name: str, after: str) -> dict[str, Any]:
        blocks = msgspec.to_builtins(self.blocks.get(name, []))
        revision = str(hash(repr((self.title, blocks))))
        return {
            "title": self.title,
            "blocks": None if revision == after else blocks,
            "revision": revision,
            "time": 1_700_000_005.0,
        }


def _services(scene: StandIn) -> list[Any]:
    @fastrpc.service("fastrpc.console.detail", version="1")
    class Views:
        @fastrpc.method(idempotent=True)
        async def view(
            self, name: str, arguments: dict[str, str] | None = None, after: str = ""
        ) -> dict[str, Any]:
            await scene.note(name, arguments or {}, after)
            return scene.view(name, after)

    @fastrpc.service(ACT, version="1")
    class Acts:
        @fastrpc.method
        async def act(
            self, name: str, servers: list[str], values: dict[str, Any], token: str
        ) -> list[dict[str, Any]]:
            scene.acts.append({"name": name, "servers": servers, "values": values, "token": token})
            return scene.answers

    return [Views(), Acts()]


@asynccontextmanager
async def stand_in() -> AsyncIterator[StandIn]:
    """Serve the page with the views of a test."""
    scene = StandIn()
    tokens = StaticTokens({OWNER: Identity("owner"), "viewer": Identity("viewer")})

    def authorize(identity: Identity | None, route: Any) -> bool:
        return identity is not None and (identity.name == "owner" or route.service != ACT)

    config = ServerConfig(protocols=("http",), http=with_page(HTTP()))
    async with Server(*_services(scene), config=config, authenticate=tokens, authorize=authorize) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        scene.origin = f"http://127.0.0.1:{address.port}"
        yield scene
