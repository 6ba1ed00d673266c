"""The state of a server as plain data, for the admin pages."""

import asyncio
import heapq
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from fastrpc._core.base.histogram import REFUSALS, default_registry
from fastrpc._core.loop.loop_state import loop_seconds
from fastrpc._version import __version__
from fastrpc.config import ServerConfig
from fastrpc.escaping import OwnLastResort
from fastrpc.gauges import clients, gauges
from fastrpc.rpc.description import signature_text
from fastrpc.server.admin.acted import ActedServer, Changeable
from fastrpc.server.admin.acts import level_of
from fastrpc.server.admin.start_instant import StartInstant
from fastrpc.server.admin.turns import in_turns

if TYPE_CHECKING:
    from fastrpc.metrics.exposition import Exposition
    from fastrpc.server.admin.figures import Figures
    from fastrpc.server.admin.recent import Recent
    from fastrpc.server.opened import OpenedServer
    from fastrpc.server.registrar import Registrar

__all__ = ["MOST_ROWS", "ServerState", "method_rows", "shown_settings", "with_records"]

#: The most rows of a page. The page also has the total number.
MOST_ROWS = 1_000

#: Settings whose values may be shown: neither secrets nor file names. All other values are masked.
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
        "specification",
        *(
            "protocols",
            "codecs",
            "reflection",
            "expose_errors",
            "check_results",
            "admin_address",
            "admin_advertise",
        ),
        *(
            "http2",
            "json",
            "jsonrpc",
            "grpc_web",
            "websocket",
            "mcp",
            "rpcx",
            "phobos",
            "docs",
            "compress",
            "root_path",
            "trusted_proxies",
            "mount_authenticated",
            "cors_origins",
            "allowed_hosts",
        ),
        *("title", "version", "description", "servers"),
        *("header_seconds", "idle_seconds", "body_idle_seconds", "headers", "header_bytes", "target_bytes"),
        *("ready_needs_registry", "proxy_protocol", "spin_microseconds", "require_client_cert"),
    }
)
MASK = "…"

#: The loggers whose levels the page of figures shows: the root logger and fastrpc's.
LEVELS_SHOWN = ("", "fastrpc")

#: The values of records that the page of services shows.
_OF_RECORDS = ("is_out", "weight", "configured_weight")


