"""Texts are checked byte for byte, as they come: against the decoder of Python."""

import contextlib

import pytest

from fastrpc._core.websocket.frames import SocketViolationError, WebSocketReader
from tests.support.socket_frames import TEXT, client_frame

#: The ends of every range of the table of well-formed sequences, and their neighbours.
EDGES = bytes.fromhex("00 41 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 ff")

#: What may be missing of a text: one of these ends every one that is cut between two of its bytes.
ENDS = [b"", b"\x80", b"\x80\x80", b"\xa0\x80", b"\x80\x80\x80", b"\x90\x80\x80"]


def taken_of(data: bytes) -> int | None:
    """Return how many bytes of a text without an end are taken before one is wrong; None: all are."""
    reader = WebSocketReader(1_000)
    head = client_frame(TEXT, b"", length=100)
    # Masked with zeros: the sent bytes are the text.
    reader.take_data(head[:-4] + bytes(4))
    for at in range(len(data)):
        try:
            reader.take_data(data[at : at + 1])
        except SocketViolationError as error:
            return at if error.code == 1007 else -1
    return None


def is_a_beginning(data: bytes) -> bool:
    """Return whether some text begins so."""
    for rest in ENDS:
        with contextlib.suppress(UnicodeDecodeError):
            (data + rest).decode()
            return True
    return False


def expected_of(data: bytes) -> int | None:
    return next((at for at in range(len(data)) if not is_a_beginning(data[: at + 1])), None)


@pytest.mark.parametrize("first", EDGES, ids="{:02x}".format)
def test_a_wrong_byte_is_found_when_it_comes(first: int) -> None:
    texts = [bytes((first, second, third, 0x80)) for second in EDGES for third in EDGES]
    assert {text: taken_of(text) for text in texts} == {text: expected_of(text) for text in texts}


def test_a_wrong_byte_is_found_after_words_of_plain_text() -> None:
    for size in range(20):
        assert taken_of(b"a" * size + b"\xc3\xa4\xc3(") == size + 3
