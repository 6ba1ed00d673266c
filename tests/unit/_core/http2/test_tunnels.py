"""Tunnels on streams of HTTP/2 (RFC 8441), between a client by `h2` and an application that a test drives.

The application has a protocol of blocks of four bytes.
"""

from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from fastrpc._core.server.memory_budget import bytes_held
from tests.support.driven_pages import DrivenLink, served_pages
from tests.support.grpc_peer import Answer

Fields = list[tuple[str, str]]

NO_ERROR, PROTOCOL_ERROR = ErrorCodes.NO_ERROR, ErrorCodes.PROTOCOL_ERROR
CANCEL = ErrorCodes.CANCEL

TUNNEL = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/chat"),
    (":authority", "localhost"),
    ("sec-websocket-version", "13"),
]


def asked(link: DrivenLink, fields: Fields = TUNNEL) -> int:
    """Ask for a tunnel, and return its stream."""
    stream = link.h2.get_next_available_stream_id()
    link.answers[stream] = Answer()
    link.h2.send_headers(stream, fields)
    return stream


async def opened(link: DrivenLink) -> int:
    """Open a tunnel, and return its stream."""
    stream = asked(link)
    await link.talk()
    link.page.open_tunnel()
    await link.talk()
    return stream


def blocks(link: DrivenLink) -> list[bytes]:
    """Return the blocks that came."""
    return [event[1] for event in link.told if event[0] == "block"]


async def test_extended_connect_is_offered() -> None:
    async with served_pages() as link:
        assert link.h2.remote_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1


async def test_a_head_tells_the_protocol_of_its_tunnel() -> None:
    async with served_pages() as link:
        asked(link)
        await link.talk()
        head: Any = link.page.head
        assert (head.method, head.path, head.protocol, head.content_length) == (
            "CONNECT",
            "/chat",
            b"websocket",
            0,
        )
        assert link.told == [("request", b"")]


async def test_a_tunnel_begins_with_200_and_its_fields() -> None:
    async with served_pages() as link:
        stream = asked(link)
        await link.talk()
        link.page.open_tunnel("chat", b"X-Some: a\r\n")
        await link.talk()
        answer = link.answers[stream]
        del answer.head["date"]
        assert answer.head == {":status": "200", "sec-websocket-protocol": "chat", "x-some": "a"}
        assert not answer.is_over


async def test_bytes_go_both_ways() -> None:
    async with served_pages() as link:
        stream = await opened(link)
        link.send(stream, b"one two")
        await link.talk()
        assert blocks(link) == [b"one "]
        link.send(stream, b".and")
        link.page.send(b"back")
        await link.talk()
        assert blocks(link) == [b"one ", b"two."]
        assert link.answers[stream].data == b"back"


async def test_bytes_ahead_of_the_answer_wait() -> None:
    async with served_pages() as link:
        stream = asked(link)
        link.send(stream, b"one two.")
        await link.talk()
        assert blocks(link) == []
        link.page.open_tunnel()
        await link.talk()
        assert blocks(link) == [b"one ", b"two."]


