"""The part of a connection that makes calls: who may call, and who hears that nobody may any more."""

from typing import cast

import pytest

from fastrpc._core.client.client_connection import ClientConnection
from fastrpc._core.client.own_calls import watch_calls
from fastrpc._core.io.session import Session
from tests.support.wire_frames import Goaway
from tests.unit._core.io.test_receive_tail import open_session, receive


def connection() -> tuple[Session, ClientConnection]:
    stream, _, _ = open_session()
    return stream, cast(ClientConnection, stream.engine)


async def test_calls_go_out_until_the_peer_drains() -> None:
    stream, session = connection()
    ends: list[str] = []
    assert watch_calls(session, "elsewhere", lambda: ends.append("first"))
    assert watch_calls(session, "elsewhere", lambda: ends.append("second"))
    assert session.endpoint == "nowhere"
    receive(stream, Goaway(2**63 - 1, 0).encode())
    assert ends == ["first", "second"]
    assert not session.is_usable
    stream.connection_lost(None)
    assert ends == ["first", "second"]


@pytest.mark.parametrize("end", ["close", "connection_lost"])
async def test_the_end_of_the_connection_is_told_once(end: str) -> None:
    stream, session = connection()
    ends: list[str] = []
    assert watch_calls(session, "nowhere", lambda: ends.append("over"))
    if end == "close":
        session.close()
    stream.connection_lost(None)
    assert ends == ["over"]


async def test_no_calls_go_out_on_a_connection_that_is_over() -> None:
    stream, session = connection()
    stream.connection_lost(None)
    assert not watch_calls(session, "nowhere", lambda: None)