class ServerState:
    """The state of one server.

    Args:
        server: the server, which acts change.
        takes_connections: True if another process accepts the connections. Then the server is ready without listening.
        keeps_recent: True to keep recent calls and log records for their pages, from now on until `close`.
    """

    def __init__(
        self,
        config: ServerConfig,
        parts: "OpenedServer",
        server: Changeable,
        *,
        takes_connections: bool = False,
        keeps_recent: bool = True,
    ) -> None:
        self._takes_connections = takes_connections
        self._config = config
        self._gate, self._listening, self._served = parts.gate, parts.listening, parts.served
        self._offer = offer = parts.offer
        self._health, self._background = offer.health, offer.background
        self._began = StartInstant()
        self._exposition: Exposition | None = None
        self._identity = secrets.token_hex(8)
        self._recent = _recent_of(self._gate) if keeps_recent else None
        #: The interface through which acts change this process.
        self.acted = ActedServer(server, self._health, self._identity, self._registrar)

    def close(self) -> None:
        """Stop keeping log records. Closing twice is allowed."""
        if self._recent is not None:
            self._recent.end()

    @property
    def is_ready(self) -> bool:
        """True if this server should receive calls."""
        advertising = self._offer.advertising
        has_doors = bool(self._listening.listeners) or self._takes_connections
        if not (self._health.is_serving("") and has_doors) or self._listening.is_shut:
            return False
        return advertising is None or not self._config.ready_needs_registry or advertising.is_registered

    def table(self, name: str) -> dict[str, Any]:
        """Return the values of a page by its name."""
        tables: dict[str, Callable[[], dict[str, Any]]] = {
            "overview": self.overview,
            "calls": self.calls,
            "connections": self.connections,
            "services": self.services,
            "config": self.config,
            "store": self.store,
            "messages": self.messages,
            "ended": self.ended,
            "logs": self.logs,
            "endpoints": self.endpoints,
            "stacks": self.stacks,
            "figures": self.facts,
        }
        return tables[name]()

    async def values(self, name: str) -> Callable[[], dict[str, Any]]:
        """Return a function that computes the values of the page with this name."""
        table = self.table(name)
        if name == "overview":
            # Compute the rows in a thread: for thousands of methods, calls would have to wait too long.
            return lambda: table | {"methods": method_rows(default_registry)}
        return lambda: table

    async def figures(self) -> Callable[[], "Figures"]:
        """Return a function that computes the figures of each method."""
        from fastrpc.server.admin.figures import Figures, process_facts

        facts = self.facts()
        lag = facts.pop("loop_lag_seconds")

        def made() -> Figures:
            process = process_facts() | {"role": "server", "loop_lag_seconds": lag}
            return Figures({"server": self._identity, **facts, "processes": [process]}, default_registry)

        return made

    async def metrics(self) -> Callable[[], bytes]:
        """Return a function that makes the page of metrics."""
        # Imported on first use, because workers serve no pages.
        from fastrpc.metrics.exposition import Exposition

        self._exposition = self._exposition or Exposition()
        # Read the gauges here, not in the thread: their objects belong to this loop and could change at the same time.
        return partial(self._exposition.of_process, list(gauges()))

    def overview(self) -> dict[str, Any]:
        """Return the process and its totals."""
        lag, blocked = loop_seconds()
        return {
            "fastrpc": __version__,
            "python": ".".join(map(str, sys.version_info[:3])),
            "process_id": os.getpid(),
            "time": time.time(),
            "started": self._began.seconds(),
            "ready": self.is_ready,
            "draining": self._health.is_draining,
            "connections": len(self._gate.engines),
            "calls": self._gate.running,
            "waiting": self._gate.admission.waiting,
            "refused": {reason: count for reason, count in REFUSALS.items() if count},
            "loop_lag_seconds": lag,
            "loop_blocked_seconds": blocked,
        }

    def facts(self) -> dict[str, Any]:
        """Return facts about this server for the page of figures."""
        records = self._records()
        services = [
            {"name": one.name, "version": one.version, "state": self._health.of(one.name)}
            for one in self._offer.services
        ]
        return {
            "fastrpc": __version__,
            "python": ".".join(map(str, sys.version_info[:3])),
            "time": time.time(),
            "started": self._began.seconds(),
            "ready": self.is_ready,
            "draining": self._health.is_draining,
            "state": self._health.of(""),
            "log_levels": {name: level_of(name) for name in LEVELS_SHOWN},
            "services": with_records(services, records),
            "records": records or [],
            "loop_lag_seconds": loop_seconds()[0],
        }

    def ended(self) -> dict[str, Any]:
        """Return the calls that failed or were slow, newest first."""
        return {"total": 0, "ended": []} if self._recent is None else self._recent.calls()

    def logs(self) -> dict[str, Any]:
        """Return the log records of level WARNING or above, newest first."""
        return {"total": 0, "logs": []} if self._recent is None else self._recent.records()

    def endpoints(self) -> dict[str, Any]:
        """Return the endpoints of the clients of this process."""
        rows = [row for source in clients() for row in source.endpoint_rows()]
        rows.sort(key=lambda row: (row["target"], row["address"]))
        return {"total": len(rows), "endpoints": rows[:MOST_ROWS]}

    def stacks(self) -> dict[str, Any]:
        """Return the stacks of threads and tasks."""
        from fastrpc.server.admin.stacks import stacks

        return stacks(asyncio.get_running_loop())

    def calls(self) -> dict[str, Any]:
        """Return the running calls, oldest first."""
        live = [
            (call, state, engine)
            for engine in list(self._gate.engines)
            for state, calls in (
                ("running", engine.connection.running),
                ("waiting", engine.connection.waiting),
            )
            for call in calls
        ]
        oldest = heapq.nlargest(MOST_ROWS, live, key=lambda one: one[0].age_seconds)
        rows = [
            {
                "method": call.method,
                "state": state,
                "age_seconds": call.age_seconds,
                "remaining_seconds": call.remaining(),
                "peer": str(call.peer),
                "identity": None if call.identity is None else call.identity.name,
                # Calls of several protocols may share a connection.
                "protocol": engine.connection.protocol if call.peer is None else call.peer.protocol,
            }
            for call, state, engine in oldest
        ]
        return {"total": len(live), "calls": rows}

    def connections(self) -> dict[str, Any]:
        """Return the connections that have finished their handshake."""
        rows = []
        total = 0
        for engine in list(self._gate.engines):
            connection = engine.connection
            peer = connection.describe_peer() if getattr(engine, "is_open", True) else None
            if peer is not None:
                total += 1
                if total <= MOST_ROWS:
                    identity = None if connection.identity is None else connection.identity.name
                    row = {"peer": str(peer), "protocol": connection.protocol, "identity": identity}
                    rows.append(row | engine.stats() | {"held_bytes": connection.held_bytes})
        return {"total": total, "connections": rows}

    def services(self) -> dict[str, Any]:
        """Return the services with their methods."""
        services = [
            {
                "name": one.name,
                "version": one.version,
                "state": self._health.of(one.name),
                "methods": [signature_text(method) for method in one.methods.values()],
            }
            for one in self._offer.services
        ]
        return {"services": with_records(services, self._records())}

    def _registrar(self) -> "Registrar | None":
        """Return the registrar of the server's records; None without a registry."""
        advertising = self._offer.advertising
        return None if advertising is None else advertising.records

    def _records(self) -> list[dict[str, Any]] | None:
        """Return the records in the registry as rows; None without a registry."""
        registrar = self._registrar()
        return None if registrar is None else registrar.shown()

    def store(self) -> dict[str, Any]:
        """Return the state of this process's store: of the hosted store service, or of `Server(store=…)`."""
        source = self._hosted("fastrpc.store") or self._background.scheduling
        return source.shown(MOST_ROWS) or {"store": []}

    def messages(self) -> dict[str, Any]:
        """Return the topics and groups of this process's broker: the hosted broker, or `Server(broker=…)`."""
        source = self._hosted("fastrpc.broker") or self._background.subscribing
        return source.shown(MOST_ROWS) or {"messages": []}

    def _hosted(self, service: str) -> Any:
        return dict(self._served.instances()).get(service)

    def config(self) -> dict[str, Any]:
        """Return the settings. All values are masked except those in HARMLESS."""
        return {"config": shown_settings(self._config)}


