"""The page at `/docs` in a real browser, below the prefix of a mount of FastAPI."""

import pytest

import fastrpc
from tests.support.described import Arith
from tests.support.docs_page import reading
from tests.support.hosted import HOSTS, hosted


@pytest.mark.parametrize("host", HOSTS)
async def test_the_page_lists_calls_and_streams_below_a_prefix(chromium: str, host: str) -> None:
    async with hosted(fastrpc.asgi(Arith()), host, is_mounted=True, prefix="/rpc") as address:
        # All that the page asks for has to be below this.
        async with reading(chromium, f"http://127.0.0.1:{address.port}/rpc") as read:
            await read.open("arith.mul")
            await read.run(a=6, b=7)
            await read.until("#state", "OK in")
            assert await read.page.inner_text("#output") == "42"
            await read.open("arith.count")
            await read.run(limit=3)
            await read.until("#output", "2")
            assert await read.page.evaluate("window.violations") == []
