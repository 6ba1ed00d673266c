"""The console's page in a real browser where answers fail, hang or are refused; views are data of the tests."""

import asyncio
from typing import Any

import pytest

from fastrpc.console.blocks import Column, Table, Text, ViewLink
from tests.support.console_browser import browsing
from tests.support.console_stand_in import OWNER, stand_in

pytest.importorskip("playwright.async_api", reason="playwright is not installed")

pytestmark = pytest.mark.one_loop

#: The words of a token that no header can hold.
BEYOND = "token→"


async def test_a_token_that_no_header_can_hold_is_asked_for_again(chromium: str) -> None:
    async with stand_in() as scene:
        for url in (f"{scene.origin}/", f"{scene.origin}/#token=token%E2%86%92"):
            async with browsing(chromium, url) as browsed:
                page, keyboard = browsed.page, browsed.page.keyboard
                await browsed.until("#access", "Token")
                await page.fill("#token", BEYOND)
                await keyboard.press("Enter")
                await browsed.until("#problem", "visible ASCII characters")
                assert await page.evaluate("sessionStorage.length") == 0
                # A tab may have kept one.
                await page.evaluate(f"sessionStorage.setItem('fastrpc.console.token', '{BEYOND}')")
                await page.reload()
                await browsed.until("#access", "Token")
                await page.fill("#token", f" {OWNER} ")
                await keyboard.press("Enter")
                await browsed.until("#age", "as of")
                await browsed.until_count("#access:visible", 0)


async def test_the_form_stays_until_there_is_a_view(chromium: str) -> None:
    async with stand_in() as scene:
        async with browsing(chromium, f"{scene.origin}/") as browsed:
            page = browsed.page
            await browsed.until("#access", "Token")
            await page.route("**/openapi.json", lambda route: route.abort())
            await page.fill("#token", OWNER)
            await page.keyboard.press("Enter")
            await browsed.until("#problem", "fetch")
            assert await page.is_visible("#access")
            # The page keeps asking.
            await page.unroute("**/openapi.json")
            await browsed.until("#age", "as of")
            await browsed.until_count("#access:visible", 0)


async def test_a_view_that_came_is_shown_where_the_next_request_fails(chromium: str) -> None:
    given = {"service": "shop", "method": "take"}
    table = Table("methods", [Column("method", "method")], [["take"]], 1, links=[ViewLink("method", given)])
    async with stand_in() as scene:
        scene.blocks |= {"services": [table], "method": [Text("the method")]}
        async with browsing(chromium, scene.url) as browsed:
            await browsed.until("tbody", "take")
            await browsed.page.route("**/openapi.json", lambda route: route.abort())
            await browsed.page.click("tbody a")
            await browsed.until("#problem", "fetch")
            assert "the method" in await browsed.page.inner_text("#blocks")
            await browsed.page.unroute("**/openapi.json")
            await browsed.until_count("#problem:visible", 0)
            assert "the method" in await browsed.page.inner_text("#blocks")


async def test_a_request_that_hangs_is_reported(chromium: str) -> None:
    async with stand_in() as scene:
        scene.blocks["services"] = [Text("the last one")]
        async with browsing(chromium, scene.url) as browsed:
            await browsed.until("#blocks", "the last one")
            held: asyncio.Queue[Any] = asyncio.Queue()
            await browsed.page.route("**/view", held.put)
            await browsed.page.evaluate(
                """() => {
                  const real = AbortSignal.timeout;
                  AbortSignal.timeout = (time) => real.call(AbortSignal, time / 100);
                }"""
            )
            await held.get()
            told = await browsed.until("#problem", "not up to date")
            assert told.endswith("there was no answer in time")
            # The page asks again.
            await held.get()


async def test_a_problem_that_stays_is_read_aloud_once(chromium: str) -> None:
    async with stand_in() as scene:
        async with browsing(chromium, scene.url) as browsed:
            page = browsed.page
            await browsed.until("#age", "as of")
            asked: asyncio.Queue[Any] = asyncio.Queue()

            async def abort(route: Any) -> None:
                await route.abort()
                await asked.put(route)

            await page.route("**/view", abort)
            await browsed.until("#problem", "UNAVAILABLE")
            await page.evaluate(
                """() => {
                  window.told = 0;
                  new MutationObserver(() => { window.told += 1; }).observe(
                    document.getElementById("problem"), {childList: true, characterData: true, subtree: true});
                }"""
            )
            while not asked.empty():
                asked.get_nowait()
            for _ in range(2):
                await asked.get()
            assert await page.evaluate("window.told") == 0


async def test_a_search_in_a_tab_that_is_left_is_not_lost(chromium: str) -> None:
    columns = [Column("service", "service")]
    async with stand_in() as scene:
        scene.blocks["services"] = [Table("services", columns, [["shop"]], 1, order="service")]
        async with browsing(chromium, scene.url) as browsed:
            await browsed.until("tbody", "shop")
            leave = """() => {
              const field = document.querySelector("[data-search]");
              field.value = "x";
              field.dispatchEvent(new Event("input", {bubbles: true}));
              Object.defineProperty(document, "hidden", {value: true, configurable: true});
              document.dispatchEvent(new Event("visibilitychange"));
            }"""
            await asyncio.gather(scene.until_asked("services", search="x"), browsed.page.evaluate(leave))
            assert (await browsed.page.evaluate("location.href")).endswith("search=x")


async def test_the_focus_stays_in_the_navigation(chromium: str) -> None:
    async with stand_in() as scene:
        async with browsing(chromium, scene.url) as browsed:
            page = browsed.page
            await browsed.until("#age", "as of")
            await page.evaluate("history.pushState(null, '', '?view=services&page=2')")
            await page.focus("#views a >> nth=1")
            await asyncio.gather(scene.until_asked("services"), page.evaluate("history.back()"))
            assert await page.evaluate("document.activeElement.textContent") == "Servers"
