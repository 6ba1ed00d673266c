"""Fields of answers, as an exchange takes them."""

import pytest

from tests.support.http_echo import HttpTalk

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "field", [("X Y", "1"), ("", "1"), ("é", "1"), ("X", "a\r\nb"), ("X", "a\nb"), ("X", "\0")]
)
async def test_field_that_would_break_the_head_is_refused(field: tuple[str, str]) -> None:
    talk = HttpTalk(later=True)
    talk.send(GET)
    with pytest.raises(ValueError, match="has an invalid name or value"):
        talk.engine.respond(200, [field], b"")
    talk.engine.respond(200, [("X", "1")], b"")
    await talk.until_answered(1)
