"""Answers of the engine as events of ASGI, for every cut of their bytes."""

from typing import Any

import pytest

from fastrpc.hosting.application_answers import EngineAnswer

HEAD = b"HTTP/1.1 %b\r\nDate: now\r\nConnection: close\r\nX-One: 1\r\n"


def events_of(answer: EngineAnswer, *parts: bytes) -> list[dict[str, Any]]:
    """Return the events of these parts, up to the end of the answer."""
    return [event for part in parts if not answer.is_whole for event in answer.take(part)]


def content_of(events: list[dict[str, Any]]) -> bytes:
    return b"".join(event["body"] for event in events[1:])


@pytest.mark.parametrize(
    ("data", "status", "content"),
    [
        (HEAD % b"200 OK" + b"Content-Length: 5\r\n\r\nhello", 200, b"hello"),
        (HEAD % b"200 OK" + b"Content-Length: 0\r\n\r\n", 200, b""),
        (HEAD % b"204 No Content" + b"\r\n", 204, b""),
        (HEAD % b"200 OK" + b"Transfer-Encoding: chunked\r\n\r\n3\r\na\r\n\r\n10\r\n" + 16 * b"b" + b"\r\n0\r\n\r\n",
         200, b"a\r\n" + 16 * b"b"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD % b"400 Bad Request" + b"Content-Length: 1\r\n\r\nx", 400, b"x"),
    ],
)  # fmt: skip
def test_every_cut_gives_the_same_answer(data: bytes, status: int, content: bytes) -> None:
    for at in range(len(data)):
        answer = EngineAnswer(is_head=False)
        found = events_of(answer, *filter(None, (data[:at], data[at:])))
        assert answer.is_whole
        assert found[0]["status"] == status
        assert {b"date", b"connection", b"transfer-encoding"}.isdisjoint(dict(found[0]["headers"]))
        assert dict(found[0]["headers"])[b"x-one"] == b"1"
        assert content_of(found) == content
        assert [event["more_body"] for event in found[1:]].index(False) == len(found) - 2
        assert answer.asks_for_body is data.startswith(b"HTTP/1.1 100")
    one_by_one = events_of(EngineAnswer(is_head=False), *(data[at : at + 1] for at in range(len(data))))
    assert content_of(one_by_one) == content


def test_a_chunk_is_one_event() -> None:
    data = HEAD % b"200 OK" + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n"
    found = events_of(EngineAnswer(is_head=False), data)
    assert [event["body"] for event in found[1:]] == [b"a", b"b"]


def test_the_answer_to_head_has_a_length_and_no_body() -> None:
    answer = EngineAnswer(is_head=True)
    found = events_of(answer, HEAD % b"200 OK" + b"Content-Length: 5\r\n\r\n")
    assert answer.is_whole
    assert (b"content-length", b"5") in found[0]["headers"]
    assert content_of(found) == b""


def test_the_end_of_the_connection_ends_an_answer_without_a_length() -> None:
    answer = EngineAnswer(is_head=False)
    found = events_of(answer, HEAD % b"200 OK" + b"\r\nab", b"c")
    assert (answer.ends_with_connection, answer.is_whole) == (True, False)
    found += events_of(answer, b"")
    assert answer.is_whole
    assert content_of(found) == b"abc"


def test_a_connection_without_an_answer_is_503() -> None:
    found = events_of(EngineAnswer(is_head=False), b"")
    assert (found[0]["status"], content_of(found)) == (503, b"")


def test_bytes_after_a_switch_of_protocols_are_kept() -> None:
    answer = EngineAnswer(is_head=False)
    events_of(answer, HEAD % b"101 Switching Protocols" + b"\r\n\x81\x01a")
    assert answer.rest == b"\x81\x01a"
