"""The scripts of the guide as printed, in a real browser, against the servers of their pages.

The script of the recipes belongs to a page at another origin: the names in it lead to this machine, and both servers
show certificates of an authority of the test.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Server, ServerConfig
from tests.support.browsing import browsing
from tests.support.certificates import Authority, Certificate
from tests.support.mounted import answering
from tests.support.pages import blocks_of, file_name
from tests.support.program import command_line
from tests.support.source_tree import ROOT

pytestmark = pytest.mark.one_loop

HTML = [(b"content-type", b"text/html; charset=utf-8")]

#: The host of the server in the recipes, the one whose origin that lists, and another.
SERVED, LISTED, OTHER = "api.example", "app.example", "other.example"

#: A script that awaits, inside of a function.
AROUND = """async token => {
  try {
    SCRIPT
    return await answer.json();
  } catch (error) {
    return String(error);
  }
}"""


def script_of(page: str, folder: Path) -> str:
    """Write the programs of a page of the guide into a folder, and return its script."""
    blocks = blocks_of((ROOT / "docs" / "guide" / page).read_text(encoding="utf-8"))
    for block in blocks:
        if name := file_name(block):
            (folder / name).write_text(block.text, encoding="utf-8")
    (script,) = [block.text for block in blocks if block.language == "js"]
    return script


def test_these_pages_have_the_scripts_of_the_guide() -> None:
    pages = (ROOT / "docs" / "guide").glob("*.md")
    having = {page.name for page in pages if "\n```js\n" in page.read_text(encoding="utf-8")}
    assert having == {"recipes.md", "openapi-and-tools.md"}


@fastrpc.service("nothing")
class Nothing:
    @fastrpc.method
    async def here(self) -> None: ...


@contextlib.asynccontextmanager
async def page_served(certificate: Certificate) -> AsyncIterator[int]:
    """Serve an empty page over TLS; yield the port."""
    http = HTTP(mounts={"/": answering(b"<!doctype html><title>app</title>", headers=HTML)})
    config = ServerConfig(protocols=("http",), http=http, tls=certificate.tls())
    async with Server(Nothing(), config=config) as server:
        yield (await server.listen("tls://127.0.0.1:0")).port


@contextlib.asynccontextmanager
async def application(chromium: str, folder: Path, host: str) -> AsyncIterator[Any]:
    """Start the server of the recipes, and open a page of another host in a browser."""
    authority = Authority(folder)
    own = authority.certificate(f"DNS:{SERVED}")
    command = ["run", "pages:app", "--address", "tls://127.0.0.1:0"]
    command += ["--tls-cert", str(own.cert_file), "--tls-key", str(own.key_file)]
    with command_line(command, folder) as program:
        port = program.wait_output(r"serving at tls://127\.0\.0\.1:(\d+)")[1]
        async with page_served(authority.certificate(f"DNS:{host}")) as page_port:
            rules = f"MAP {SERVED} 127.0.0.1:{port}, MAP {host} 127.0.0.1:{page_port}"
            option = f"--host-resolver-rules={rules}"
            async with browsing(chromium, f"https://{host}/", option, ignore_https_errors=True) as page:
                yield page


async def test_an_application_calls_with_its_token_and_throws_the_servers_error(
    chromium: str, tmp_path: Path
) -> None:
    within = AROUND.replace("SCRIPT", script_of("recipes.md", tmp_path))
    async with application(chromium, tmp_path, LISTED) as page:
        assert await page.evaluate(within, "token-of-ada") == ["a letter of ada"]
        refused = "Error: todo.mine: the caller is not authenticated"
        assert await page.evaluate(within, "another") == refused


async def test_an_application_of_another_origin_reads_no_answer(chromium: str, tmp_path: Path) -> None:
    within = AROUND.replace("SCRIPT", script_of("recipes.md", tmp_path))
    async with application(chromium, tmp_path, OTHER) as page:
        assert await page.evaluate(within, "token-of-ada") == "TypeError: Failed to fetch"


async def test_a_page_of_the_same_server_calls_by_its_module(chromium: str, tmp_path: Path) -> None:
    script = script_of("openapi-and-tools.md", tmp_path)
    command = ["run", "library:Library", "--address", "tcp://127.0.0.1:0"]
    with command_line(command, tmp_path, {"FASTRPC_PROTOCOLS": "native,http"}) as program:
        port = program.wait_output(r"serving at tcp://127\.0\.0\.1:(\d+)")[1]
        # A document of the server that has no scripts of its own; its policy forbids any.
        url = f"http://127.0.0.1:{port}/openapi.json"
        async with browsing(chromium, url, bypass_csp=True) as page:
            await page.evaluate("globalThis.token = 'of nobody'")
            await page.add_script_tag(type="module", content=f"{script}\nglobalThis.shelf = shelf;")
            await page.wait_for_function("globalThis.shelf !== undefined")
            assert await page.evaluate("globalThis.shelf") == "1-D"
