"""Applications that raise: each costs its own stream, and no other one."""

from collections.abc import Callable
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.events import ResponseReceived
from h2.settings import SettingCodes

from fastrpc import Keepalive, Timeouts
from tests.support.driven_pages import DrivenLink, served_pages
from tests.support.waiting import eventually

CANCEL = ErrorCodes.CANCEL


def failing(*kinds: str) -> Callable[[tuple[Any, ...]], None]:
    """Return a page that raises at events of these kinds."""

    def fail(event: tuple[Any, ...]) -> None:
        if event[0] in kinds:
            raise KeyError("planted")

    return fail


async def is_served(link: DrivenLink) -> bool:
    """Return whether another request of the connection is answered."""
    stream = link.ask("GET", "/other")
    await link.talk()
    link.page.answer(200, b"", b"other")
    return (await link.end(stream)).data == b"other" and not link.goaways


async def test_a_failed_part_is_answered_500(caplog: pytest.LogCaptureFixture) -> None:
    async with served_pages(pages={"takes_parts": True}) as link:
        stream = link.upload("/upload")
        await link.talk()
        link.page.on_part = lambda: failing("part")(("part",))
        link.send(stream, b"one")
        answer = await link.end(stream)
        assert answer.head[":status"] == "500"
        assert ("dropped",) in link.told
        assert "planted" in caplog.text
        assert await is_served(link)


async def test_a_failed_part_of_a_begun_response_resets_it() -> None:
    async with served_pages(pages={"takes_parts": True}) as link:
        stream = link.upload("/upload")
        await link.talk()
        link.page.begin(200)
        link.page.on_part = lambda: failing("part")(("part",))
        link.send(stream, b"one")
        assert (await link.end(stream)).reset == CANCEL
        assert await is_served(link)


async def test_a_failed_sender_resets_its_response() -> None:
    async with served_pages(takes=False) as link:
        stream = link.ask("GET", "/slow")
        await link.talk()
        page = link.page
        page.on_event = failing("room")
        page.begin(200)
        page.part(b"a" * 100_000)
        page.await_room()
        await link.talk()
        link.h2.increment_flow_control_window(100_000)
        link.h2.increment_flow_control_window(100_000, stream)
        assert (await link.end(stream)).reset == CANCEL
        assert await is_served(link)


async def test_a_failed_end_leaves_no_other_one_untold() -> None:
    async with served_pages() as link:
        for _ in range(3):
            link.ask("GET", "/page")
        await link.talk()
        for page in link.pages.requests:
            page.on_event = failing("dropped", "over")
        link.lose()
        assert [page.events[-2:] for page in link.pages.requests] == [[("dropped",), ("over",)]] * 3


async def test_a_refused_request_is_answered_once() -> None:
    rules = {
        "keepalive": Keepalive(interval=None, timeout=10),
        "timeouts": Timeouts(handshake=None, idle=None),
    }
    async with served_pages(pages={"takes_parts": True}, **rules) as link:
        link.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        stream = link.upload("/upload")
        link.send(stream, b"one")
        await link.talk()
        page = link.page
        # The last call of a document that ends may give its answer now.
        page.on_event = lambda event: page.answer(200, b"", b"late") if event == ("dropped",) else None
        link.look(12)
        await link.talk()
        heads = [event for event in link.events if isinstance(event, ResponseReceived)]
        assert (len(heads), link.answers[stream].head[":status"]) == (1, "408")


async def test_an_application_learns_of_the_end_without_a_further_read() -> None:
    async with served_pages() as link:
        link.ask("GET", "/page")
        await link.talk()
        page = link.page
        page.answer(200)
        await eventually(lambda: page.events[-1] == ("over",))
