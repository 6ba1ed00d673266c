"""The page of a console in a browser over a thousand simulated servers: its views, and the time of the first one."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench.compare.processes import choose_cores, running_server
from bench.promises.console import SIMULATED_FLEET
from bench.promises.simulated_fleet import SERVICES, service_name
from tests.support.console_browser import Browsed, browsing, check_views, show
from tests.support.console_scene import console_at

pytest.importorskip("playwright.async_api", reason="playwright is not installed")

pytestmark = pytest.mark.one_loop

#: Width and colours; axe looks at the first screen.
SCREENS = [(1440, "light"), (390, "dark")]

#: Seconds until a person sees the fleet.
FIRST_PAGE_SECONDS = 1.0

SERVERS_OF_METHOD = "section[data-key^='Table by server'] tbody tr"


@asynccontextmanager
async def large_fleet(folder: Path) -> AsyncIterator[str]:
    """Run a thousand servers and a console over them; yield its address with its token."""
    with running_server(SIMULATED_FLEET, choose_cores().client) as fleet:
        async with console_at(folder, "--registry", fleet.address, "--servers", "127.0.0.0/8") as url:
            yield url


async def server_of(browsed: Browsed, service: str) -> str:
    """Return a server of a service, once it has reported its calls."""
    async with asyncio.timeout(60):
        while not (found := await browsed.texts(f"{SERVERS_OF_METHOD}:first-child td:first-child")):
            await show(browsed, "method", service=service, method="method_00")
    return found[0]


async def test_every_view_of_a_thousand_servers_is_shown(chromium: str, tmp_path: Path) -> None:
    async with large_fleet(tmp_path) as url:
        service, server = service_name(7), ""
        for width, scheme in SCREENS:
            options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
            async with browsing(chromium, url, **options) as browsed:
                await browsed.until_count("section[data-key^='Table services'] tbody tr", SERVICES)
                server = server or await server_of(browsed, service)
                views = {
                    "services": {"sort": "-rate"},
                    "service": {"service": service},
                    "method": {"service": service, "method": "method_00"},
                    "server": {"server": server},
                    "store": {},
                    "console": {},
                }
                await check_views(browsed, views, f"large-{width}-{scheme}", has_axe=scheme == "light")


@pytest.mark.measures
async def test_the_first_page_of_a_thousand_servers_is_shown_within_a_second(
    chromium: str, tmp_path: Path
) -> None:
    async with large_fleet(tmp_path) as url, browsing(chromium, url) as browsed:
        rows = "section[data-key^='Table services'] tbody tr"
        await browsed.until_count(rows, SERVICES)
        await server_of(browsed, service_name(7))
        seconds = []
        for _ in range(9):
            began = time.monotonic()
            await browsed.page.goto(f"{browsed.origin}/?view=services")
            await browsed.page.wait_for_selector(f"{rows} >> nth={SERVICES - 1}")
            seconds.append(time.monotonic() - began)
        print(f"first page: {sorted(seconds)}")
        assert statistics.median(seconds) <= FIRST_PAGE_SECONDS, seconds
