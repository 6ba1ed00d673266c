"""TLS by Python's `ssl`: contexts from certificate files, the two ends of a handshake, words for its failures.

Knows nothing of connections: transports, registries and HTTP clients use it, and it must not import them.
"""

from typing import Final

__all__ = ["ALPN", "H2_ALPN", "HTTP_AGREED", "HTTP_ALPN"]

#: The names in ALPN (RFC 7301) of the native protocol (ALPN), of HTTP/1.1 (HTTP_ALPN) and of HTTP/2 (H2_ALPN).
ALPN: Final = "fastrpc/1"
HTTP_ALPN: Final = "http/1.1"
H2_ALPN: Final = "h2"

#: The names that connections of HTTP may agree to; None means no name.
HTTP_AGREED: Final = (HTTP_ALPN, None)
