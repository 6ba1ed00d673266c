"""Clients that take nothing of a response, or little of it at a time."""

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from fastrpc import Keepalive, Timeouts
from tests.support.driven_pages import DrivenLink, served_pages

#: The patience is 10 seconds.
RULES = {"keepalive": Keepalive(interval=None, timeout=10), "timeouts": Timeouts(handshake=None, idle=None)}
WIDE = 2**31 - 1


async def begun(link: DrivenLink, size: int = 200_000) -> int:
    """Ask for a response whose parts are longer than any window, and return its stream."""
    stream = link.ask("GET", "/page")
    await link.talk()
    link.page.begin(200)
    link.page.part(b"a" * size)
    await link.talk()
    return stream


async def look(link: DrivenLink, seconds: float) -> None:
    link.look(seconds)
    await link.talk()


async def test_a_slow_but_steady_reader_keeps_its_stream() -> None:
    async with served_pages(takes=False, **RULES) as link:
        stream = await begun(link)
        link.h2.increment_flow_control_window(1_000_000)
        for seconds in range(2, 62, 2):
            link.h2.increment_flow_control_window(1_000, stream)
            await link.talk()
            await look(link, seconds)
        answer = link.answers[stream]
        assert (answer.reset, len(answer.data)) == (None, 65_535 + 30_000)


async def test_a_stream_that_waits_for_the_window_of_the_connection_is_ended_too() -> None:
    async with served_pages(takes=False, **RULES) as link:
        link.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WIDE})
        stream = await begun(link)
        assert len(link.answers[stream].data) == 65_535
        await look(link, 5)
        await look(link, 12)
        assert link.answers[stream].reset is None
        await look(link, 20)
        assert (link.answers[stream].reset, link.is_over) == (ErrorCodes.CANCEL, False)
        assert link.told[-2:] == [("dropped",), ("over",)]


async def test_streams_that_share_a_slow_connection_are_kept() -> None:
    async with served_pages(takes=False, **RULES) as link:
        link.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WIDE})
        streams = [await begun(link) for _ in range(3)]
        for seconds in range(2, 62, 2):
            # One of them gets every byte.
            link.h2.increment_flow_control_window(1_000)
            await link.talk()
            await look(link, seconds)
        assert [link.answers[stream].reset for stream in streams] == [None] * 3


async def test_short_parts_are_counted_and_arrive_in_their_order() -> None:
    async with served_pages(takes=False) as link:
        stream = await begun(link, 65_535)
        parts = [b"%08d" % number for number in range(2_000)]
        for part in parts:
            link.page.part(part)
        assert link.page.unsent == 16_000
        link.page.end()
        link.h2.increment_flow_control_window(8_000)
        link.h2.increment_flow_control_window(8_000, stream)
        await link.talk()
        assert (link.page.events[-1], link.answers[stream].is_ended) == (("request", b""), False)
        link.h2.increment_flow_control_window(8_000)
        link.h2.increment_flow_control_window(8_000, stream)
        answer = await link.end(stream)
        assert (answer.data[65_535:], answer.is_ended) == (b"".join(parts), True)
