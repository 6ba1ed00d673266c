"""What the admin pages show, as plain data."""

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from fastrpc._core.base.histogram import REFUSALS, default_registry
from fastrpc._core.loop.loop_state import loop_seconds
from fastrpc._version import __version__
from fastrpc.config import ServerConfig
from fastrpc.rpc.description import signature_text

if TYPE_CHECKING:
    from fastrpc.server.server import Server

__all__ = ["ServerState"]

#: Rows of a page; it says how many there are in all.
MOST_ROWS = 1_000

#: Fields of the settings whose values are no secret and name no file. All others are masked.
HARMLESS = frozenset(
    {
        *("connect", "call", "handshake", "stream_idle", "idle", "announce", "drain", "linger"),
        *("interval", "timeout", "minimum_interval", "max_age"),
        *(
            "message_bytes",
            "frame_bytes",
            "metadata_bytes",
            "concurrent_calls",
            "streams",
            "stream_window_bytes",
        ),
        *("connections", "depth", "longest_call"),
        *(
            "process_bytes",
            "request_bytes",
            "stream_pool",
            "send_soft",
            "send_hard",
            "open_messages",
            "items",
        ),
        *("handshakes", "queue_length", "queue_age", "handler_threads"),
        *("protocols", "codecs", "reflection", "expose_errors", "check_results", "admin_address"),
        *("ready_needs_registry", "proxy_protocol", "spin_microseconds", "require_client_cert"),
    }
)
MASK = "…"


class ServerState:
    """The state of one server."""

    def __init__(self, config: ServerConfig, server: "Server") -> None:
        assert server._gate is not None
        self._config = config
        self._server = server
        self._gate = server._gate
        self._health = server._health
        self._began = time.time()

    @property
    def is_ready(self) -> bool:
        """Whether calls are to be sent here."""
        advertising = self._server._advertising
        if not (self._health.is_serving("") and self._server._listeners) or self._server._is_shut:
            return False
        return advertising is None or not self._config.ready_needs_registry or advertising.is_registered

    def overview(self) -> dict[str, Any]:
        """Return the process, its totals, and the calls of each method."""
        lag, blocked = loop_seconds()
        return {
            "fastrpc": __version__,
            "python": ".".join(map(str, sys.version_info[:3])),
            "process_id": os.getpid(),
            "time": time.time(),
            "started": self._began,
            "ready": self.is_ready,
            "draining": self._health.is_draining,
            "connections": len(self._gate.sessions),
            "calls": self._gate.running,
            "waiting": self._gate.waiting,
            "refused": {reason: count for reason, count in REFUSALS.items() if count},
            "loop_lag_seconds": lag,
            "loop_blocked_seconds": blocked,
            "methods": [_method_row(one.snapshot(), one) for one in _by_name("server")],
        }

    def calls(self) -> dict[str, Any]:
        """Return the live calls, the oldest first."""
        rows = [
            {
                "method": call.method,
                "state": state,
                "age_seconds": call.age_seconds,
                "remaining_seconds": call.remaining(),
                "peer": str(session.exchange.describe_peer()),
                "identity": None if call.identity is None else call.identity.name,
                "protocol": session.exchange.protocol,
            }
            for session in list(self._gate.sessions)
            for state, calls in (("running", session.exchange.running), ("waiting", session.exchange.waiting))
            for call in calls
        ]
        return _cut("calls", sorted(rows, key=lambda row: -row["age_seconds"]))

    def connections(self) -> dict[str, Any]:
        """Return the connections whose opening is over."""
        rows = []
        for session in list(self._gate.sessions):
            exchange = session.exchange
            peer = exchange.describe_peer() if getattr(session, "is_open", True) else None
            if peer is not None:
                identity = None if exchange.identity is None else exchange.identity.name
                row = {"peer": str(peer), "protocol": exchange.protocol, "identity": identity}
                rows.append(row | session.stats() | {"held_bytes": exchange.held_bytes})
        return _cut("connections", rows)

    def services(self) -> dict[str, Any]:
        """Return the services with their methods."""
        return {
            "services": [
                {
                    "name": one.name,
                    "version": one.version,
                    "state": self._health.of(one.name),
                    "methods": [signature_text(method) for method in one.methods.values()],
                }
                for one in self._server.services
            ]
        }

    def config(self) -> dict[str, Any]:
        """Return the settings; whatever is not known to be harmless is masked."""
        return {"config": _shown(self._config)}


def _shown(settings: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in type(settings).__dataclass_fields__:
        value = getattr(settings, name)
        if hasattr(type(value), "__dataclass_fields__"):
            shown[name] = _shown(value)
        elif name in HARMLESS or value is None:
            shown[name] = value
        else:
            shown[name] = MASK
    return shown


def _by_name(side: str) -> list[Any]:
    """Return the counters of the methods that were called, in order."""
    found = [one for one in default_registry if one.side == side and (one.ended_calls or one.in_flight)]
    return sorted(found, key=lambda one: (one.service, one.method, one.protocol))


def _method_row(snapshot: dict[str, Any], counters: Any) -> dict[str, Any]:
    ended = sum(snapshot["calls"].values())
    row = {name: snapshot[name] for name in ("service", "method", "protocol", "in_flight", "calls")}
    row |= {
        "received_bytes": snapshot["received_bytes"],
        "sent_bytes": snapshot["sent_bytes"],
        "ended": ended,
    }
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        row[name] = counters.quantile(share) if ended else None
    return row


def _cut(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"total": len(rows), name: rows[:MOST_ROWS]}
