"""The session that a ClientHello offers, in any cut; the context that does not know it."""

import random
import ssl
from pathlib import Path

import pytest

from fastrpc.tls import resumption
from fastrpc.tls.contexts import client_context, server_context
from fastrpc.tls.failures import HandshakeError
from fastrpc.tls.resumption import TwinContext, check_full, offered_session
from tests.support.certificates import Authority
from tests.support.session_client import in_records

ID = bytes(range(1, 33))


def hello(session: bytes, version: bytes = b"\x03\x03") -> bytes:
    """Return the record of a ClientHello with one cipher."""
    body = version + bytes(32) + bytes([len(session)]) + session + b"\x00\x02\xc0\x2b\x01\x00"
    message = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + len(message).to_bytes(2) + message


@pytest.mark.parametrize("session", [b"", ID[:1], ID], ids=["none", "short", "long"])
@pytest.mark.parametrize("size", [1, 2, 7, 39, 40, 71, 1_000])
def test_a_session_is_found_in_any_cut(session: bytes, size: int) -> None:
    whole = in_records(hello(session), size)
    answers = [offered_session(whole[:end]) for end in range(len(whole) + 1)]
    known = next(place for place, answer in enumerate(answers) if answer is not None)
    assert answers[:known] == [None] * known
    assert answers[known:] == [session] * (len(answers) - known)


def test_empty_records_hide_no_session() -> None:
    empty = b"\x16\x03\x01\x00\x00"
    assert offered_session(empty * 3 + hello(ID)) == ID


@pytest.mark.parametrize(
    "received",
    [
        b"\x15\x03\x01\x00\x02\x01\x5a" + hello(ID),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x01\x02",
        hello(ID)[:43] + b"\x21" + bytes(60),
        b"\x16\x03\x01\x00\x00" * 103,
        b"\x80\x2e\x01\x03\x03",
    ],
    ids=["an alert", "plain text", "a ServerHello", "a long id", "empty records", "SSL 2"],
)
def test_bytes_that_are_no_hello_offer_nothing_at_once(received: bytes) -> None:
    assert offered_session(received) == b""


def test_random_bytes_are_read_within_a_bound() -> None:
    numbers = random.Random(7)
    for _ in range(2_000):
        received = bytearray(hello(ID) if numbers.random() < 0.5 else numbers.randbytes(600))
        for _ in range(numbers.randrange(4)):
            received[numbers.randrange(min(len(received), 60))] = numbers.randrange(256)
        received += bytes(512)
        assert offered_session(bytes(received)) is not None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resumption")


@pytest.fixture(scope="module")
def contexts(folder: Path) -> tuple[TwinContext, ssl.SSLContext]:
    authority = Authority(folder)
    accepting = server_context(authority.certificate().tls(authority, require_client_cert=True))
    dialling = client_context(authority.certificate(purpose="clientAuth").tls(authority))
    dialling.maximum_version = ssl.TLSVersion.TLSv1_2
    assert isinstance(accepting, TwinContext)
    return accepting, dialling


def shaken(
    accepting: ssl.SSLContext, dialling: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLSession]:
    """Do a handshake; return the object of the server, and the session of the client."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = dialling.wrap_bio(to_client, to_server, server_hostname="localhost", session=session)
    server = accepting.wrap_bio(to_server, to_client, server_side=True)
    for end in (client, server, client, server, client):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    kept = client.session
    assert kept is not None
    return server, kept


def test_a_session_of_either_context_is_unknown_to_the_other(
    contexts: tuple[TwinContext, ssl.SSLContext],
) -> None:
    accepting, dialling = contexts
    opened, session = shaken(accepting, dialling)
    check_full(opened)
    for expected in (accepting.twin, accepting, accepting.twin):
        chosen = accepting.for_session(session.id)
        assert chosen is expected
        opened, session = shaken(chosen, dialling, session)
        check_full(opened)


def test_a_session_that_was_resumed_is_refused(contexts: tuple[TwinContext, ssl.SSLContext]) -> None:
    accepting, dialling = contexts
    _, session = shaken(accepting, dialling)
    opened, _ = shaken(accepting, dialling, session)
    with pytest.raises(HandshakeError, match="resumed a session"):
        check_full(opened)


def test_as_many_sessions_are_remembered_as_openssl_keeps(
    contexts: tuple[TwinContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    accepting, dialling = contexts
    monkeypatch.setattr(resumption, "CACHED_SESSIONS", 2)
    accepting.pair_with(accepting.twin)
    sessions = []
    for _ in range(3):
        opened, session = shaken(accepting, dialling)
        check_full(opened)
        sessions.append(session.id)
    found = [accepting.for_session(each) for each in sessions]
    assert found == [accepting, accepting.twin, accepting.twin]


def test_without_authorities_there_is_one_context(folder: Path) -> None:
    certificate = Authority(folder, "alone").certificate()
    assert type(server_context(certificate.tls())) is ssl.SSLContext
