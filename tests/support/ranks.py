"""Which parts of the package may import which."""

from collections.abc import Iterator
from pathlib import Path

from tests.support.source_tree import imports, named_imports

__all__ = ["CORE_RANK", "CORE_RANKS", "RANK", "RANKS", "part_of", "upward_imports"]

# A module may import its own folder and any lower rank (ARCHITECTURE.md).
RANKS = {
    0: (
        "_version",
        "assigned_numbers",
        "cancelling",
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
        "daemon_thread",
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
    4: ("link", "streams"),
    5: ("server", "client"),
    6: ("exchange",),
    7: ("http1", "http2", "rpcx"),
    8: ("grpc",),
    9: ("http",),
}
CORE_RANK = {room: rank for rank, rooms in CORE_RANKS.items() for room in rooms}


def part_of(module: str) -> str:
    """Return the folder or file directly below the package to which a module belongs."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def upward_imports(path: Path, module: str) -> Iterator[str]:
    """Yield the imports of a file that do not point down, early, late, or by texts that name modules.

    Args:
        module: the dotted name of the file.
    """
    own = part_of(module)
    named = named_imports(path, module) if path.suffix == ".py" else []
    for item in [*imports(path), *named]:
        part = part_of(item.module)
        if item.module.partition(".")[0] == "fastrpc" and part != own and RANK[part] >= RANK[own]:
            yield f"line {item.line}: {own} (rank {RANK[own]}) imports {item.module} (rank {RANK[part]})"
