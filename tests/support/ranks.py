"""Which parts of the package may import which."""

__all__ = ["CORE_RANK", "CORE_RANKS", "RANK", "RANKS"]

# A module may import its own folder and any lower rank (ARCHITECTURE.md).
RANKS = {
    0: (
        "_version",
        "assigned_numbers",
        "escaping",
        "first_use",
        "networks",
        "replaced_file",
        "time_limit",
        "together",
        "tracebacks",
        "status",
        "user_code",
        "value_class",
    ),
    1: ("errors",),
    2: (
        "bounded_http",
        "config",
        "config_errors",
        "endpoint",
        "gauges",
        "installed",
        "patterns",
        "types",
        "watched_file",
    ),
    3: ("_core", "codecs", "compressors", "limits", "place", "tls"),
    4: ("transports", "registries", "selectors", "rpc", "metrics", "protocols"),
    5: ("auth", "interceptors", "failmodes", "peers", "mcp", "openapi", "stores"),
    6: ("handlers",),
    7: ("client", "server"),
    8: ("batcher", "files", "grpc", "hosted", "workers"),
    9: ("brokers", "coordination", "discovery", "gateway", "relay"),
    10: ("console",),
    11: ("cli", "hosting", "testing"),
    12: ("__init__", "__main__"),
}
RANK = {part: rank for rank, parts in RANKS.items() for part in parts}

# The same within the compiled core: its rooms.
CORE_RANKS = {
    0: ("base",),
    1: ("payload", "wire", "loop", "balancing", "limiting"),
    2: ("calls", "io", "protobuf"),
    3: ("native", "websocket"),
    4: ("streams",),
    5: ("server", "client"),
    6: ("http1", "http2", "rpcx"),
    7: ("grpc",),
    8: ("http",),
}
CORE_RANK = {room: rank for rank, rooms in CORE_RANKS.items() for room in rooms}
