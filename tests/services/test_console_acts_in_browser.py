"""Acts of the console's page on real servers, by keyboard alone."""

from pathlib import Path

import pytest

from tests.support.admin_pages import OPERATOR
from tests.support.console_browser import Browsed, browsing
from tests.support.console_scene import console_scene

pytest.importorskip("playwright.async_api", reason="playwright is not installed")

pytestmark = pytest.mark.one_loop


async def act(browsed: Browsed, title: str, answer: str) -> None:
    """Press a button, give the token if the tab has none, and wait for the answer."""
    keyboard = browsed.page.keyboard
    await browsed.tab_to(title)
    await keyboard.press("Enter")
    await browsed.until("dialog h2", title)
    if not await browsed.page.input_value("dialog input[type=password]"):
        await keyboard.type(OPERATOR)
    await keyboard.press("Enter")
    await browsed.until("dialog [role=status]", answer)
    await browsed.picture(f"console-{title.replace(' ', '-')}")
    await keyboard.press("Escape")
    await browsed.until_count("dialog[open]", 0)


async def test_the_server_of_a_failing_method_is_taken_out_and_put_in_by_keyboard_alone(
    chromium: str, tmp_path: Path
) -> None:
    async with console_scene(tmp_path, ("front", "orders", "stock"), "--servers", "127.0.0.0/8") as scene:
        async with browsing(chromium, scene.url) as browsed:
            keyboard = browsed.page.keyboard
            await browsed.until("#blocks", "shop.stock")
            await scene.call(5)
            await scene.call(5, "salt")
            await browsed.tab_to("shop.stock")
            await keyboard.press("Enter")
            await browsed.until("section[data-key^='Table methods']", "take")
            await browsed.tab_to("take")
            await keyboard.press("Enter")
            await browsed.until("section[data-key^='Table calls that failed']", "NOT_FOUND")
            await browsed.tab_to(scene.admins["stock"])
            await keyboard.press("Enter")
            await browsed.until(".facts", scene.admins["stock"])
            await act(browsed, "take out", "done, before: no, after: yes")
            await browsed.until("#blocks", "put in")
            await act(browsed, "put in", "done, before: yes, after: no")
            await browsed.until("#blocks", "take out")
            await browsed.check()
