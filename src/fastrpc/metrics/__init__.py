"""Metrics for monitoring: a Prometheus collector over the core's counters.

It may import `_core` and the layers below. The first `collector()` loads prometheus-client.
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

    It reads the counters of the whole process, or of `registry`. The names begin with `fastrpc_server_` or
    `fastrpc_client_`. `calls_total` has the labels service, method, status and protocol; `call_seconds`,
    `calls_in_flight`, `received_bytes_total` and `sent_bytes_total` have service, method and protocol. The service is
    the part of the full name before its last dot. Calls of unknown methods count as service and method `_other`.

    Without `registry` the metrics of the whole process are included: `fastrpc_server_refused_total` by `reason`,
    `fastrpc_server_queue_seconds`, `fastrpc_client_refused_total` by `reason`, `fastrpc_client_queue_seconds`,
    `fastrpc_server_connections` and `fastrpc_client_connections` by `transport` and `protocol`,
    `fastrpc_client_retries_total` by `reason`, `fastrpc_dropped_metadata_total` by `protocol`,
    `fastrpc_client_endpoints` by `service` and `state`, `fastrpc_client_breaker_state` by `endpoint`,
    `fastrpc_registry_up` by `registry`, `fastrpc_lan_unverified_total`, `fastrpc_locks_held`, `fastrpc_locks_waiting`,
    `fastrpc_locks_lost_total`, `fastrpc_leader` by `name`, `fastrpc_settings_rejected_total` by `key`,
    `fastrpc_schedule_runs_total` by `name` and `outcome`, `fastrpc_store_items`, `fastrpc_store_file_bytes`,
    `fastrpc_store_watchers`, `fastrpc_store_leases`, `fastrpc_store_operations_total` by `operation` and `outcome`,
    `fastrpc_store_operation_seconds` by `operation`, `fastrpc_messages_total` by `topic` and `outcome`,
    `fastrpc_messages_lag`, `fastrpc_messages_oldest_seconds` and `fastrpc_messages_dead` by `topic` and `group`,
    `fastrpc_messages_file_bytes`, `fastrpc_relay_pairs_total` and `fastrpc_relay_open_pairs` by `name`,
    `fastrpc_relay_bytes_total` by `name` and `direction`, `fastrpc_relay_refused_total` by `reason`,
    `fastrpc_relay_names`, `fastrpc_loop_lag_seconds` and `fastrpc_loop_blocked_seconds_total`. The guide page
    "observing" describes them.

    The histogram of seconds has the bounds 0.5 ms, 1 ms, 2 ms and so on to 16.384 s. `buckets_per_doubling` = 2 or 4
    makes it finer, with that many times the series.

    Each worker process counts its own calls. A collector in their parent process shows none, and `serve` warns about
    it. The page `/metrics` of `ServerConfig.admin_address` has the metrics of all workers.
    """
    from fastrpc._core.base.histogram import default_registry
    from fastrpc.metrics.prometheus import CallCollector

    return CallCollector(default_registry if registry is None else registry, buckets_per_doubling)
