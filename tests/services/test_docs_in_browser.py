"""The page at `/docs` in a real browser: it lists, calls, shows an error, runs a stream, and asks its own server alone.

With FASTRPC_SCREENSHOTS, a folder, pictures of the page are left there.
"""

import asyncio
import contextlib
from typing import Any

import pytest

import fastrpc
from fastrpc import Server, ServerConfig
from fastrpc.auth import Identity, StaticTokens
from tests.support.described import described
from tests.support.docs_page import reading
from tests.support.every_type import EveryType

pytestmark = pytest.mark.one_loop


async def test_it_lists_calls_and_shows_errors(chromium: str) -> None:
    async with described(EveryType()) as serving, reading(chromium, serving.origin) as read:
        assert "arith 2.1" in await read.page.inner_text("#list")
        assert "choices" in await read.page.inner_text("#list")
        await read.open("arith.mul")
        # A text of the server is text.
        assert "Multiply <script>two</script> numbers." in await read.page.inner_text("main")
        await read.run(a=6, b=7)
        await read.until("#state", "OK in")
        assert await read.page.inner_text("#output") == "42"
        await read.picture("docs-call")
        await read.run(a="x")
        await read.until("#state", "INVALID_ARGUMENT")
        assert "expected `int`" in await read.page.inner_text("#output")
        await read.open("arith.fail")
        await read.run(text="<b>none</b>")
        await read.until("#state", "NOT_FOUND")
        told = await read.page.inner_text("#output")
        assert told.splitlines()[0] == "<b>none</b>"
        assert 'details: {"a":1}' in told
        await read.picture("docs-error")
        await read.open("arith.large")
        await read.run()
        assert await read.until("#output", "9") == str(2**63 + 1)
        await read.open("every.type.classes")
        assert "Cat | Dog" in await read.page.inner_text("main")
        await read.picture("docs-types")


@fastrpc.service("routed")
class Routed:
    @fastrpc.method(safe=True, http="GET /things/{id}")
    async def get(self, id: int) -> int:
        return id

    @fastrpc.method(http="POST /things")
    async def create(self, id: int) -> int:
        return id + 1


async def test_a_method_with_a_route_is_listed_once_and_called(chromium: str) -> None:
    async with described(Routed()) as serving, reading(chromium, serving.origin) as read:
        assert "/things" not in await read.page.inner_text("#list")
        for method, answer in (("routed.get", "7"), ("routed.create", "8")):
            assert await read.page.locator(f'button[data-method="{method}"]').count() == 1
            await read.open(method)
            await read.run(id=7)
            await read.until("#state", "OK in")
            assert await read.page.inner_text("#output") == answer
        assert [text for text in read.complaints if "Failed to load resource" not in text] == []


async def test_it_runs_streams_and_cancels_them(chromium: str) -> None:
    async with described() as serving, reading(chromium, serving.origin) as read:
        await read.open("arith.count")
        await read.run(limit=5)
        await read.until("#state", "OK in")
        assert (await read.page.inner_text("#output")).split() == ["0", "1", "2", "3", "4"]
        await read.run(limit=101)
        await read.until("#output", "100")
        await read.picture("docs-stream")
        await read.page.click("#cancel")
        await read.until("#state", "cancelled")
        async with asyncio.timeout(20):
            await serving.service.cancelled.wait()
        await read.open("arith.total")
        await read.page.fill("#input", "1\n2\n3\n")
        await read.run(start=10)
        assert await read.until("#output", "16") == "16"
        assert [text for text in read.complaints if "Failed to load resource" not in text] == []


async def test_the_list_is_of_the_last_token(chromium: str) -> None:
    tokens = StaticTokens({"s3cret": Identity("ada")})
    async with described(authenticate=tokens) as serving, reading(chromium, serving.origin) as read:
        held = asyncio.Event()

        async def hold(route: Any) -> None:
            if "authorization" not in await route.request.all_headers():
                await held.wait()
            with contextlib.suppress(Exception):  # The page may have ended the request.
                await route.fulfill(response=await route.fetch())
            answered.set()

        answered = asyncio.Event()
        await read.page.route("**/openapi.json", hold)
        async with read.page.expect_request("**/openapi.json"):
            await read.page.locator("#token").dispatch_event("change")
        await read.page.fill("#token", "s3cret")
        await read.page.press("#token", "Tab")
        await read.page.wait_for_selector('button[data-method="arith.product"]')
        answered.clear()
        held.set()
        await answered.wait()
        await read.page.fill("#find", "product")
        assert await read.page.locator('button[data-method="arith.product"]').count() == 1
        assert [text for text in read.complaints if text.startswith("error: ")] == []


async def test_any_text_may_stand_in_the_address(chromium: str) -> None:
    async with described() as serving, reading(chromium, serving.origin) as read:
        await read.open("arith.mul")
        await read.page.evaluate("location.hash = '#100%'")
        await read.until("#shown", "Sums and <b>products</b>.")
        await read.open("arith.mul")
        assert read.complaints == []


@fastrpc.service("closed")
class Closed:
    @fastrpc.method
    async def get(self) -> int:
        return 1


async def test_a_page_without_methods_says_whether_a_token_would_show_some(chromium: str) -> None:
    def authorize(identity: Identity | None, route: Any) -> bool:
        return identity is not None and identity.name == "ada"

    tokens = StaticTokens({"s3cret": Identity("ada"), "other": Identity("bob")})
    config = ServerConfig(protocols=("http",))
    async with Server(Closed(), config=config, authenticate=tokens, authorize=authorize) as server:
        at = await server.listen("tcp://127.0.0.1:0")
        async with reading(chromium, f"http://127.0.0.1:{at.port}", listed="") as read:
            told = await read.until("#shown", "This server shows methods to callers with a token only")
            assert "type yours into the field Token at the top of this page" in told
            for token, text in (
                ("other", "The owner of this token may call no method here."),
                ("s3cret", "get"),
            ):
                await read.page.fill("#token", token)
                await read.page.press("#token", "Tab")
                await read.until("#shown", text)


async def test_a_token_is_used_and_kept_nowhere(chromium: str) -> None:
    tokens = StaticTokens({"s3cret": Identity("ada")})
    async with described(authenticate=tokens) as serving, reading(chromium, serving.origin) as read:
        assert await read.page.locator('button[data-method="arith.product"]').count() == 0
        await read.open("arith.mul")
        # Its list comes with the call, which continues.
        await read.page.fill("#token", "s3cret")
        await read.run(a=6, b=7)
        await read.page.wait_for_selector('button[data-method="arith.product"]')
        await read.until("#state", "OK in")
        await read.open("arith.product")
        await read.run(factors=[2, 3])
        await read.until("#state", "OK in")
        kept = await read.page.evaluate(
            "[localStorage.length, sessionStorage.length, document.cookie, location.href]"
        )
        assert kept == [0, 0, "", f"{serving.origin}/docs#arith.product"]
        assert not any("s3cret" in url for url in read.asked)
        await read.page.reload()
        await read.until("#list", "mul")
        assert await read.page.input_value("#token") == ""
