"""Applications in Python that answer requests by HTTP/1.1."""

import pytest

from fastrpc._core.exchange.request_head import RequestHead, RequestLimits, RequestRefusedError
from tests.support.http_echo import EchoConnection, HttpTalk

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_a_refused_request_gets_a_text() -> None:
    talk = HttpTalk()
    written = talk.send(b"GET /x HTTP/1.1\r\n\r\n")
    head, _, body = written.partition(b"\r\n\r\n")
    assert b"Content-Type: text/plain; charset=utf-8" in head
    assert b"Content-Length: %d" % len(body) in head
    assert body.endswith(b"\n")


async def test_the_end_of_a_connection_is_reported_once_it_is_lost() -> None:
    talk = HttpTalk(later=True)
    talk.send(GET)
    told = [talk.engine.was_lost]
    talk.session.connection_lost(None)
    told.append(talk.engine.was_lost)
    assert told == [False, True]
    assert not talk.engine.is_answering


class RefusingConnection(EchoConnection):
    """Refuses each head."""

    def on_head(self, head: RequestHead) -> int:
        raise RequestRefusedError(403, "not here")


async def test_a_head_may_be_refused() -> None:
    talk = HttpTalk(engine=RefusingConnection(RequestLimits()))
    assert b" 403 " in talk.send(GET)
    assert talk.engine.seen == []


async def test_an_answer_needs_a_request() -> None:
    talk = HttpTalk()
    talk.send(GET)
    with pytest.raises(RuntimeError, match="no request"):
        talk.engine.respond(200, [], b"")
