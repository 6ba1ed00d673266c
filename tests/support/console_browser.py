"""The console's page in a real browser, with all that it asked for and complained about.

With FASTRPC_SCREENSHOTS, a folder, pictures of the pages are left there.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

__all__ = ["Browsed", "browsing", "check_views", "show"]

#: The page itself is notified of actions that its policy forbids.
WATCH = """
window.violations = [];
window.acted = [];
document.addEventListener("securitypolicyviolation", event =>
  window.violations.push(event.violatedDirective + " " + event.blockedURI));
for (const name of ["alert", "confirm", "prompt"]) window[name] = () => window.acted.push(name);
"""

#: Elements and effects of a text that became more than a text.
STRANGE = """() => [
  ...document.querySelectorAll(
    "script:not([src]), img, iframe, object, embed, base, meta[http-equiv], [onerror], [onload], [onclick]"),
  ...[...document.querySelectorAll("a[href]")].filter(one => !/^([?]|docs#)/.test(one.getAttribute("href"))),
].map(one => one.outerHTML)"""

#: The words of the focused element.
FOCUSED = """() => {
  const one = document.activeElement;
  return one.getAttribute("aria-label") || one.textContent || one.id;
}"""


class Browsed:
    """A page of the browser."""

    def __init__(self, page: Any, origin: str) -> None:
        self.page, self.origin = page, origin
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    async def until(self, element: str, text: str) -> str:
        """Return the text of an element once `text` is in it; the policy forbids playwright's own way."""
        async with asyncio.timeout(30):
            while True:
                found = self.page.locator(element)
                words = await found.first.inner_text() if await found.count() else ""
                if text in words:
                    return str(words)
                await asyncio.sleep(0.05)

    async def until_count(self, element: str, count: int, seconds: float = 30.0) -> None:
        """Wait until the page has this number of elements."""
        async with asyncio.timeout(seconds):
            while await self.page.locator(element).count() != count:
                await asyncio.sleep(0.05)

    async def texts(self, element: str) -> list[str]:
        return [str(text) for text in await self.page.locator(element).all_inner_texts()]

    async def tab_to(self, words: str) -> None:
        """Press Tab until an element with these words has the focus."""
        for _ in range(200):
            await self.page.keyboard.press("Tab")
            if str(await self.page.evaluate(FOCUSED)).strip() == words:
                return
        raise AssertionError(f"no Tab leads to {words!r}")

    async def picture(self, name: str) -> None:
        folder = os.environ.get("FASTRPC_SCREENSHOTS")
        if folder:
            await self.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)

    async def check(self) -> None:
        """Check that the page asked only its own server, kept its policy, reported no mistake, made no foreign tag."""
        # A file that is saved has an address in the page itself.
        foreign = [url for url in self.asked if not url.startswith((f"{self.origin}/", "blob:"))]
        assert foreign == []
        assert await self.page.evaluate("window.violations") == []
        assert await self.page.evaluate("window.acted") == []
        assert self.complaints == []
        assert await self.page.evaluate(STRANGE) == []

    async def check_access(self) -> None:
        """The page has no serious fault for people who read it otherwise (axe)."""
        axe = pytest.importorskip("axe_playwright_python.async_playwright", reason="axe is not installed")
        found = await axe.Axe().run(self.page)
        serious = [one for one in found.response["violations"] if one["impact"] in ("serious", "critical")]
        assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in serious] == []

    async def check_width(self) -> None:
        """Nothing but tables and drawings is wider than the page, and these scroll by themselves."""
        widths = await self.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert widths[0] <= widths[1]


@asynccontextmanager
async def browsing(chromium: str, url: str, **options: Any) -> AsyncIterator[Browsed]:
    """Open a page of the console."""
    api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    async with api.async_playwright() as playwright:
        # The sandbox needs rights that containers and root lack; the page is our own.
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        options = {"viewport": {"width": 1440, "height": 900}, **options}
        context = await browser.new_context(**options)
        await context.add_init_script(WATCH)
        browsed = Browsed(await context.new_page(), url.partition("/#")[0])
        await browsed.page.goto(url)
        yield browsed
        await browser.close()


async def show(browsed: Browsed, view: str, **arguments: str) -> None:
    """Open a view, and wait until its blocks are shown."""
    await browsed.page.goto(f"{browsed.origin}/?{urlencode({'view': view, **arguments})}")
    await browsed.until("#age", "as of")


async def check_views(
    browsed: Browsed, views: dict[str, dict[str, str]], name: str, *, has_axe: bool
) -> None:
    """Open each view, and look for faults; text after a blank in its name distinguishes views of one name."""
    for title, arguments in views.items():
        await show(browsed, title.partition(" ")[0], **arguments)
        await browsed.check_width()
        await browsed.check()
        await browsed.picture(f"console-{title.replace(' ', '-')}-{name}")
        if has_axe:
            await browsed.check_access()
