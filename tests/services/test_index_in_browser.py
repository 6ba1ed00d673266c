"""The admin pages in a real browser: their figures match the calls made, and they ask this server alone.

With FASTRPC_SCREENSHOTS, a folder, pictures of the pages are left there.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, Status
from tests.support.admin_pages import server_with_pages
from tests.support.worker_pages import worker_pages

playwright_api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

pytestmark = pytest.mark.one_loop

TABLES = ("/calls", "/connections", "/services", "/config", "/store")

#: The page itself is notified of actions that its policy forbids.
VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", event =>
  window.violations.push(event.violatedDirective + " " + event.blockedURI));
"""

ROWS = """
() => [...document.querySelectorAll("#methods tr")].map(row => [...row.children].map(cell => cell.innerText))
"""


@fastrpc.service("shop.orders")
class Orders:
    def __init__(self) -> None:
        self.go = asyncio.Event()

    @fastrpc.method
    async def find(self, number: int) -> int:
        if number < 0:
            raise CallError(Status.NOT_FOUND, "no such number")
        return number

    @fastrpc.method
    async def wait(self) -> None:
        await self.go.wait()


@fastrpc.service("shop.guarded")
class Guarded:
    @fastrpc.method
    async def find(self, number: int) -> int:
        return number


class Browsed:
    """A page of the browser, with all that it asked for and complained about."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    async def rows(self) -> dict[str, list[str]]:
        """Return the cells after the name of each method."""
        return {name: cells for name, *cells in await self.page.evaluate(ROWS)}

    async def until(self, method: str, ended: int) -> list[str]:
        """Return the cells of a method once the page shows that the given number of calls ended."""
        async with asyncio.timeout(20):
            while True:
                cells = (await self.rows()).get(method)
                if cells is not None and cells[2] == str(ended):
                    return cells
                await asyncio.sleep(0.1)

    async def until_text(self, element: str, text: str) -> None:
        """Wait until an element has a text; the page's policy forbids playwright's own way, which evaluates one."""
        async with asyncio.timeout(20):
            while text not in await self.page.inner_text(f"#{element}"):
                await asyncio.sleep(0.1)

    async def picture(self, name: str) -> None:
        folder = os.environ.get("FASTRPC_SCREENSHOTS")
        if folder:
            await self.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)

    async def check(self, origin: str) -> None:
        """Check that the page asked this server only, broke no rule of its policy and reported no mistake."""
        assert [url for url in self.asked if not url.startswith((f"{origin}/", "data:"))] == []
        assert await self.page.evaluate("window.violations") == []
        assert self.complaints == []


@asynccontextmanager
async def browsing(chromium: str, **options: Any) -> AsyncIterator[Browsed]:
    """Open a browser with one page."""
    async with playwright_api.async_playwright() as playwright:
        # The sandbox needs rights that containers and root lack; the pages are our own.
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        context = await browser.new_context(viewport={"width": 1200, "height": 700}, **options)
        await context.add_init_script(VIOLATIONS)
        yield Browsed(await context.new_page())
        await browser.close()


async def check_rows(browsed: Browsed) -> None:
    """The rows are for the first calls."""
    protocol, rate, ended, in_flight, *percentiles, errors = await browsed.until("shop.orders.find", 10)
    assert (protocol, rate, ended, in_flight) == ("native", "–", "10", "0")
    assert errors == "NOT_FOUND 3"
    assert all(text.endswith(("µs", "ms", " s")) for text in percentiles)
    rows = await browsed.rows()
    assert rows["shop.orders.wait"][2:4] == ["0", "1"]
    # Unknown methods of all tests so far: the counters belong to the process.
    assert int(rows["unknown methods"][2]) >= 1


async def test_the_index_shows_the_calls_that_were_made(chromium: str) -> None:
    service = Orders()
    async with (
        server_with_pages(service) as server,
        Client(str(server._listening.listeners[0].address)) as client,
        browsing(chromium) as browsed,
    ):
        assert server.admin.address is not None
        origin = f"http://127.0.0.1:{server.admin.address.port}"
        for number in [1] * 7 + [-1] * 3:
            with contextlib.suppress(CallError):
                await client.call(Orders.find, number)
        with contextlib.suppress(CallError):
            await client.call("shop.orders.unknown")
        waiting = asyncio.ensure_future(client.with_options(timeout=60).call(Orders.wait))
        await browsed.page.goto(origin)
        await check_rows(browsed)
        for _ in range(20):
            await client.call(Orders.find, 1)
        cells = await browsed.until("shop.orders.find", 30)
        # Two seconds between two looks, more where the machine is busy.
        assert 0 < float(cells[1]) <= 10
        await browsed.picture("index")
        facts = await browsed.page.inner_text("#facts")
        assert f"{os.getpid()}" in facts
        assert "ready" in facts
        assert "1 running, 0 waiting" in facts
        await browsed.check(origin)
        for path in TABLES:
            await browsed.page.goto(origin + path)
            await browsed.picture(path[1:])
            await browsed.check(origin)
        service.go.set()
        await waiting


async def test_the_index_of_several_workers_shows_their_sum(chromium: str, tmp_path: Path) -> None:
    with worker_pages(tmp_path, workers=2) as serving:
        for _ in range(4):
            async with Client(serving.address) as client:
                for _ in range(5):
                    await client.call("work.where")
        async with browsing(chromium) as browsed:
            origin = f"http://127.0.0.1:{serving.port}"
            await browsed.page.goto(origin)
            await browsed.until("work.where", 20)
            assert "with 2 workers" in await browsed.page.inner_text("#facts")
            await browsed.picture("workers")
            await browsed.check(origin)
            for path in TABLES:
                await browsed.page.goto(origin + path)
                await browsed.picture(f"workers-{path[1:]}")
                await browsed.check(origin)


async def test_the_browser_asks_its_user_for_the_token(chromium: str) -> None:
    password = {"username": "anyone", "password": "s3cret"}
    async with (
        server_with_pages(Guarded(), admin_token="s3cret") as server,
        Client(str(server._listening.listeners[0].address)) as client,
        browsing(chromium, http_credentials=password) as browsed,
    ):
        assert server.admin.address is not None
        origin = f"http://127.0.0.1:{server.admin.address.port}"
        await client.call(Guarded.find, 1)
        await browsed.page.goto(origin)
        # The script asks as the user did.
        async with asyncio.timeout(20):
            while "shop.guarded.find" not in await browsed.rows():
                await asyncio.sleep(0.1)
        assert await browsed.page.evaluate("window.violations") == []


async def test_the_index_shows_that_it_is_out_of_date(chromium: str) -> None:
    async with browsing(chromium) as browsed:
        async with server_with_pages(Guarded()) as server:
            assert server.admin.address is not None
            await browsed.page.goto(f"http://127.0.0.1:{server.admin.address.port}")
            await browsed.until_text("facts", "ready")
        await browsed.until_text("problem", "not up to date")
        await browsed.picture("away")
