"""Explanations of failed handshakes."""

import ssl
from typing import Final

from fastrpc.tls.certificate import is_nameless

__all__ = ["DEMANDS_CERTIFICATE", "HandshakeError", "explained"]

#: Describes a server that refuses clients without a certificate.
DEMANDS_CERTIFICATE = "demands a certificate of ours"


class HandshakeError(ConnectionError):
    """One side of a TLS handshake refused the other side; the text says which side, and why."""

    #: Whether it is certain that the other side has decrypted no byte that this side sent.
    is_unread = True

    def __init__(self, text: str, *, hint: str | None = None, is_lasting: bool = True) -> None:
        super().__init__(text)
        self.hint = hint
        #: Whether the next handshake fails in the same way until someone changes a certificate or a setting.
        self.is_lasting = is_lasting


# Codes of X509_verify_cert (openssl/x509_vfy.h).
_OTHER_NAME: Final = 62
_OTHER_ADDRESS: Final = 64
_UNVERIFIED = {
    3: "its authority has no revocation list in crl_file",
    7: "its signature is wrong",
    9: "it is not valid yet",
    10: "it has expired",
    12: "the revocation list of its authority has expired",
    18: "it is signed by itself",
    19: "its authority is not trusted",
    20: "its authority is not trusted",
    21: "its authority is not trusted",
    23: "it is revoked",
    24: "its authority may sign no certificates",
    25: "its chain is longer than its authority allows",
    26: "its purpose is another one",
    47: "its authority may not sign for this name",
    _OTHER_NAME: "it is for another host name",
    _OTHER_ADDRESS: "it is for another IP address",
    66: "its key is too weak",
    67: "the key of its authority is too weak",
    68: "it is signed by a weak hash",
    79: "its authority may sign no certificates",
}

_HINTS = {
    19: "set ca_file to the authority that signed it",
    18: "set ca_file to it, or to the authority that should have signed it",
    20: "set ca_file to the authority that signed it",
    21: "set ca_file to the authority that signed it",
    _OTHER_NAME: "dial the name that it holds, or set server_name",
    _OTHER_ADDRESS: "dial the name that it holds, or set server_name",
}

_NAMELESS: Final = "it has no subjectAltName, and a name in its subject does not count"
_NAMELESS_HINT: Final = "make it anew with the host names as subjectAltName, as `fastrpc certs dev` does"

# The alerts (RFC 8446 6) by which the other side refuses this side, under OpenSSL's names without the version before
# them.
_ALERTS = {
    "ALERT_BAD_CERTIFICATE": "our certificate is bad, or for another name",
    "ALERT_UNSUPPORTED_CERTIFICATE": "our certificate is for another purpose",
    "ALERT_CERTIFICATE_REVOKED": "our certificate is revoked",
    "ALERT_CERTIFICATE_EXPIRED": "our certificate has expired",
    "ALERT_CERTIFICATE_UNKNOWN": "our certificate is not accepted",
    "ALERT_UNKNOWN_CA": "it does not trust the authority of our certificate",
    "ALERT_CERTIFICATE_REQUIRED": f"it {DEMANDS_CERTIFICATE}",
    "ALERT_ACCESS_DENIED": "our certificate has no access",
    "ALERT_NO_APPLICATION_PROTOCOL": "it does not speak fastrpc/1 (ALPN)",
    "ALERT_PROTOCOL_VERSION": "it has no TLS version in common with us, which is 1.2 at least",
    "ALERT_INSUFFICIENT_SECURITY": "our ciphers are too weak for it",
    "ALERT_HANDSHAKE_FAILURE": f"it has no cipher in common with us, or {DEMANDS_CERTIFICATE}",
    "UNRECOGNIZED_NAME": "it does not know the host name",
    "ALERT_DECRYPT_ERROR": "it could not verify our signature",
}

# The remedies of a client.
_ALERT_HINTS = {
    "ALERT_CERTIFICATE_REQUIRED": "set cert_file and key_file",
    "ALERT_UNKNOWN_CA": "set cert_file and key_file to a certificate of an authority that the server trusts",
    "ALERT_CERTIFICATE_EXPIRED": "renew cert_file",
}

