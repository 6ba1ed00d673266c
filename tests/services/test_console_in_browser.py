"""The console's page in a real browser, over real servers: every view, its rights, one path by keyboard alone.

With FASTRPC_SCREENSHOTS, a folder, pictures of the pages are left there.
"""

import asyncio
import os
import struct
from pathlib import Path

import pytest

from tests.support.console_browser import Browsed, browsing, check_views, show
from tests.support.console_scene import ConsoleScene, console_scene

pytest.importorskip("playwright.async_api", reason="playwright is not installed")

pytestmark = pytest.mark.one_loop

#: Width, colours, and whether axe looks at the page.
SCREENS = [(1440, "light", True), (390, "dark", True), (1440, "dark", False), (390, "light", False)]

#: The size of the pictures of the guide.
PICTURE = {"width": 1000, "height": 700}

ROOT = Path(__file__).parents[2]

#: The sums of the calls of a method, as its view has them.
STATUSES = "section[data-key^='Table calls by status'] tbody td"


@pytest.mark.parametrize(("width", "scheme", "has_axe"), SCREENS)
async def test_views_of_an_empty_fleet_are_shown(
    width: int, scheme: str, has_axe: bool, chromium: str, tmp_path: Path
) -> None:
    views: dict[str, dict[str, str]] = {"services": {}, "store": {}, "console": {}}
    async with console_scene(tmp_path, ()) as scene:
        options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
        async with browsing(chromium, scene.url, **options) as browsed:
            await browsed.until("#age", "as of")
            await check_views(browsed, views, f"empty-{width}-{scheme}", has_axe=has_axe)


async def test_every_view_of_three_servers_is_shown(chromium: str, tmp_path: Path) -> None:
    async with console_scene(tmp_path) as scene:
        await scene.call(20)
        await scene.call(5, "salt")
        stock = {"server": scene.admins["stock"]}
        pages = ("calls", "connections", "ended", "logs", "settings", "stacks")
        views = {
            "services": {},
            "service": {"service": "shop.orders"},
            "method": {"service": "shop.stock", "method": "take"},
            "server": stock,
            **{f"server {page}": {**stock, "show": page} for page in pages},
            "store": {},
            "store of one": stock,
            "console": {},
        }
        for width, scheme, has_axe in SCREENS:
            options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
            async with browsing(chromium, scene.url, **options) as browsed:
                await browsed.until("#blocks", "shop.stock")
                await check_views(browsed, views, f"{width}-{scheme}", has_axe=has_axe)


async def check_counted(browsed: Browsed, scene: ConsoleScene) -> None:
    """Call a method, and see the calls in its view without a reload."""
    await show(browsed, "method", service="shop.stock", method="take")
    await browsed.until("section[data-key^='Table calls by status']", "NOT_FOUND")
    assert await browsed.texts(STATUSES) == ["OK", "20", "NOT_FOUND", "5"]
    await scene.call(3)
    await browsed.until("section[data-key^='Table calls by status']", "23")
    assert await browsed.texts(STATUSES) == ["OK", "23", "NOT_FOUND", "5"]


async def test_the_cause_of_a_failing_call_is_found_by_keyboard_alone(chromium: str, tmp_path: Path) -> None:
    async with console_scene(tmp_path) as scene:
        async with browsing(chromium, scene.url) as browsed:
            keyboard = browsed.page.keyboard
            await browsed.until("#blocks", "shop.stock")
            await scene.call(20)
            await scene.call(5, "salt")
            # The fleet: the service that fails, and its method.
            await keyboard.press("/")
            await keyboard.type("stock")
            await browsed.until_count("tbody tr", 1)
            await browsed.tab_to("shop.stock")
            await keyboard.press("Enter")
            await browsed.until("#title", "shop.stock")
            await browsed.until("section[data-key^='Table methods']", "take")
            await browsed.tab_to("take")
            await keyboard.press("Enter")
            await browsed.until("#title", "shop.stock.take")
            # Its last failure, and the server of that.
            ended = await browsed.until("section[data-key^='Table calls that failed']", "NOT_FOUND")
            assert scene.admins["stock"] in ended
            await browsed.tab_to(scene.admins["stock"])
            await keyboard.press("Enter")
            await browsed.until(".facts", scene.admins["stock"])
            await browsed.tab_to("logs")
            await keyboard.press("Enter")
            await browsed.until("h2:has-text('logs')", "logs")
            await browsed.page.go_back()
            await browsed.until("#blocks", "methods since it started")
            await check_counted(browsed, scene)
            await browsed.check()


async def test_a_token_moves_to_the_tab_and_the_page_asks_again_after_a_wrong_one(
    chromium: str, tmp_path: Path
) -> None:
    async with console_scene(tmp_path, ()) as scene:
        async with browsing(chromium, scene.url) as browsed:
            await browsed.until("#age", "as of")
            kept = "[location.href, history.length, localStorage.length, document.cookie]"
            assert await browsed.page.evaluate(kept) == [f"{scene.origin}/", 2, 0, ""]
            assert not any(scene.token in url for url in browsed.asked[1:])
            await browsed.page.reload()
            await browsed.until("#age", "as of")
            await browsed.check()
        async with browsing(chromium, f"{scene.origin}/?view=console") as browsed:
            await browsed.until("#access", "token")
            await browsed.picture("console-token")
            await browsed.check_access()
            await browsed.page.fill("#token", "wrong")
            await browsed.page.keyboard.press("Enter")
            await browsed.until("#problem", "UNAUTHENTICATED")
            await browsed.page.fill("#token", scene.token)
            await browsed.page.keyboard.press("Enter")
            await browsed.until("#title", "console")
            await browsed.until_count("#access:visible", 0)
            assert browsed.page.url == f"{scene.origin}/?view=console"
            refused = [text for text in browsed.complaints if "401" not in text]
            assert refused == []


async def test_the_pictures_of_the_guide_show_the_page(chromium: str, tmp_path: Path) -> None:
    """With FASTRPC_GUIDE_PICTURES, the folder `docs/guide`, the pictures are made anew."""
    kept = os.environ.get("FASTRPC_GUIDE_PICTURES")
    folder = Path(kept or tmp_path)
    async with console_scene(tmp_path) as scene, browsing(chromium, scene.url, viewport=PICTURE) as browsed:

        async def call() -> None:
            while True:
                await scene.call(8)
                await scene.call(1, "salt")

        calling = asyncio.ensure_future(call())
        try:
            await browsed.until("#blocks", "shop.stock")
            await browsed.until("section[data-key^='Table services'] tbody tr:nth-child(3)", "shop.stock")
            await show(browsed, "method", service="shop.stock", method="take")
            # Percentiles have a value a minute; calls have one for ten seconds.
            await browsed.until_count("canvas", 2 if kept else 1, seconds=200)
            await browsed.page.screenshot(path=folder / "console-method.png")
            await show(browsed, "services")
            await browsed.until("section[data-key^='Table services'] tbody tr:nth-child(3)", "shop.stock")
            await browsed.page.screenshot(path=folder / "console-services.png")
        finally:
            calling.cancel()
            await asyncio.wait([calling])
        await browsed.check()
    page = (ROOT / "docs/guide/console.md").read_text()
    for name in ("console-services.png", "console-method.png"):
        assert f"]({name})" in page
        # PNG (ISO/IEC 15948) has its size after the first sixteen bytes.
        for picture in (folder / name, ROOT / "docs/guide" / name):
            assert struct.unpack(">II", picture.read_bytes()[16:24]) == tuple(PICTURE.values())
