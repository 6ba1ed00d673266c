"""Pages of a real browser by TLS and HTTP/2: streams of events, a form, the page at `/docs`, WebSockets.

The methods return the address of their caller: requests from one port share a connection.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Server, ServerConfig, Upload, current_call
from tests.support.browsing import browsing
from tests.support.certificates import Authority
from tests.support.docs_page import reading
from tests.support.every_way import Application
from tests.support.mounted import answering
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

#: Streams that a page has open at once: twice the connections of HTTP/1.1 that browsers open to a host.
STREAMS = 12

HTML = [(b"content-type", b"text/html; charset=utf-8")]
FORM = """<!doctype html><title>page</title><form method=post enctype=multipart/form-data action="{url}">
<input name=album value=sea><input type=file name=photo><button>send</button></form>"""

#: Opens streams and keeps their messages and errors. After an error an EventSource connects again by itself.
OPEN = """count => {
  window.failed = 0;
  window.told = Array.from({length: count}, () => []);
  window.sources = told.map((messages, number) => {
    const source = new EventSource(`/ticks/${number}`);
    source.onmessage = event => messages.push(JSON.parse(event.data));
    source.onerror = () => { failed += 1; };
    return source;
  });
}"""

#: Opens a WebSocket, sends texts and returns the same number of answers. The socket stays open.
TALK = """([path, texts]) => new Promise((resolve, reject) => {
  const answers = [], socket = window.socket = new WebSocket(`wss://${location.host}${path}`);
  socket.onopen = () => texts.forEach(text => socket.send(text));
  socket.onmessage = event => answers.push(event.data) === texts.length && resolve(answers);
  socket.onclose = event => reject(new Error(`closed with ${event.code}`));
})"""

#: The protocols by which the document and its requests came, as ALPN names them.
PROTOCOLS = """[...new Set(["navigation", "resource"]
  .flatMap(kind => performance.getEntriesByType(kind)).map(entry => entry.nextHopProtocol))]"""

CALL = "async () => (await fetch('/pages/caller')).json()"


@fastrpc.service("pages")
class Pages:
    def __init__(self) -> None:
        self.open_streams = 0
        self.may_go_on = asyncio.Event()
        self.sizes: list[int] = []

    @fastrpc.method(safe=True)
    async def caller(self) -> str:
        return str(current_call().peer.address)

    @fastrpc.method(safe=True, http="GET /ticks/{number}")
    async def ticks(self, number: int) -> AsyncIterator[tuple[int, str]]:
        self.open_streams += 1
        try:
            for text in (str(current_call().peer.address), "further"):
                yield number, text
                await self.may_go_on.wait()
            await asyncio.Event().wait()
        finally:
            self.open_streams -= 1

    @fastrpc.method(http="POST /photos")
    async def put(self, photo: Upload, album: str) -> str:
        self.sizes.append(sum([len(piece) async for piece in photo]))
        return f"{album}, {photo.filename}, {self.sizes[-1]} bytes from {current_call().peer.address}"

    @fastrpc.method
    async def sums(self, numbers: AsyncIterator[int]) -> AsyncIterator[tuple[int, str]]:
        total = 0
        async for number in numbers:
            total += number
            yield total, str(current_call().peer.address)


class Served:
    """A server with a page, and what it serves."""

    def __init__(self, pages: Pages, application: Application, port: int) -> None:
        self.pages = pages
        self.application = application
        self.origin = f"https://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def served(folder: Path, form_url: str = "/photos") -> AsyncIterator[Served]:
    """Serve by TLS, with a form at `/page`."""
    pages, application = Pages(), Application()
    page = answering(FORM.format(url=form_url).encode(), headers=HTML)
    http = HTTP(websocket=True, docs=True, mounts={"/page": page, "/app": application})
    tls = Authority(folder).certificate().tls()
    async with Server(pages, config=ServerConfig(protocols=("http",), http=http, tls=tls)) as server:
        address = await server.listen("tls://127.0.0.1:0")
        assert address.port is not None
        yield Served(pages, application, address.port)


@contextlib.asynccontextmanager
async def page_of(chromium: str, serving: Served) -> AsyncIterator[Any]:
    async with browsing(chromium, f"{serving.origin}/page", ignore_https_errors=True) as page:
        yield page
        assert await page.evaluate(PROTOCOLS) == ["h2"]


async def send_form(page: Any, file: Path) -> tuple[int, str]:
    """Send the form of a page; return status and body of the answer."""
    await page.set_input_files("input[type=file]", str(file))
    async with page.expect_navigation() as navigation:
        await page.click("button")
    answer = await navigation.value
    return answer.status, await answer.text()


async def test_twelve_streams_of_events_and_a_call_share_a_connection(chromium: str, tmp_path: Path) -> None:
    async with served(tmp_path) as serving, page_of(chromium, serving) as page:
        await page.evaluate(OPEN, STREAMS)
        await page.wait_for_function("told.every(messages => messages.length === 1)")
        assert serving.pages.open_streams == STREAMS
        caller = await page.evaluate(CALL)
        serving.pages.may_go_on.set()
        await page.wait_for_function("told.every(messages => messages.length === 2)")
        expected = [[[number, caller], [number, "further"]] for number in range(STREAMS)]
        assert await page.evaluate("told") == expected
        await page.evaluate("sources[0].close()")
        await eventually(lambda: serving.pages.open_streams == STREAMS - 1)
        await page.evaluate("sources.forEach(source => source.close())")
        await eventually(lambda: serving.pages.open_streams == 0)
        # The connection outlives its streams.
        assert await page.evaluate(CALL) == caller
        assert await page.evaluate("failed") == 0


async def test_a_form_is_read_from_the_connection_of_its_page(chromium: str, tmp_path: Path) -> None:
    file = tmp_path / "tea.txt"
    file.write_bytes(b"abc\r\n" * 100_000)
    async with served(tmp_path) as serving, page_of(chromium, serving) as page:
        caller = await page.evaluate(CALL)
        status, text = await send_form(page, file)
        assert (status, json.loads(text)) == (200, f"sea, tea.txt, 500000 bytes from {caller}")


async def test_a_page_of_a_foreign_origin_sends_no_form(chromium: str, tmp_path: Path) -> None:
    file = tmp_path / "tea.txt"
    file.write_bytes(b"abc")
    (tmp_path / "foreign").mkdir()
    async with served(tmp_path) as serving:
        async with served(tmp_path / "foreign", f"{serving.origin}/photos") as foreign:
            async with page_of(chromium, foreign) as page:
                status, text = await send_form(page, file)
    assert (status, "origin" in text, serving.pages.sizes) == (403, True, [])


async def test_the_docs_page_calls_and_follows_a_stream(chromium: str, tmp_path: Path) -> None:
    async with served(tmp_path) as serving:
        async with reading(chromium, serving.origin, listed="caller", ignore_https_errors=True) as read:
            await read.open("pages.caller")
            await read.run()
            await read.until("#state", "OK in")
            caller = json.loads(await read.page.inner_text("#output"))
            await read.open("pages.ticks")
            await read.run(number=3)
            await read.until("#output", caller)
            assert "further" not in await read.page.inner_text("#output")
            serving.pages.may_go_on.set()
            await read.until("#output", "further")
            assert await read.page.evaluate(PROTOCOLS) == ["h2"]
            assert read.complaints == []


async def test_a_websocket_is_a_stream_of_the_connection(chromium: str, tmp_path: Path) -> None:
    async with served(tmp_path) as serving, page_of(chromium, serving) as page:
        caller = await page.evaluate(CALL)
        texts = [json.dumps(message) for message in ({"value": 2}, {"value": 3})]
        answers = await page.evaluate(TALK, ["/ws/pages/sums", texts])
        assert [json.loads(answer)["value"] for answer in answers] == [[2, caller], [5, caller]]


async def test_a_mounted_application_gets_a_websocket_by_http2(chromium: str, tmp_path: Path) -> None:
    async with served(tmp_path) as serving, page_of(chromium, serving) as page:
        assert await page.evaluate(TALK, ["/app/echo", ["a", "é"]]) == ["a", "é"]
        (scope,) = serving.application.scopes
        assert (scope["type"], scope["http_version"], scope["scheme"]) == ("websocket", "2", "wss")
        await page.evaluate("socket.close()")
        await eventually(lambda: serving.application.ended == ["socket"])
