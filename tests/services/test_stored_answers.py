"""Answers of safe methods in independent caches: curl, hishel and a browser ask once, then not, or revalidate."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Address, Server, ServerConfig, current_call
from tests.support.browsing import browsing

pytestmark = pytest.mark.one_loop

CHANGED = "Sun, 06 Nov 1994 08:49:37 GMT"


@fastrpc.service("pages")
class Pages:
    """Counts the requests that reach it."""

    def __init__(self) -> None:
        self.calls = 0
        self.version = 1

    def _told(self, control: str) -> str:
        self.calls += 1
        headers = {"ETag": f'"{self.version}"', "Last-Modified": CHANGED, "Cache-Control": control}
        current_call().http(headers=headers)
        return f"version {self.version} " + "a" * 2_000

    @fastrpc.method(safe=True, public=True)
    async def fresh(self) -> str:
        return self._told("max-age=600")

    @fastrpc.method(safe=True)
    async def own(self) -> str:
        return self._told("max-age=600")

    @fastrpc.method(safe=True)
    async def asked(self) -> str:
        return self._told("no-cache")

    @fastrpc.method(safe=True)
    async def plain(self) -> str:
        self.calls += 1
        return "plain"


@asynccontextmanager
async def serving(told: list[tuple[str, str]]) -> AsyncIterator[tuple[Pages, str]]:
    """Serve the pages; requests and their statuses are added to `told`."""
    pages = Pages()
    config = ServerConfig(protocols=("http",), http=HTTP(docs=True, compress=True))
    server = Server(pages, config=config)
    server.tell_ends(lambda ended: told.append((ended.what, ended.status)))
    async with server:
        address: Address = await server.listen("tcp://127.0.0.1:0")
        yield pages, f"http://{address.host}:{address.port}"


async def test_curl_asks_by_the_tag_and_by_the_date_that_it_kept(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    async with serving(told) as (pages, url):

        async def curl(*arguments: str) -> str:
            command = ("curl", "--silent", "--show-error", "--include", *arguments, f"{url}/pages/asked")
            program = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
            output, _ = await program.communicate()
            assert program.returncode == 0
            return output.decode()

        tag = str(tmp_path / "tag")
        for compressed in ((), ("--compressed",)):
            assert "200 OK" in await curl("--etag-save", tag, *compressed)
            found = await curl("--etag-compare", tag, *compressed)
            assert found.startswith("HTTP/1.1 304")
            assert found.endswith("\r\n\r\n")
            # Each answer has the tag of its form.
            assert (Path(tag).read_text().startswith("W/")) == bool(compressed)
        assert (await curl("--time-cond", CHANGED)).startswith("HTTP/1.1 304")
        assert (await curl("--time-cond", "Sat, 05 Nov 1994 08:49:37 GMT")).startswith("HTTP/1.1 200")
        pages.version = 2
        assert "version 2" in await curl("--etag-compare", tag)
    assert [status for _, status in told] == [
        *("200 OK", "304 Not Modified") * 2,
        *("304 Not Modified", "200 OK", "200 OK"),
    ]


async def test_hishel_requests_a_fresh_answer_once_and_revalidates_stale_ones(tmp_path: Path) -> None:
    hishel = pytest.importorskip("hishel", reason="hishel is not installed")
    clients = pytest.importorskip("hishel.httpx2", reason="httpx2 is not installed")
    told: list[tuple[str, str]] = []
    async with serving(told) as (pages, url):
        storage = hishel.AsyncSqliteStorage(database_path=tmp_path / "cache.db")
        async with clients.AsyncCacheClient(storage=storage, rfc={"shared": False}) as client:
            for _ in range(3):
                answer = await client.get(f"{url}/pages/fresh")
                assert answer.json().startswith("version 1 ")
            assert pages.calls == 1
            for version in (1, 1, 2):
                pages.version = version
                answer = await client.get(f"{url}/pages/asked")
                assert (answer.status_code, answer.json()[:10]) == (200, f"version {version} ")
            for _ in range(2):
                assert (await client.get(f"{url}/pages/plain")).json() == "plain"
    assert told == [
        ("GET /pages/fresh", "200 OK"),
        ("GET /pages/asked", "200 OK"),
        ("GET /pages/asked", "304 Not Modified"),
        ("GET /pages/asked", "200 OK"),
        ("GET /pages/plain", "200 OK"),
        ("GET /pages/plain", "200 OK"),
    ]


async def test_a_shared_cache_keeps_no_answer_for_one_caller(tmp_path: Path) -> None:
    hishel = pytest.importorskip("hishel", reason="hishel is not installed")
    clients = pytest.importorskip("hishel.httpx2", reason="httpx2 is not installed")
    told: list[tuple[str, str]] = []
    async with serving(told) as (_pages, url):
        storage = hishel.AsyncSqliteStorage(database_path=tmp_path / "cache.db")
        async with clients.AsyncCacheClient(storage=storage, rfc={"shared": True}) as client:
            for _ in range(2):
                await client.get(f"{url}/pages/own")
                await client.get(f"{url}/pages/fresh")
    assert [what for what, _ in told] == ["GET /pages/own", "GET /pages/fresh", "GET /pages/own"]


async def test_a_browser_requests_a_fresh_answer_once_and_revalidates_stale_ones(chromium: str) -> None:
    told: list[tuple[str, str]] = []
    async with serving(told) as (pages, url), browsing(chromium, f"{url}/docs") as page:

        async def fetched(path: str) -> Any:
            script = "path => fetch(path).then(async answer => [answer.status, (await answer.text()).slice(0, 11)])"
            return await page.evaluate(script, path)

        told.clear()
        for _ in range(3):
            assert await fetched("/pages/own") == [200, '"version 1 ']
        assert pages.calls == 1
        for version in (1, 1, 2):
            pages.version = version
            assert await fetched("/pages/asked") == [200, f'"version {version} ']
        for _ in range(2):
            assert await fetched("/pages/plain") == [200, '"plain"']
    assert [one for one in told if "/pages/" in one[0]] == [
        ("GET /pages/own", "200 OK"),
        ("GET /pages/asked", "200 OK"),
        ("GET /pages/asked", "304 Not Modified"),
        ("GET /pages/asked", "200 OK"),
        ("GET /pages/plain", "200 OK"),
        ("GET /pages/plain", "200 OK"),
    ]
