"""Find the backend of a broker by its URL, such as `memory://shop`."""

from contextlib import AbstractAsyncContextManager
from typing import Final, TypeAlias

from fastrpc.brokers.base import BrokerBackend
from fastrpc.client.credentials import CredentialSource
from fastrpc.config import TLS
from fastrpc.hosted.backend_urls import BackendURLs

__all__ = ["Opening", "open_backend"]

#: The result of opening a URL: an object that returns the backend when it is entered by `async with`.
Opening: TypeAlias = AbstractAsyncContextManager[BrokerBackend]

_URLS: Final = BackendURLs[BrokerBackend](
    "broker",
    {
        "broker": "fastrpc.brokers.remote.client:open_remote",
        "memory": "fastrpc.brokers.memory:open_memory",
        "nats": "fastrpc.brokers.nats:open_nats",
        **dict.fromkeys(("redis", "rediss", "valkey"), "fastrpc.brokers.redis:open_redis"),
        "sqlite": "fastrpc.brokers.sqlite:open_sqlite",
    },
    entry_points="fastrpc.brokers",
    form="broker://host:port, sqlite:///folder or memory://name",
    with_credentials="broker",
)


def open_backend(
    text: str, *, tls: TLS | None = None, credentials: CredentialSource | None = None
) -> Opening:
    """Return the backend at a URL, for one `async with`.

    Raises:
        ConfigError: the scheme is unknown, an option is wrong, or the broker does not accept credentials.
    """
    return _URLS.open(text, tls=tls, credentials=credentials)