async def test_a_held_tunnel_fills_its_window_and_continues() -> None:
    async with served_pages() as link:
        stream = await opened(link)
        link.page.hold(True)
        before, window = bytes_held(), link.h2.local_flow_control_window(stream)
        link.send(stream, b"abcd" * (window // 4))
        await link.talk()
        assert (blocks(link), link.h2.local_flow_control_window(stream) < 4) == ([], True)
        assert bytes_held() - before >= window - 4
        link.page.hold(False)
        await link.talk()
        assert len(blocks(link)) == window // 4
        assert (bytes_held(), link.h2.local_flow_control_window(stream) > window // 2) == (before, True)


async def test_a_block_may_hold_the_next_one() -> None:
    async with served_pages() as link:
        stream = await opened(link)
        link.page.on_part = lambda: link.page.hold(True)
        link.send(stream, b"one two.")
        await link.talk()
        assert blocks(link) == [b"one "]
        link.page.hold(False)
        await link.talk()
        assert blocks(link) == [b"one ", b"two."]


@pytest.mark.parametrize("is_held", [True, False])
async def test_the_end_of_the_stream_ends_the_tunnel(is_held: bool) -> None:
    async with served_pages() as link:
        stream = await opened(link)
        link.page.hold(is_held)
        link.send(stream, b"one tw", ends=True)
        await link.talk()
        if is_held:
            assert blocks(link) == []
            link.page.hold(False)
            await link.talk()
        assert blocks(link) == [b"one "]
        assert link.told[-2:] == [("dropped",), ("over",)]
        assert link.answers[stream].is_ended


async def test_a_cut_tunnel_ends_after_its_last_words() -> None:
    async with served_pages() as link:
        stream = await opened(link)
        link.page.send(b"bye!")
        link.page.cut()
        await link.talk()
        answer = link.answers[stream]
        assert (answer.data, answer.is_ended, answer.reset) == (b"bye!", True, None)
        # The client has last words, for a while.
        link.send(stream, b"bye.")
        await link.talk()
        assert (blocks(link), answer.reset) == ([], None)
        link.look(2)
        await link.talk()
        assert (answer.reset, link.told[-1]) == (NO_ERROR, ("over",))


async def test_a_tunnel_is_over_once_both_sides_have_ended_it() -> None:
    async with served_pages() as link:
        stream = await opened(link)
        link.page.cut()
        await link.talk()
        link.send(stream, b"bye.", ends=True)
        await link.talk()
        assert (link.answers[stream].reset, link.told[-1]) == (None, ("over",))


async def test_a_reset_tunnel_is_dropped() -> None:
    async with served_pages() as link:
        stream = await opened(link)
        link.reset(stream)
        await link.talk()
        assert link.told[-2:] == [("dropped",), ("over",)]


async def test_a_closing_connection_ends_tunnels_in_the_words_of_their_protocol() -> None:
    async with served_pages() as link:
        stream = await opened(link)
        link.engine.close(1, "the server goes")
        await link.talk()
        assert (link.answers[stream].data, link.answers[stream].is_ended) == (b"bye!", True)
        assert link.is_over


async def test_a_tunnel_may_be_refused() -> None:
    async with served_pages() as link:
        stream = asked(link)
        link.send(stream, b"ahead")
        await link.talk()
        link.page.answer(403, b"", b"no\n")
        await link.talk()
        answer = link.answers[stream]
        assert (answer.head[":status"], answer.data, answer.reset) == ("403", b"no\n", None)
        link.send(stream, b"ahead", ends=True)
        await link.talk()
        assert (blocks(link), link.told[-1], answer.reset) == ([], ("over",), None)


async def test_a_client_may_leave_before_its_tunnel_is_open() -> None:
    async with served_pages() as link:
        stream = asked(link)
        link.send(stream, b"ahead", ends=True)
        await link.talk()
        assert link.told[-2:] == [("dropped",), ("over",)]
        assert link.answers[stream].reset == CANCEL


async def test_the_sender_of_a_tunnel_may_be_judged_first() -> None:
    async with served_pages(pages={"decides": True}) as link:
        stream = asked(link)
        link.send(stream, b"one ")
        await link.talk()
        assert link.told == []
        link.page.admit()
        link.page.open_tunnel()
        await link.talk()
        assert link.told == [("request", b""), ("block", b"one ")]


@pytest.mark.parametrize(
    "fields",
    [
        [(":method", "GET"), *TUNNEL[1:]],
        [pair for pair in TUNNEL if pair[0] != ":path"],
        [pair for pair in TUNNEL if pair[0] != ":scheme"],
        [pair for pair in TUNNEL if pair[0] != ":authority"],
    ],
    ids=["method", "path", "scheme", "authority"],
)
async def test_a_faulty_extended_connect_breaks_a_rule_of_its_stream(fields: Fields) -> None:
    async with served_pages() as link:
        stream = asked(link, fields)
        await link.talk()
        assert link.answers[stream].reset == PROTOCOL_ERROR
        assert link.pages.requests == []
