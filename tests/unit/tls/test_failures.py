"""Failures of TLS in words."""

import ssl

import pytest

from fastrpc.tls.failures import HandshakeError, explained


def failed(reason: str) -> ssl.SSLError:
    """Return an error as `ssl` raises it."""
    error = ssl.SSLError(1, f"[SSL: {reason}] it failed (_ssl.c:1000)")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (
            "TLSV1_ALERT_UNKNOWN_CA",
            "the server refuses TLS: it does not trust the authority of our certificate",
        ),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "the server refuses TLS: our certificate has expired"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "the server refuses TLS: it demands a certificate of ours"),
        ("NO_SHARED_CIPHER", "the TLS handshake with the server failed: no cipher is common to both"),
        ("UNSUPPORTED_PROTOCOL", "no TLS version is common to both, the least here is 1.2"),
        ("WRONG_VERSION_NUMBER", "the server does not speak TLS; it may listen at tcp:// rather than tls://"),
        ("SOMETHING_NEW", "the TLS handshake with the server failed: something new"),
    ],
)
def test_a_failed_handshake_is_told_in_words(reason: str, told: str) -> None:
    error = explained(failed(reason), other="server", is_open=False)
    assert isinstance(error, HandshakeError)
    assert told in str(error)


def test_a_broken_stream_is_a_lost_connection() -> None:
    error = explained(failed("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), other="client", is_open=True)
    assert isinstance(error, ConnectionResetError)
    assert "the TLS stream of the client is broken" in str(error)


@pytest.mark.parametrize(
    "error", [ssl.SSLEOFError(8, "EOF"), failed("UNEXPECTED_EOF_WHILE_READING")], ids=["class", "reason"]
)
def test_the_end_without_close_notify_is_a_lost_connection(error: ssl.SSLError) -> None:
    lost = explained(error, other="client", is_open=True)
    assert isinstance(lost, ConnectionResetError)
    assert str(lost) == "the client ended the TLS stream without close_notify"


def test_an_error_in_words_is_unchanged() -> None:
    error = HandshakeError("no")
    assert explained(error, other="server", is_open=False) is error


def test_an_error_of_the_system_on_an_open_stream_is_unchanged() -> None:
    error = BrokenPipeError(32, "Broken pipe")
    assert explained(error, other="server", is_open=True) is error
