"""Names from OpenTelemetry's semantic conventions for RPC, in the pinned version, for all recorded values.

https://opentelemetry.io/docs/specs/semconv/rpc/
"""

from typing import Final

from fastrpc.status import Status

__all__ = [
    "ATTEMPT",
    "BUCKETS",
    "CLIENT_DURATION",
    "ERRORS",
    "GRPC",
    "ERROR_TYPE",
    "METHOD",
    "METHOD_ORIGINAL",
    "OTHER",
    "PEER_ADDRESS",
    "PEER_PORT",
    "ATTEMPT_NUMBER",
    "SCHEMA_URL",
    "SERVER_ADDRESS",
    "SERVER_DURATION",
    "SERVER_PORT",
    "STATUS",
    "SYSTEM",
    "SYSTEM_NAME",
]

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.45.0"

# Attributes of spans and metrics.
SYSTEM: Final = "rpc.system.name"
SYSTEM_NAME: Final = "fastrpc"
#: The RPC system of gRPC calls.
GRPC: Final = "grpc"
METHOD: Final = "rpc.method"
#: The method name, also in names of spans, for calls whose method is not recorded.
OTHER: Final = "_OTHER"
METHOD_ORIGINAL: Final = "rpc.method_original"
STATUS: Final = "rpc.status_code"
ERROR_TYPE: Final = "error.type"
#: The target of a client, which stands for all servers that the client reaches.
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
#: The server of the last attempt.
PEER_ADDRESS: Final = "network.peer.address"
PEER_PORT: Final = "network.peer.port"

# Metrics: histograms of seconds, with the buckets that the conventions recommend.
CLIENT_DURATION: Final = "rpc.client.call.duration"
SERVER_DURATION: Final = "rpc.server.call.duration"
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

#: The event of an attempt, and the attribute with its number. The conventions define neither.
ATTEMPT: Final = "fastrpc.attempt"
ATTEMPT_NUMBER: Final = "fastrpc.attempt.number"

#: The statuses that count as errors on each side, as the conventions define for gRPC: on a server, only its own faults.
ERRORS: Final = {
    "client": frozenset(Status) - {Status.OK},
    "server": frozenset(
        {
            Status.UNKNOWN,
            Status.DEADLINE_EXCEEDED,
            Status.UNIMPLEMENTED,
            Status.INTERNAL,
            Status.UNAVAILABLE,
            Status.DATA_LOSS,
        }
    ),
}
