"""Warn of HTTP and gRPC clients at a port that speaks neither, and name the missing protocol."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from fastrpc.endpoint import Address

__all__ = ["MisplacedClients"]

logger = logging.getLogger("fastrpc.server")

#: _SECONDS: seconds between two warnings about one peer. _MOST_PEERS: the most peers that are remembered for this.
_SECONDS: Final = 60.0
_MOST_PEERS: Final = 1_000

#: The first bytes of a connection of HTTP/2, which the clients of gRPC open (RFC 9113, section 3.4).
_PREFACE: Final = b"PRI * HTTP/2"
_VERBS: Final = tuple(
    f"{verb} ".encode() for verb in ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
)
_NAMES: Final = {"grpc": "gRPC (HTTP/2)", "http": "HTTP"}


class MisplacedClients:
    """Recognizes clients by their first bytes and logs a warning, once a minute for each peer.

    Args:
        spoken: the protocols of the server.
        speaks_http2: whether the gateway accepts HTTP/2. gRPC connections begin with the same preface.
    """

    def __init__(
        self,
        spoken: Sequence[str],
        *,
        speaks_http2: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spoken = spoken
        self._speaks_http2 = speaks_http2
        self._clock = clock
        # Host and protocol of a peer -> the instant of its last warning, oldest first.
        self._warned: dict[tuple[str, str], float] = {}

    def note(self, peer: Address, first: bytes) -> None:
        """Warn of a peer if its first bytes are HTTP's or gRPC's and the server does not speak that protocol."""
        protocol = _protocol_of(first)
        if protocol is None or protocol in self._spoken or (protocol == "grpc" and self._speaks_http2):
            return
        now, key = self._clock(), (peer.host or str(peer), protocol)
        self._forget(now)
        if key not in self._warned and len(self._warned) < _MOST_PEERS:
            self._warned[key] = now
            spoken = ", ".join(self._spoken)
            text = '%s speaks %s, and this port speaks %s: add "%s" to ServerConfig.protocols'
            fields = {"event": "misplaced_client", "peer": str(peer)}
            logger.warning(text, peer, _NAMES[protocol], spoken, protocol, extra=fields)

    def _forget(self, now: float) -> None:
        for key, warned_at in list(self._warned.items()):
            if now < warned_at + _SECONDS:
                break
            del self._warned[key]


def _protocol_of(first: bytes) -> str | None:
    """Return the protocol of a client's first bytes, or None if it is neither HTTP nor gRPC."""
    # The rest of the preface may arrive later.
    if first.startswith(_PREFACE[:4]) and _PREFACE.startswith(first[: len(_PREFACE)]):
        return "grpc"
    return "http" if first.startswith(_VERBS) else None
