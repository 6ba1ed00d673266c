"""The edge of a server: addresses that may not connect, and those that connect too often.

::

    accepted ──► a proxy? ──► no: its own address ────────────────────┐
                    ├─► of proxy_protocol: the address in its header ─┴─► Addresses ──► ConnectionRate ──► session
                    └─► of trusted_proxies: passes; each of its requests is judged by the address of its client
"""

import time
from collections.abc import Callable
from typing import Any

from fastrpc._core.base.histogram import count_refusal
from fastrpc._core.limiting.limiters import RateLimiter
from fastrpc.config import ServerConfig
from fastrpc.handlers.method_limits import rate_limiter_for
from fastrpc.handlers.services import ServiceTable
from fastrpc.limits import Addresses, ConnectionRate
from fastrpc.networks import Networks, network_name, packed_address
from fastrpc.peers.peer import Peer

__all__ = ["Edges", "edges_of"]


def edges_of(served: ServiceTable, config: ServerConfig) -> "Edges":
    """Return the edge of a server."""
    trusts = None
    # Their clients are judged by each request by HTTP; without that, they are peers like others.
    if config.http.trusted_proxies and {"http", "grpc"}.intersection(config.protocols):
        # Imported on first use: most servers stand behind no proxy.
        from fastrpc.server.http.forwarded import TrustedProxies

        trusts = TrustedProxies(config.http.trusted_proxies).trusts
    return Edges(served, trusts)


class Edges:
    """Judges addresses by the limits of a server; only IP addresses are judged.

    Args:
        trusts: whether an address is that of a proxy whose requests name their clients; None: there are none.
    """

    def __init__(self, served: ServiceTable, trusts: Callable[[str], bool] | None = None) -> None:
        self._lists = [
            (bool(limit.allow), Networks(limit.allow), Networks(limit.deny))
            for limit in served.limits
            if isinstance(limit, Addresses)
        ]
        self._rates = [
            (limit, counter or rate_limiter_for(limit))
            for limit, counter in zip(served.limits, served.shared, strict=True)
            if isinstance(limit, ConnectionRate)
        ]
        self._note_refused = served.life.refused_at_edge
        self._trusts = trusts

    def admits(self, peer_name: Any) -> bool:
        """Return whether a connection may be served, by its peer as sockets name it."""
        return not isinstance(peer_name, tuple) or self._judge(peer_name[0]) is None

    def refusal_of(self, peer: Peer, is_unknown: bool) -> tuple[int, str] | None:
        """Return status and text for a request whose client is refused; None: it passes.

        Args:
            is_unknown: whether a proxy named its client by no address: no list that allows has it.
        """
        host = peer.address.host
        if is_unknown and any(is_closed for is_closed, _, _ in self._lists):
            self._refuse(host or "unix", "address", "X-Forwarded-For names no address (Addresses)")
            return 403, "X-Forwarded-For does not name the client (Addresses)"
        return self._judge(host) if host else None

    def _judge(self, host: str) -> tuple[int, str] | None:
        if self._trusts is not None and self._trusts(host):
            return None
        packed = packed_address(host)
        for is_closed, allowed, denied in self._lists:
            allows, denies = allowed.longest(packed), denied.longest(packed)
            if denies >= allows and (is_closed or denies >= 0):
                self._refuse(host, "address", "it is not allowed (Addresses)")
                return 403, "the address of the client may not call this server (Addresses)"
        return self._take(host, packed)

    def _take(self, host: str, packed: bytes) -> tuple[int, str] | None:
        """Count a connection on all rates, or on none if one is reached."""
        now = time.monotonic_ns()
        taken: list[RateLimiter] = []
        for limit, counter in self._rates:
            if not counter.try_take(network_name(packed) if limit.per == "address" else b"", now):
                taken.append(counter)
                continue
            for earlier in taken:
                earlier.return_token()
            over = f"over the rate of {limit.rate:g} connections/s per {limit.per} with a burst of {limit.tokens}"
            self._refuse(host, "connection_rate", f"{over} (ConnectionRate)")
            return 429, f"{over} (ConnectionRate)"
        return None

    def _refuse(self, host: str, reason: str, text: str) -> None:
        count_refusal(reason)
        self._note_refused(host, text)
