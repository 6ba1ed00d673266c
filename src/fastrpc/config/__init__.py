"""Settings as values: frozen dataclasses that check themselves when they are made.

Every duration is in seconds and every size in bytes. `None` means "no limit" and has to be written. A wrong
value raises ConfigError naming the field, the value and what is allowed. Making one touches no file, no
socket and no event loop, so settings can be built before a fork and shared between threads.

    ClientConfig   Timeouts, Keepalive, Limits, Pool, Backoff, TLS; codec and compressor
    ServerConfig   Timeouts, Keepalive, Limits, Memory, Admission, HTTP, TLS; what is accepted and shown
"""

from fastrpc.config.bounds import Admission, Limits, Memory
from fastrpc.config.certificates import TLS
from fastrpc.config.client import ClientConfig, Pool
from fastrpc.config.http import HTTP, HTTPLimits
from fastrpc.config.resilience import Backoff, Breaker, Outlier, Probes, Retries
from fastrpc.config.server import ServerConfig
from fastrpc.config.timing import Keepalive, Timeouts

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
    "Outlier",
    "Pool",
    "Probes",
    "Retries",
    "ServerConfig",
    "Timeouts",
]
