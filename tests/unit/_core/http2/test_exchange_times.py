"""The instants of the exchanges of one connection of HTTP/2."""

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fastrpc import Identity, Limits
from fastrpc.auth import StaticTokens
from fastrpc_harness.checking import check
from fastrpc_harness.driven_pages import DrivenRequest
from tests.support.driven_pages import DrivenLink, served_pages
from tests.unit._core.http2.test_tunnels import opened

SECOND_NS = 1_000_000_000


@asynccontextmanager
async def streaming(count: int) -> AsyncIterator[tuple[DrivenLink, list[DrivenRequest]]]:
    """Serve a connection with open responses."""
    async with served_pages(limits=Limits(concurrent_calls=count, streams=count)) as link:
        for _ in range(count):
            link.ask("GET", "/events")
        await link.talk()
        for page in link.pages.requests:
            page.begin(200)
        await link.talk()
        link.look(0)
        yield link, link.pages.requests


def looked_at(link: DrivenLink, instant_ns: int) -> list[int]:
    """Check the connection at an instant; return the numbers of the requests that were checked."""
    before = [page.looks for page in link.pages.requests]
    check(link.engine, instant_ns)
    return [number for number, page in enumerate(link.pages.requests) if page.looks != before[number]]


async def test_a_check_of_5_000_streams_of_events_looks_at_the_due_ones_alone() -> None:
    async with streaming(5_000) as (link, pages):
        start = time.monotonic_ns() + 15 * SECOND_NS
        for number, page in enumerate(pages):
            page.wait(start + number * 1_000)
        assert looked_at(link, start - 1) == []
        assert looked_at(link, start) == [0]
        assert looked_at(link, start + 4_500) == [1, 2, 3, 4]
        assert looked_at(link, start + 4_999) == []
        assert sum(page.looks for page in pages) == 5


@pytest.mark.parametrize("seed", range(5))
async def test_each_request_is_checked_at_its_earliest_instant_until_its_stream_is_over(seed: int) -> None:
    chance = random.Random(seed)
    async with streaming(200) as (link, pages):
        start = time.monotonic_ns() + 5 * SECOND_NS
        due: dict[int, int] = {}
        for _ in range(500):
            number, instant = chance.randrange(200), start + chance.randrange(1_000)
            if chance.random() < 0.2:
                pages[number].cut()
                due.pop(number, None)
            elif pages[number].is_open:
                pages[number].wait(instant)
                due[number] = min(instant, due.get(number, instant))
        await link.talk()
        for number in due:
            # A check at an earlier instant than this one returns it.
            pages[number].wait(start + 2_000)
        for instant in range(start, start + 1_000, 50):
            found = looked_at(link, instant)
            assert found == sorted(number for number, first in due.items() if first <= instant)
            due = {number: first for number, first in due.items() if first > instant}
        assert due == {number: first for number, first in due.items() if first > start + 950}


async def test_an_upload_is_checked_once_after_its_head_and_then_when_it_is_late() -> None:
    async with served_pages() as link:
        link.upload("/upload")
        await link.talk()
        now = time.monotonic_ns()
        assert looked_at(link, now) == [0]
        assert looked_at(link, now + SECOND_NS) == []
        assert looked_at(link, now + 60 * SECOND_NS) == [0]
        # Its stream lingers after the refusal.
        assert looked_at(link, now + 70 * SECOND_NS) == []
        assert link.told[-2:] == [("dropped",), ("over",)]


async def test_the_begin_of_a_drain_checks_each_tunnel() -> None:
    async with served_pages() as link:
        await opened(link)
        link.ask("GET", "/page")
        await link.talk()
        link.look(0)
        link.engine.begin_drain(1)
        now = time.monotonic_ns()
        assert looked_at(link, now) == [0]
        assert looked_at(link, now) == []
        # The end of its last call has no instant.
        assert looked_at(link, now + SECOND_NS) == [0]


async def test_the_end_of_a_credential_checks_each_tunnel() -> None:
    async with served_pages(authenticate=StaticTokens({"good": Identity("ada")})) as link:
        link.prove(100)
        await opened(link)
        link.look(0)
        now = time.monotonic_ns()
        assert looked_at(link, now + 50 * SECOND_NS) == []
        assert looked_at(link, now + 101 * SECOND_NS) == [0]
