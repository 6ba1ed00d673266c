"""The edge of a server: addresses that may not connect, and those that connect too often.

::

    accepted ──► a proxy? ──► no: its own address ────────────────────┐
                    ├─► of proxy_protocol: the address in its header ─┴─► Addresses ──► ConnectionRate ──► session
                    └─► of trusted_proxies: passes; each of its requests is judged by the address of its client

Of several workers the supervisor, which accepts, has an edge for connections: what it refuses never reaches a worker.
Those of the workers judge addresses that headers name, and requests.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from fastrpc._core.base.histogram import count_refusal
from fastrpc._core.limiting.limiters import RateLimiter
from fastrpc.config import ServerConfig
from fastrpc.handlers.method_limits import rate_limiter_for
from fastrpc.limits import Addresses, ConnectionRate, Limit
from fastrpc.networks import Networks, ProxyNetworks, network_name, packed_address
from fastrpc.peers.peer import Peer

__all__ = ["Edges", "edges_of"]


def edges_of(
    limits: Sequence[Limit],
    shared: Sequence[RateLimiter | None],
    config: ServerConfig,
    note_refused: Callable[[str, str], None],
    count: Callable[[str], None] = count_refusal,
) -> "Edges":
    """Return the edge of a server; the arguments are those of `Edges`."""
    trusts = None
    # Their clients are judged by each request by HTTP; without that, they are peers like others.
    if config.http.trusted_proxies and {"http", "grpc"}.intersection(config.protocols):
        # Imported on first use: most servers stand behind no proxy.
        from fastrpc.server.http.forwarded import TrustedProxies

        trusts = TrustedProxies(config.http.trusted_proxies).trusts
    return Edges(limits, shared, note_refused, trusts=trusts, proxies=config.proxy_protocol, count=count)


class Edges:
    """Judges addresses by the limits of a server; only IP addresses are judged.

    Args:
        shared: counters of each rate over all processes of the server; None counts in this one.
        note_refused: takes an address and why it is refused, for the log.
        trusts: whether an address is that of a proxy whose requests name their clients; None: there are none.
        proxies: the networks whose connections begin with a header that names the peer.
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
        count: Callable[[str], None] = count_refusal,
    ) -> None:
        self._lists = [
            (bool(limit.allow), Networks(limit.allow), Networks(limit.deny))
            for limit in limits
            if isinstance(limit, Addresses)
        ]
        self._rates = [
            (limit, counter or rate_limiter_for(limit))
            for limit, counter in zip(limits, shared, strict=True)
            if isinstance(limit, ConnectionRate)
        ]
        self._note_refused = note_refused
        self._trusts = trusts
        self._proxies = ProxyNetworks(proxies) if proxies else None
        self._count = count

    def accepts(self, peer_name: Any) -> bool:
        """Return whether an accepted connection is served; a proxy is judged by the peer that its header names."""
        return (self._proxies is not None and self._proxies.have(peer_name)) or self.admits(peer_name)

    def admits(self, peer_name: Any) -> bool:
        """Return whether a peer may be served, as sockets name it."""
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
        self._count(reason)
        self._note_refused(host, text)
