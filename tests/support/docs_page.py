"""The page at `/docs` as a person uses it, in a real browser.

With FASTRPC_SCREENSHOTS, a folder, pictures of the page are left there.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SCALE

__all__ = ["Reading", "reading"]

#: The page itself is notified of violations of its policy.
VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", event =>
  window.violations.push(event.violatedDirective + " " + event.blockedURI));
"""


class Reading:
    """The page as somebody uses it."""

    def __init__(self, page: Any, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    async def open(self, method: str) -> None:
        """Show a method, with a new form."""
        await self.page.click("#title")
        await self.page.click(f'button[data-method="{method}"]')
        await self.until("h2", method)

    async def run(self, **arguments: Any) -> None:
        """Call with arguments, typed as JSON."""
        await self.page.fill("#arguments", json.dumps(arguments))
        await self.call()

    async def call(self) -> None:
        """Press the button, and confirm the question of the page."""
        await self.page.click("#call")
        # It is open as soon as the button was pressed.
        if await self.page.locator("dialog").count():
            await self.page.click('dialog button[value="yes"]')

    async def copy(self, form: str) -> str:
        """Return the call as the page copies it."""
        await self.page.click(f'main button:text-is("{form}")')
        return str(await self.page.inner_text("#copied"))

    def field(self, path: str) -> Any:
        """Return the field of a path; the innermost, where a choice has the same."""
        return self._fields(path).last

    def _fields(self, path: str) -> Any:
        escaped = path.replace("\\", "\\\\")
        return self.page.locator(f".pair .fields [data-path='{escaped}']")

    async def give(self, path: str, value: Any, chosen: Mapping[str, str]) -> None:
        """Put a value into the fields.

        Args:
            value: in plain values, as JSON has it.
            chosen: the types by the paths of fields that have a choice.
        """
        choice = self._fields(path).locator("> select")
        if await choice.count():
            kinds = await choice.locator("option").all_inner_texts()
            usual = "null" if value is None else next(kind for kind in kinds if kind != "null")
            await choice.select_option(chosen.get(path, usual))
        field = self.field(path)
        kind = await field.evaluate("one => one.tagName + ' ' + (one.type ?? '')")
        if await field.get_attribute("title") == "JSON":
            await field.fill(json.dumps(value))
        elif isinstance(value, dict):
            await self._give_members(path, value, chosen)
        elif isinstance(value, list):
            for number, one in enumerate(value):
                if not await self._fields(f"{path}[{number}]").count():
                    await field.locator("> button").click()
                await self.give(f"{path}[{number}]", one, chosen)
        elif kind == "INPUT checkbox":
            await field.set_checked(value)
        elif kind.startswith("SELECT"):
            await field.select_option(index=await self._place_of(field, value))
        elif kind.startswith("FIELDSET"):
            await field.locator("textarea").first.fill(value)
        elif not kind.startswith("OUTPUT"):
            await field.fill(value if isinstance(value, str) else json.dumps(value))

    async def _give_members(self, path: str, value: dict[str, Any], chosen: Mapping[str, str]) -> None:
        more = self.field(path).locator("> button:text-is('Add')")
        is_map = await more.count() == 1
        for name, one in value.items():
            if is_map:
                await more.click()
                await self.field(path).locator("> .item > .entry > [aria-label='key']").last.fill(name)
            inner = f'{path}["{name}"]' if is_map else f"{path}.{name}".removeprefix(".")
            if not await self._fields(inner).count():
                await self.field(path).locator(f"> .field > label > [aria-label='give {name}']").check()
            await self.give(inner, one, chosen)

    @staticmethod
    async def _place_of(field: Any, value: Any) -> int:
        texts = await field.locator("option").all_inner_texts()
        wanted = {json.dumps(value), str(value)}
        return next(at for at, text in enumerate(texts) if text.split(" = ")[0] in wanted)

    async def until(self, element: str, text: str) -> str:
        """Return the text of an element once `text` is in it; the policy forbids playwright's own way."""
        ends = time.monotonic() + 20 * SCALE
        while text not in (found := str(await self.page.inner_text(element))):
            assert time.monotonic() < ends, f"{element} has {found!r}, and {text!r} was awaited"
            await asyncio.sleep(0.05)
        return found

    async def picture(self, name: str) -> None:
        folder = os.environ.get("FASTRPC_SCREENSHOTS")
        if folder:
            await self.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


@asynccontextmanager
async def reading(
    chromium: str, origin: str, *, listed: str = "mul", **context: Any
) -> AsyncIterator[Reading]:
    """Open the page in a browser, in which no other host can be reached; the test skips without playwright.

    Args:
        origin: the URL of the server.
        listed: a text in the list of methods, with which the page is ready.
        context: options of playwright for the page; it is 1,200 pixels wide unless they tell otherwise.
    """
    playwright_api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    async with playwright_api.async_playwright() as playwright:
        # The sandbox needs rights that containers and root lack; the page is our own.
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = await browser.new_page(**{"viewport": {"width": 1200, "height": 800}, **context})
        await page.add_init_script(VIOLATIONS)
        found = Reading(page, origin)
        await page.goto(f"{origin}/docs")
        await found.until("#list", listed)
        yield found
        # Pictures of the page are asked for by URLs that hold them.
        assert [url for url in found.asked if not url.startswith((f"{origin}/", "data:"))] == []
        assert await page.evaluate("window.violations") == []
        await browser.close()
