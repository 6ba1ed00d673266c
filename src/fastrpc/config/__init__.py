"""Settings as values: frozen dataclasses that check themselves when they are made.

Every duration is in seconds and every size in bytes. `None` means "no limit" and has to be written. A wrong value
raises ConfigError naming the field, the value and what is allowed. Creating settings touches no file, no socket and no
event loop, so they can be created before a fork and shared between threads.

    ClientConfig   Timeouts, Keepalive, Limits, Pool, Backoff, TLS; codec and compressor
    ServerConfig   Timeouts, Keepalive, Limits, Memory, Admission, HTTP, TLS; what is accepted and shown
"""

from typing import TYPE_CHECKING

from fastrpc.first_use import names_on_first_use

__all__ = [
    "HTTP",
    "TLS",
    "Admission",
    "Backoff",
    "Breaker",
    "ClientConfig",
    "HTTPLimits",
    "Keepalive",
    "Limits",
    "Memory",
    "OpenAPI",
    "Outlier",
    "Pool",
    "Probes",
    "Retries",
    "ServerConfig",
    "Timeouts",
]

if TYPE_CHECKING:
    from fastrpc.config.bounds import Admission, Limits, Memory
    from fastrpc.config.certificates import TLS
    from fastrpc.config.client import ClientConfig, Pool
    from fastrpc.config.http import HTTP, HTTPLimits, OpenAPI
    from fastrpc.config.resilience import Backoff, Breaker, Outlier, Probes, Retries
    from fastrpc.config.server import ServerConfig
    from fastrpc.config.timing import Keepalive, Timeouts
else:  # Type checkers would accept any attribute name.
    __getattr__ = names_on_first_use(
        __name__,
        {
            "bounds": "Admission Limits Memory",
            "certificates": "TLS",
            "client": "ClientConfig Pool",
            "http": "HTTP HTTPLimits OpenAPI",
            "resilience": "Backoff Breaker Outlier Probes Retries",
            "server": "ServerConfig",
            "timing": "Keepalive Timeouts",
        },
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