_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE"})

_MISMATCHES = {
    "UNSUPPORTED_PROTOCOL": "no TLS version is common to both, the least here is 1.2",
    "VERSION_TOO_LOW": "no TLS version is common to both, the least here is 1.2",
    "NO_PROTOCOLS_AVAILABLE": "no TLS version is common to both, the least here is 1.2",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it has no TLS version in common with us, which is 1.2 at least",
    "NO_SHARED_CIPHER": "no cipher is common to both",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it sent no certificate, and require_client_cert is set",
    "EE_KEY_TOO_SMALL": "the key of its certificate is too weak",
    "CA_KEY_TOO_SMALL": "the key of its authority is too weak",
    "CA_MD_TOO_WEAK": "its certificate is signed by a weak hash",
    "DH_KEY_TOO_SMALL": "its Diffie-Hellman parameters are too weak",
    "NO_RENEGOTIATION": "it wanted to negotiate anew",
}


def explained(
    error: Exception, *, other: str, is_open: bool, ssl_object: ssl.SSLObject | ssl.SSLSocket | None = None
) -> OSError:
    """Return the error of TLS in words.

    Args:
        other: the other side, "server" or "client".
        is_open: whether the handshake was over on this side.
        ssl_object: the object that encrypts the connection.
    """
    if isinstance(error, HandshakeError):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        return _unverified(error, other, ssl_object)
    if _is_end(error):
        if is_open:
            return ConnectionResetError(f"the {other} ended the TLS stream without close_notify")
        return _cut(other)
    if isinstance(error, ssl.SSLError):
        return _refused(error, other, is_open)
    if isinstance(error, OSError) and is_open:
        return error
    return _cut(other) if isinstance(error, OSError) else HandshakeError(str(error), is_lasting=False)


def _is_end(error: Exception) -> bool:
    """Return whether the stream ended within TLS; CPython 3.11.2 has no class for it."""
    return (
        isinstance(error, ssl.SSLEOFError) or getattr(error, "reason", None) == "UNEXPECTED_EOF_WHILE_READING"
    )


def _unverified(
    error: ssl.SSLCertVerificationError, other: str, ssl_object: ssl.SSLObject | ssl.SSLSocket | None
) -> HandshakeError:
    words, hint = _UNVERIFIED.get(error.verify_code), _HINTS.get(error.verify_code)
    if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS) and is_nameless(ssl_object):
        words, hint = _NAMELESS, _NAMELESS_HINT
    told = f" ({error.verify_message})" if error.verify_message else ""
    text = f"the certificate of the {other} is refused: {words or 'it could not be verified'}{told}"
    if other == "client" and hint is not None and "server_name" in hint:
        hint = None
    return HandshakeError(text, hint=hint)


def _refused(error: ssl.SSLError, other: str, is_open: bool) -> OSError:
    reason = error.reason or ""
    for name, words in _ALERTS.items():
        if reason.endswith(name):
            hint = _ALERT_HINTS.get(name) if other == "server" else None
            return HandshakeError(f"the {other} refuses TLS: {words}", hint=hint)
    if reason in _MISMATCHES:
        return HandshakeError(f"the TLS handshake with the {other} failed: {_MISMATCHES[reason]}")
    told = reason.lower().replace("_", " ") or str(error)
    if is_open:
        return ConnectionResetError(f"the TLS stream of the {other} is broken: {told}")
    if reason in _NOT_TLS:
        return HandshakeError(f"the {other} does not speak TLS{_plain(other)}")
    return HandshakeError(f"the TLS handshake with the {other} failed: {told}", is_lasting=False)


def _cut(other: str) -> HandshakeError:
    text = f"the {other} closed the connection during the TLS handshake{_plain(other)}"
    return HandshakeError(text, is_lasting=False)


def _plain(other: str) -> str:
    return "; it may listen at tcp:// rather than tls://" if other == "server" else ""
