"""Numbers for monitoring: a Prometheus collector over the core's counters.

May import `_core` and what is below it. prometheus-client is loaded by the first `collector()`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fastrpc._core.base.histogram import CounterRegistry
    from fastrpc.metrics.prometheus import CallCollector

__all__ = ["collector"]


def collector(
    registry: CounterRegistry | None = None, *, buckets_per_doubling: Literal[1, 2, 4] = 1
) -> CallCollector:
    """Return a collector to register with prometheus-client: `REGISTRY.register(collector())`.

    It reads the counters of the whole process, or of `registry`. Their names begin with `fastrpc_server_` and
    `fastrpc_client_`: `calls_total` (by service, method, status, protocol), and by service, method and protocol
    `call_seconds`, `calls_in_flight`, `received_bytes_total`, `sent_bytes_total`. The service is what is before the
    last dot of a method's name. Calls of methods that a server does not have count as service and method `_other`.

    The histogram of seconds has the bounds 0.5 ms, 1 ms, 2 ms and so on to 16.384 s; `buckets_per_doubling` makes it
    finer, for 2 or 4 times the series.

    Each worker process counts its own calls: a collector in the process that started them shows none, and `serve` warns
    of that. Serve with one process, or have each worker show its own at another port.
    """
    from fastrpc._core.base.histogram import default_registry
    from fastrpc.metrics.prometheus import CallCollector

    return CallCollector(default_registry if registry is None else registry, buckets_per_doubling)
