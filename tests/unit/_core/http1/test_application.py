"""A connection whose application fails, and one without an application."""

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
