"""The head of a response: its status line, its fields, its length."""

from email.utils import parsedate_to_datetime

import pytest

from tests.support.http_echo import HttpTalk

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "phrase"), [(200, "OK"), (413, "Content Too Large"), (421, "Misdirected Request"), (299, "")]
)
async def test_first_lines_have_the_phrase_and_a_date(status: int, phrase: str) -> None:
    talk = HttpTalk(later=True)
    talk.send(GET)
    talk.engine.respond(status, [("X-Own", "1")], b"body")
    await talk.until_answered(1)
    lines = talk.transport.written.split(b"\r\n")
    assert lines[0] == f"HTTP/1.1 {status} {phrase}".encode()
    name, _, date = lines[1].partition(b": ")
    assert (name, parsedate_to_datetime(date.decode()).utcoffset() is not None) == (b"Date", True)
    assert lines[2:] == [b"X-Own: 1", b"Content-Length: 4", b"", b"body"]


@pytest.mark.parametrize("size", [0, 9, 10, 99_999])
async def test_length_is_written_in_digits(size: int) -> None:
    talk = HttpTalk(later=True)
    talk.send(GET)
    talk.engine.respond(200, [], b"x" * size)
    await talk.until_answered(1)
    assert f"\r\nContent-Length: {size}\r\n\r\n".encode() in talk.transport.written


@pytest.mark.parametrize("status", [204, 304])
async def test_status_without_a_body_states_no_length(status: int) -> None:
    talk = HttpTalk(later=True)
    talk.send(GET)
    talk.engine.respond(status, [], b"")
    await talk.until_answered(1)
    assert b"Content-Length" not in talk.transport.written
