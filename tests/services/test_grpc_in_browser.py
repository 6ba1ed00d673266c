"""Pages call by `@connectrpc/connect-web` and `grpc-web` in a real browser, from an allowed and a foreign origin."""

import asyncio
import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fastrpc import HTTP, Server, ServerConfig, Status
from fastrpc.auth import Identity, StaticTokens
from tests.services.conftest import GRPC_PEERS
from tests.support.certificates import Authority
from tests.support.sums import Sums

playwright_api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

#: The transports of connect-web, and the two formats of grpc-web's own library.
WAYS = ("connect", "connect_binary", "connect_get", "grpc_web", "library_text", "library_binary")

FOUND = {"twice": 14, "up_to": [1, 2, 3], "fail": [Status.NOT_FOUND, "grün"], "seen": "value"}


@pytest.fixture(scope="module")
def pages(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """Return the folder of a page with the script, and the schema as `protoc` compiles it."""
    folder = tmp_path_factory.mktemp("pages")
    bundle = [str(node_modules / ".bin" / "esbuild"), str(GRPC_PEERS / "js" / "web.js"), "--bundle"]
    subprocess.run(
        [*bundle, f"--outfile={folder / 'web.js'}", "--log-level=error"],
        check=True,
        env={"NODE_PATH": str(node_modules), "PATH": "/usr/bin:/bin:/usr/local/bin"},
    )
    (folder / "index.html").write_text('<!doctype html><title>Sums</title><script src="web.js"></script>')
    schema = folder / "schema"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{GRPC_PEERS}"]
    subprocess.run([*protoc, f"--descriptor_set_out={schema}", "sums.proto"], check=True)
    return folder, schema.read_bytes()


@contextmanager
def origin_of(folder: Path) -> Iterator[str]:
    """Serve a folder at a separate origin."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def told(chromium: str, page_at: str, runs: list[tuple[str, str]], schema: bytes) -> list[Any]:
    """Open a page, and return the reports of its script on calls: to a server, over a protocol."""
    async with playwright_api.async_playwright() as playwright:
        # The sandbox needs rights that containers and root lack; the pages are our own.
        browser = await playwright.chromium.launch(
            executable_path=chromium,
            # The certificate is one of the test.
            args=["--no-sandbox", "--disable-dev-shm-usage", "--ignore-certificate-errors"],
        )
        page = await browser.new_page()
        await page.goto(page_at)
        script = "([server, way, schema]) => window.run(server, way, schema)"
        async with asyncio.timeout(60):
            found = [await page.evaluate(script, [server, way, list(schema)]) for server, way in runs]
        await browser.close()
        return found


@pytest.mark.parametrize("protocols", [("native", "http", "grpc"), ("native", "grpc")])
async def test_pages_of_listed_origins_alone_call(
    chromium: str, pages: tuple[Path, bytes], protocols: tuple[str, ...], tmp_path: Path
) -> None:
    folder, schema = pages
    service, tls = Sums(), Authority(tmp_path).certificate().tls()
    with origin_of(folder) as listed, origin_of(folder) as foreign:
        http_settings = HTTP(grpc_web=True, connect=True, cors_origins=(listed,))
        config = ServerConfig(protocols=protocols, http=http_settings, tls=tls)
        async with Server(service, config=config) as server:
            # By TLS alone browsers speak HTTP/2.
            secure = await server.listen("tls://127.0.0.1:0")
            servers = [f"https://127.0.0.1:{secure.port}"]
            if "http" in protocols:
                plain = await server.listen("tcp://127.0.0.1:0")
                servers.append(f"http://127.0.0.1:{plain.port}")
            runs = [(origin, way) for origin in servers for way in WAYS]
            for run, found in zip(runs, await told(chromium, listed, runs, schema), strict=True):
                # A page may notice the end of its time before the server reports it.
                assert found.pop("wait") in {Status.DEADLINE_EXCEEDED, Status.CANCELLED}, (run, found)
                assert found == FOUND, run
            started = service.started
            assert started == 2 * len(runs)
            for run, found in zip(runs, await told(chromium, foreign, runs, schema), strict=True):
                assert list(found) == ["error"], run
            assert service.started == started


async def test_pages_without_a_token_learn_that_they_need_one(
    chromium: str, pages: tuple[Path, bytes]
) -> None:
    folder, schema = pages
    tokens = StaticTokens({"secret": Identity("ada")})
    with origin_of(folder) as listed:
        config = ServerConfig(
            protocols=("http",), http=HTTP(grpc_web=True, connect=True, cors_origins=(listed,))
        )
        async with Server(Sums(), config=config, authenticate=tokens) as server:
            address = await server.listen("tcp://127.0.0.1:0")
            runs = [(f"http://127.0.0.1:{address.port}", way) for way in WAYS]
            for found in await told(chromium, listed, runs, schema):
                assert found["error"][0] == Status.UNAUTHENTICATED
