"""The paths that a mounted application has."""

from typing import Any

from fastrpc import HTTP, ServerConfig
from fastrpc.console.page_files import PageFiles
from fastrpc.hosting.mounts import Mounts
from tests.support.gateway_talk import connected


class Foreign:
    """An application whose own attribute has the name that once chose its paths."""

    fastrpc_paths = frozenset({b"/one"})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError


async def has(app: Any, path: bytes) -> bool:
    http = HTTP(mounts={"/": app})
    async with connected(http=http) as talk:
        return Mounts(ServerConfig(protocols=("http",), http=http), talk.engine.gate)(path) is not None


async def test_an_application_has_all_paths_below_its_own() -> None:
    assert await has(Foreign(), b"/one")
    assert await has(Foreign(), b"/two")


async def test_the_page_of_the_console_has_its_files_alone() -> None:
    assert await has(PageFiles(), b"/console/page.js")
    assert not await has(PageFiles(), b"/two")
