"""The edge of a server refuses addresses that may not connect, or that connect too often.

::

    accepted ──► a proxy? ──► no: its own address ────────────────────┐
                    ├─► of proxy_protocol: the address in its header ─┴─► Addresses ──► ConnectionRate ──► session └─►
                    of trusted_proxies: accepted; each request is checked by the address of its client

With several workers, the supervisor accepts connections and has an edge, so a refused connection never reaches a
worker. The edges of the workers check addresses in headers and requests.
"""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from fastrpc._core.base.histogram import count_refusal
from fastrpc._core.limiting.limiters import RateLimiter
from fastrpc.config import ServerConfig
from fastrpc.handlers.method_limits import EdgeReason, rate_limiter_for
from fastrpc.limits import Addresses, ConnectionRate, Limit
from fastrpc.networks import Networks, ProxyNetworks, network_name, packed_address
from fastrpc.peers.peer import Peer

__all__ = ["Edges", "edges_of"]

#: The most addresses for which the result of the lists is cached. In a flood the same addresses connect again and
#: again.
MOST_KNOWN: Final = 1_024


def edges_of(
    limits: Sequence[Limit],
    shared: Sequence[RateLimiter | None],
    config: ServerConfig,
    note_refused: Callable[[str, str], None],
    count: Callable[[EdgeReason], None] = count_refusal,
) -> "Edges":
    """Return the edge of a server. The arguments are described in `Edges`."""
    trusts = None
    # The clients of these proxies are checked at each HTTP request. Without HTTP the proxies are ordinary peers.
    if config.http.trusted_proxies and {"http", "grpc"}.intersection(config.protocols):
        # Imported on first use, because most servers are not behind a proxy.
        from fastrpc.server.http.forwarded import TrustedProxies

        trusts = TrustedProxies(config.http.trusted_proxies).trusts
    return Edges(limits, shared, note_refused, trusts=trusts, proxies=config.proxy_protocol, count=count)


class Edges:
    """Checks IP addresses against the limits of a server. Other addresses are accepted.

    Args:
        shared: for each limit, the counter that all processes of the server share; None to count in this process only.
        note_refused: logs a refused address and the reason.
        trusts: returns whether an address belongs to a proxy whose requests name their clients; None if no proxy is
            trusted.
        proxies: the networks of proxies whose connections begin with a header that contains the peer's address.
        count: counts a refusal by its reason.
    """

    def __init__(
        self,
        limits: Sequence[Limit],
        shared: Sequence[RateLimiter | None],
        note_refused: Callable[[str, str], None],
        *,
        trusts: Callable[[str], bool] | None = None,
        proxies: Sequence[str] = (),
        count: Callable[[EdgeReason], None] = count_refusal,
    ) -> None:
        self._lists = [
            (bool(limit.allow), Networks(limit.allow), Networks(limit.deny))
            for limit in limits
            if isinstance(limit, Addresses)
        ]
        # The lists never change, so results can be cached.
        self._name_if_allowed = lru_cache(MOST_KNOWN)(self._found_name)
        self._rates = [
            (limit.per == "address", counter or rate_limiter_for(limit), _over(limit))
            for limit, counter in zip(limits, shared, strict=True)
            if isinstance(limit, ConnectionRate)
        ]
        self._note_refused = note_refused
        self._trusts = trusts
        self._proxies = ProxyNetworks(proxies) if proxies else None
        self._count = count

    def admits_connection(self, peer_name: Any) -> bool:
        """Return whether to serve a connection. A proxy's connection is checked later, by the peer in its header."""
        return (self._proxies is not None and self._proxies.contains(peer_name)) or self.admits_peer(
            peer_name
        )

    def admits_peer(self, peer_name: Any) -> bool:
        """Return whether to serve a peer, given its socket address."""
        return not isinstance(peer_name, tuple) or self._judge(peer_name[0]) is None

    def refusal_of(self, peer: Peer, is_unknown: bool) -> tuple[int, str] | None:
        """Return status and text to refuse a request of this client; None to accept it.

        Args:
            is_unknown: True if a proxy did not state its client's address. Such a client matches no
                `Addresses(allow=…)`.
        """
        host = peer.address.host
        if is_unknown and any(is_closed for is_closed, _, _ in self._lists):
            self._refuse(host or "unix", "address", "X-Forwarded-For names no address (Addresses)")
            return 403, "X-Forwarded-For does not name the client (Addresses)"
        return self._judge(host) if host else None

    def _judge(self, host: str) -> tuple[int, str] | None:
        if self._trusts is not None and self._trusts(host):
            return None
        name = self._name_if_allowed(host)
        if name is None:
            self._refuse(host, "address", "it is not allowed (Addresses)")
            return 403, "the address of the client may not call this server (Addresses)"
        return self._take(host, name) if self._rates else None

    def _found_name(self, host: str) -> bytes | None:
        """Return the name under which rates count an address; None if a list does not allow the address."""
        packed = packed_address(host)
        for is_closed, allowed, denied in self._lists:
            allows, denies = allowed.longest(packed), denied.longest(packed)
            if denies >= allows and (is_closed or denies >= 0):
                return None
        return network_name(packed)

    def _take(self, host: str, name: bytes) -> tuple[int, str] | None:
        """Count a connection in all rates; if a limit is reached, undo this and return the refusal."""
        now = time.monotonic_ns()
        taken: list[RateLimiter] = []
        for is_per_address, counter, over in self._rates:
            if not counter.try_take(name if is_per_address else b"", now):
                taken.append(counter)
                continue
            for earlier in taken:
                earlier.return_token()
            self._refuse(host, "connection_rate", over)
            return 429, over
        return None

    def _refuse(self, host: str, reason: EdgeReason, text: str) -> None:
        self._count(reason)
        self._note_refused(host, text)


def _over(limit: ConnectionRate) -> str:
    rate = f"{limit.rate:g} connections/s per {limit.per} with a burst of {limit.tokens}"
    return f"over the rate of {rate} (ConnectionRate)"
