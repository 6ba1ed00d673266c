"""Find the backend of a store by its URL, such as `sqlite:///var/lib/shop?sync=normal`."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from fastrpc.client.credentials import CredentialSource
from fastrpc.config import TLS
from fastrpc.errors import ConfigError
from fastrpc.hosted.backend_urls import BackendURLs, NamedBackends
from fastrpc.registries.base.urls import RegistryURL, one_of
from fastrpc.stores.base import StoreBackend
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal

__all__ = ["Opening", "known_stores", "open_backend", "open_memory", "open_sqlite"]

#: The result of opening a URL: an object that returns the backend when it is entered by `async with`.
Opening: TypeAlias = AbstractAsyncContextManager[StoreBackend]

_URLS: Final = BackendURLs[StoreBackend](
    "store",
    {
        "consul": "fastrpc.stores.consul:open_consul_store",
        "deimos": "fastrpc.stores.deimos:open_deimos_store",
        "etcd": "fastrpc.stores.etcd:open_etcd_store",
        "memory": "fastrpc.coordination.store_urls:open_memory",
        "sqlite": "fastrpc.coordination.store_urls:open_sqlite",
        "store": "fastrpc.coordination.remote.client:open_remote",
    },
    entry_points="fastrpc.stores",
    form="sqlite:///folder or store://host:port",
    with_credentials="store",
)

_IN_MEMORY: Final = NamedBackends[StoreBackend]("store", LocalStore)


def open_backend(
    text: str, *, tls: TLS | None = None, credentials: CredentialSource | None = None
) -> Opening:
    """Return the backend at a URL, for one `async with`.

    Raises:
        ConfigError: the scheme is unknown, an option is wrong, or the store does not accept credentials.
    """
    return _URLS.open(text, tls=tls, credentials=credentials)


def known_stores() -> list[str]:
    """Return the schemes of all stores, including installed plug-ins."""
    return _URLS.known()


def open_memory(url: RegistryURL) -> Opening:
    """Return the store `memory://name`. A process has one per name, which is shared until its last user closes it."""
    return _IN_MEMORY.open(url)


def open_sqlite(url: RegistryURL) -> Opening:
    """Return the store in a folder, `sqlite:///folder`; the option `sync` is `full` or `normal`."""
    if url.place or not url.path:
        raise ConfigError(f"{url} has no absolute path of a folder", hint="write sqlite:///var/lib/name")
    sync = cast(Literal["full", "normal"], url.take("sync", "full", one_of("full", "normal")))
    url.refuse_unread()
    url.refuse_tls()
    return LocalStore(SqliteJournal(Path("/", url.path), sync=sync))
