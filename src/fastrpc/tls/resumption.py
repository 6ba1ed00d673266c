"""Full handshakes for clients that offer a session of TLS 1.2.

A session resumed by its id skips the client's certificate, which may have expired, been revoked or lost its authority
since. Python's `ssl` cannot disable OpenSSL's cache of sessions, and closing a resumed connection would lock its client
out for as long as the client keeps the session. But a cache belongs to one context. So a server that verifies
certificates has two contexts of the same files: a client that offers a session of the first one gets the second one,
which does not know the session. TLS 1.3 resumes by tickets only, and the server issues none.
"""

import ssl

from fastrpc.tls.failures import HandshakeError

__all__ = ["TwinContext", "check_full", "offered_session"]

# SSL_SESSION_CACHE_MAX_SIZE_DEFAULT of openssl/ssl.h: with more, OpenSSL forgets the oldest.
CACHED_SESSIONS = 20_480

# RFC 8446, sections 5.1 and 4: the content type of a record (_HANDSHAKE), the bytes of its header (_RECORD_HEADER), the
# type of a ClientHello (_CLIENT_HELLO).
_HANDSHAKE = 22
_RECORD_HEADER = 5
_CLIENT_HELLO = 1

# _BEFORE_ID: bytes of the type, length, version and random number of a ClientHello, before the length of its session id
# (RFC 5246, section 7.4.1.2). _LONGEST_ID: the most bytes of a session id.
_BEFORE_ID = 38
_LONGEST_ID = 32

# Enough for records of one byte each: (38 + 1 + 32) · 6.
_MOST_BYTES = 512


class TwinContext(ssl.SSLContext):
    """The context of a server that resumes no session; `ssl` makes it like any context."""

    #: A context of the same files, for clients that offer a session of this context.
    twin: ssl.SSLContext
    #: The ids of the sessions that OpenSSL may keep for this context, the oldest first.
    _issued: dict[bytes, None]

    def pair_with(self, twin: ssl.SSLContext) -> None:
        """Set the second context."""
        self.twin = twin
        self._issued = {}

    def for_session(self, offered: bytes) -> ssl.SSLContext:
        """Return the context that does not know a session: this one, unless it issued the session itself."""
        return self.twin if offered in self._issued else self

    def note(self, opened: ssl.SSLObject) -> None:
        """Remember the session of a connection whose handshake is over."""
        session = opened.session
        if session is None or not session.id:
            return
        self._issued[session.id] = None
        if len(self._issued) > CACHED_SESSIONS:
            del self._issued[next(iter(self._issued))]


def check_full(opened: ssl.SSLObject) -> None:
    """Check that a handshake that is over verified the client's certificate.

    Raises:
        HandshakeError: a session was resumed although the ClientHello, in an unusual form, seemed to offer none.
    """
    if opened.session_reused:
        raise HandshakeError("the client resumed a session, which skips the check of its certificate")
    context = opened.context
    # Ids of TLS 1.3 name no session.
    if isinstance(context, TwinContext) and opened.version() == "TLSv1.2":
        context.note(opened)


def offered_session(received: bytes) -> bytes | None:
    """Return the session id in the first bytes of a client, b"" if it has none, None while there are too few bytes.

    Bytes that are not a ClientHello offer no session: OpenSSL answers them.
    """
    hello = b""
    place = 0
    while place < len(received) and received[place] == _HANDSHAKE:
        content = place + _RECORD_HEADER
        if content > len(received):
            break
        place = content + int.from_bytes(received[content - 2 : content])
        hello += received[content:place]
        if hello and hello[0] != _CLIENT_HELLO:
            return b""
        if len(hello) > _BEFORE_ID:
            end = _BEFORE_ID + 1 + hello[_BEFORE_ID]
            if hello[_BEFORE_ID] > _LONGEST_ID:
                return b""
            if len(hello) >= end:
                return hello[_BEFORE_ID + 1 : end]
    is_strange = place < len(received) and received[place] != _HANDSHAKE
    return b"" if is_strange or len(received) >= _MOST_BYTES else None