def _recent_of(gate: Any) -> "Recent":
    """Start to keep recent calls and log records; return the object that keeps them."""
    # Imported on first use, because workers without pages do not need it.
    from fastrpc.server.admin.recent import Recent

    # If fastrpc's command line has configured logging, keep all records. Otherwise logging belongs to the program.
    recent = Recent(of_all_loggers=isinstance(logging.lastResort, OwnLastResort))
    recent.begin()
    gate.runner.call_log = recent.log_beside(gate.runner.call_log)
    return recent


def with_records(
    services: list[dict[str, Any]], records: list[dict[str, Any]] | None
) -> list[dict[str, Any]]:
    """Return rows of services, each with the values of its records in the registry.

    If a value differs among the records of a service, the row has the sorted list of values; without records, None.

    Args:
        records: rows from `Registrar.shown`; None without a registry, which leaves the services unchanged.
    """
    if records is None:
        return services
    found = []
    for one in services:
        rows = [row for row in records if row["service"] == one["name"]]
        found.append(one | {name: _shared([row[name] for row in rows]) for name in _OF_RECORDS})
    return found


def _shared(values: list[Any]) -> Any:
    different = sorted(set(values))
    return different if len(different) > 1 else next(iter(different), None)


def shown_settings(settings: Any) -> dict[str, Any]:
    """Return settings as plain values. All values are masked except those in HARMLESS."""
    shown: dict[str, Any] = {}
    for name in type(settings).__dataclass_fields__:
        value = getattr(settings, name)
        if hasattr(type(value), "__dataclass_fields__"):
            shown[name] = shown_settings(value)
        elif name in HARMLESS or value is None:
            shown[name] = value
        else:
            shown[name] = MASK
    return shown


def method_rows(registry: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Return a row for each method that was called on servers of this process."""
    found = [one for one in in_turns(registry) if one.side == "server" and (one.ended_calls or one.in_flight)]
    found.sort(key=lambda one: (one.service, one.method, one.protocol))
    return (_method_row(one.snapshot(), one) for one in in_turns(found, 16))


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
