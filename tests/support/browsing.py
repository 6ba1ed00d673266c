"""A page of a real browser, for one test."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

__all__ = ["browsing"]


@contextlib.asynccontextmanager
async def browsing(chromium: str, url: str, *arguments: str, **context: Any) -> AsyncIterator[Any]:
    """Open an address in a separate browser; the test skips without playwright.

    Args:
        arguments: of the browser.
        context: options of playwright for a new context.
    """
    playwright_api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    async with playwright_api.async_playwright() as playwright:
        # The sandbox needs rights that containers and root lack; the pages are our own.
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage", *arguments]
        )
        page = await browser.new_page(**context)
        await page.goto(url)
        yield page
        await browser.close()
