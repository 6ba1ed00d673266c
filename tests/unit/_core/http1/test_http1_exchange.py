"""Requests that an application fails to answer, and refusals after them."""

import pytest

from fastrpc._core.exchange.request_head import RequestHead, RequestLimits
from tests.support.http_echo import EchoConnection, HttpTalk

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


class FailingConnection(EchoConnection):
    """Fails with each request."""

    def on_request(self, head: RequestHead, body: bytes) -> None:
        raise ValueError("it fails")


async def test_a_request_whose_application_fails_is_answered_and_the_connection_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    talk = HttpTalk(engine=FailingConnection(RequestLimits()))
    talk.send(GET + GET)
    await talk.until_over()
    assert talk.statuses == [500]
    assert "a request of" in caplog.text


async def test_a_refused_request_after_an_answered_one_is_the_last_one() -> None:
    talk = HttpTalk()
    talk.send(GET + b"GET /x HTTP/1.1\r\n\r\n" + GET)
    await talk.until_over()
    assert (talk.statuses, len(talk.engine.seen)) == ([200, 400], 1)


async def test_a_refusal_of_a_head_request_has_fields_and_no_content() -> None:
    talk = HttpTalk()
    talk.send(b"HEAD /x HTTP/1.1\r\n\r\n")
    await talk.until_over()
    head, end, content = talk.transport.written.partition(b"\r\n\r\n")
    assert (end, content) == (b"\r\n\r\n", b"")
    assert b"\r\nConnection: close\r\n" in head
    assert head.endswith(b"\r\nContent-Length: %d" % len("there are 0 Host fields, there must be one\n"))
