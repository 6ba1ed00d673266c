"""Find the backend of a broker by its URL, such as `memory://shop`."""

from contextlib import AbstractAsyncContextManager
from typing import Final, TypeAlias

from fastrpc.brokers.base import BrokerBackend
from fastrpc.client.credentials import CredentialSource
from fastrpc.config import TLS
from fastrpc.errors import ConfigError
from fastrpc.hosted.backend_urls import BackendURLs

__all__ = ["Opening", "open_backend", "refuse_several_processes"]

#: A backend is one, and gives itself.
Opening: TypeAlias = AbstractAsyncContextManager[BrokerBackend]

#: Schemes of brokers that one process opens; the memory of each process is apart, which is a warning.
_OF_ONE_PROCESS: Final = ("sqlite",)

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
    """Return the backend at a URL, to be entered.

    Raises:
        ConfigError: the scheme is unknown, an option is wrong, or credentials are given where none are shown.
    """
    return _URLS.open(text, tls=tls, credentials=credentials)


def refuse_several_processes(text: str) -> None:
    """Refuse the URL of a broker that one process alone can open, where several workers would.

    Raises:
        ConfigError: the broker is such a one.
    """
    scheme, _, place = text.partition("://")
    if scheme in _OF_ONE_PROCESS:
        folder = place.partition("?")[0]
        raise ConfigError(
            f"{scheme}://{folder} is a broker of one process, and there are several workers",
            hint=f"start fastrpc broker --data-dir {folder}, and give the workers broker://127.0.0.1:8971",
        )
