"""The first bytes of a connection: both sides, every version, and strangers."""

import pytest

from fastrpc._core.wire.native import MAGIC, NO_COMMON_VERSION, PREFACE
from fastrpc_harness.recording import RecordingConnection


def opened(first: bytes, *, is_client: bool) -> RecordingConnection:
    """Return a connection that received these first bytes."""
    connection = RecordingConnection(is_client=is_client)
    connection.receive_data(first)
    return connection


def test_both_sides_write_the_bytes_of_the_document() -> None:
    assert bytes.fromhex("f546525001010000") == PREFACE
    assert bytes.fromhex("f546525000010000") == NO_COMMON_VERSION


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("01010000", None),
        ("01ff0000", None),
        ("02030000", "no common version: the client speaks 2 to 3"),
        ("00010000", "no common version: the client speaks 0 to 1"),
        ("02010000", "no common version: the client speaks 2 to 1"),
        ("01010100", "no common version: the client speaks 1 to 1"),
    ],
)
def test_a_server_takes_clients_that_speak_its_version(rest: str, problem: str | None) -> None:
    server = opened(MAGIC + bytes.fromhex(rest), is_client=False)
    assert server.closed_text == problem
    assert server.data_to_send().startswith(NO_COMMON_VERSION if problem else PREFACE)


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("01010000", None),
        ("01070000", None),
        ("00070000", "no common version: the server speaks up to 7"),
        ("02070000", "the server chose version 2, we speak 1"),
        ("01000000", "the server chose version 1, we speak 1"),
        ("01010001", "the server chose version 1, we speak 1"),
    ],
)
def test_a_client_takes_the_version_that_it_speaks(rest: str, problem: str | None) -> None:
    assert opened(MAGIC + bytes.fromhex(rest), is_client=True).closed_text == problem


@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("same", range(4))
def test_a_stranger_is_known_at_the_first_byte_that_differs(is_client: bool, same: int) -> None:
    assert opened(MAGIC[:same], is_client=is_client).closed_text is None
    stranger = opened(MAGIC[:same] + b"?", is_client=is_client)
    wanted = "server" if is_client else "client"
    assert stranger.closed_text == f"not a fastrpc {wanted}: the first bytes are {MAGIC[:same] + b'?'!r}"


@pytest.mark.parametrize(
    ("first", "name"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "an HTTP server"),
        (b"SSH-2.0-OpenSSH", "an SSH server"),
        (b"-NOAUTH Authentication required.", "a Redis server"),
        (b"\x15\x03\x03\0\x02", "a TLS server"),
    ],
)
def test_a_stranger_is_named_by_its_first_bytes(first: bytes, name: str) -> None:
    stranger = opened(first, is_client=True)
    assert stranger.closed_text == f"not a fastrpc server but {name}: the first bytes are {first[:16]!r}"
