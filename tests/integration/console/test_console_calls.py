"""Calls through `fastrpc console`: with --calls to the services of the registry, without it to the console alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

import fastrpc
from fastrpc import Endpoint
from fastrpc.coordination import RegistryServer
from fastrpc.registries import open_registry
from tests.support.program import run_program
from tests.support.served import served
from tests.support.viewed import Viewed, viewed

pytestmark = pytest.mark.one_loop

APP = """
import fastrpc
from fastrpc.auth import Identity, StaticTokens


def authorize(identity, route):
    return identity is not None and (identity.name == "all" or route.service.startswith("fastrpc.console"))


tokens = StaticTokens({"token-of-all": Identity("all"), "token-of-a-viewer": Identity("viewer")})
app = fastrpc.App([], authenticate=tokens, authorize=authorize)
"""


@fastrpc.service("work")
class Work:
    @fastrpc.method(safe=True)
    async def shown(self) -> dict[str, str]:
        """Return the metadata of the call."""
        return dict(fastrpc.current_call().metadata)


@asynccontextmanager
async def console_over_work(folder: Path, *arguments: str) -> AsyncIterator[Viewed]:
    async with RegistryServer("tcp://127.0.0.1:0") as registry, served(Work(), scheme="tcp") as work:
        async with aclosing(open_registry(registry.url)) as opened:
            async with opened.register("work", Endpoint(str(work))):
                async with viewed(folder, "--registry", registry.url, *arguments) as console:
                    yield console


async def called(console: Viewed) -> dict[str, str]:
    """Call the service once the console has found it, and return its answer."""
    answer = await console.post("/work/shown", {})
    async with asyncio.timeout(60):
        while answer.status in (404, 503):
            answer = await console.post("/work/shown", {})
    assert answer.status == 200, answer.value
    found: dict[str, str] = answer.value
    return found


async def paths(console: Viewed) -> set[str]:
    """Return the paths of the document that a caller gets."""
    answer = await console.http.get("/openapi.json", **console.shown)
    return set(answer.value["paths"])


async def test_without_calls_only_the_console_can_be_called(tmp_path: Path) -> None:
    async with console_over_work(tmp_path) as console:
        await console.until("services", "services", {"service": ["work"]})
        assert "/work/shown" not in await paths(console)
        for name in ("work/shown", "fastrpc.health/check", "fastrpc.reflection/services"):
            assert (await console.post(f"/{name}", {})).status == 403


async def test_with_calls_the_services_of_the_registry_can_be_called(tmp_path: Path) -> None:
    async with console_over_work(tmp_path, "--calls") as console:
        # The printed token opens the console: no called server sees it.
        assert "authorization" not in await called(console)
        known = await paths(console)
        assert "/work/shown" in known
        for name in ("fastrpc.console/view", "fastrpc.console.detail/view", "fastrpc.console.act/act"):
            # Without its arguments.
            assert (await console.post(f"/{name}", {})).status == 400
        assert not any(path.startswith(("/fastrpc.health", "/fastrpc.reflection")) for path in known)
        assert (await console.post("/fastrpc.health/check", {})).status == 403
        assert (await console.http.get("/docs")).status == 200
        assert (await console.http.get("/client.js")).status == 200
        await console.until("services", "services", {"service": ["work"]})
        console.show(None)
        assert (await console.post("/work/shown", {})).status == 401


async def test_an_app_decides_who_calls_and_its_tokens_continue(tmp_path: Path) -> None:
    (tmp_path / "fronted.py").write_text(APP)
    async with console_over_work(tmp_path, "--calls", "--app", "fronted:app") as console:
        console.show("token-of-all")
        assert (await called(console))["authorization"] == "Bearer token-of-all"
        assert "/work/shown" in await paths(console)
        console.show("token-of-a-viewer")
        assert (await console.post("/work/shown", {})).status == 403
        assert "/work/shown" not in await paths(console)
        await console.until("services", "services", {"service": ["work"]})


async def test_calls_need_a_registry(tmp_path: Path) -> None:
    done = run_program(["-m", "fastrpc", "console", "--target", "http://127.0.0.1:1", "--calls"], tmp_path)
    assert done.code == 2
    assert "--calls needs the services of a registry" in done.errors
