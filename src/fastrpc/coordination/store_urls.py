"""Find the backend of a store by its URL, such as `sqlite:///var/lib/shop?sync=normal`.

A store with options takes those of registries with the same meaning: `tls=true` with its files, secrets by file.
"""

import asyncio
import importlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

from fastrpc.client.credentials import CredentialSource
from fastrpc.config import TLS
from fastrpc.errors import ConfigError
from fastrpc.escaping import without_secrets
from fastrpc.registries.base.urls import RegistryURL, one_of
from fastrpc.stores.base import StoreBackend
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal

__all__ = ["Opening", "known_stores", "open_backend", "open_memory", "open_sqlite"]

ENTRY_POINT_GROUP: Final = "fastrpc.stores"

#: scheme -> the function that makes a backend of a `RegistryURL`; imported on first use.
_STORES: Final = {
    "consul": "fastrpc.stores.consul:open_consul_store",
    "deimos": "fastrpc.stores.deimos:open_deimos_store",
    "etcd": "fastrpc.stores.etcd:open_etcd_store",
    "memory": "fastrpc.coordination.store_urls:open_memory",
    "sqlite": "fastrpc.coordination.store_urls:open_sqlite",
    "store": "fastrpc.coordination.remote.client:open_remote",
}

#: Schemes whose function takes the credentials, too.
_WITH_CREDENTIALS: Final = frozenset({"store"})

#: A backend is one, and gives itself.
Opening: TypeAlias = AbstractAsyncContextManager[StoreBackend]


@dataclass(slots=True)
class _MemoryStore:
    store: LocalStore
    loop: asyncio.AbstractEventLoop
    users: int = 0


#: The memory stores that are open, by process and name.
_in_memory: dict[tuple[int, str], _MemoryStore] = {}


def open_backend(
    text: str, *, tls: TLS | None = None, credentials: CredentialSource | None = None
) -> Opening:
    """Return the backend at a URL, to be entered.

    Raises:
        ConfigError: the scheme is unknown, an option is wrong, or credentials are given where none are shown.
    """
    if not isinstance(text, str) or "://" not in text:
        raise ConfigError(
            f"{without_secrets(text) if isinstance(text, str) else text!r} is not the URL of a store",
            hint="write it as sqlite:///folder or store://host:port",
        )
    url = RegistryURL(text, tls)
    opener = _opener(url)
    if url.scheme in _WITH_CREDENTIALS:
        return cast(Opening, opener(url, credentials))
    if credentials is not None:
        raise ConfigError(f"{url} shows no credentials", hint="leave credentials out, or use store://")
    return cast(Opening, opener(url))


def known_stores() -> list[str]:
    """Return the schemes of all stores, installed ones included."""
    from importlib.metadata import entry_points

    return sorted({*_STORES, *entry_points(group=ENTRY_POINT_GROUP).names})


def open_memory(url: RegistryURL) -> Opening:
    """Return the store `memory://name`: one for all that open it in this process, until the last of them closes it."""
    if not url.place or url.path:
        raise ConfigError(f"{url} is not the name of a store", hint="write memory://name")
    url.refuse_unread()
    return _in_memory_at(url.place)


@asynccontextmanager
async def _in_memory_at(name: str) -> AsyncIterator[StoreBackend]:
    loop, place = asyncio.get_running_loop(), (os.getpid(), name)
    found = _in_memory.get(place)
    if found is None or found.loop.is_closed():
        found = _in_memory[place] = _MemoryStore(await LocalStore().__aenter__(), loop)
    if found.loop is not loop:
        raise ConfigError(
            f"memory://{name} is open in another event loop", hint="give this one a name of its own"
        )
    found.users += 1
    try:
        yield found.store
    finally:
        found.users -= 1
        if not found.users:
            del _in_memory[place]
            await found.store.__aexit__(None, None, None)


def open_sqlite(url: RegistryURL) -> Opening:
    """Return the store in a folder, `sqlite:///folder`; the option `sync` is `full` or `normal`."""
    if url.place or not url.path:
        raise ConfigError(f"{url} has no absolute path of a folder", hint="write sqlite:///var/lib/name")
    sync = cast(Literal["full", "normal"], url.take("sync", "full", one_of("full", "normal")))
    url.refuse_unread()
    return LocalStore(SqliteJournal(Path("/", url.path), sync=sync))


def _opener(url: RegistryURL) -> Callable[..., Any]:
    place = _STORES.get(url.scheme)
    if place is not None:
        module, _, attribute = place.partition(":")
        return cast(Callable[..., Any], getattr(importlib.import_module(module), attribute))
    # Imported here: it loads parsers of package metadata.
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == url.scheme:
            return cast(Callable[..., Any], entry.load())
    raise ConfigError(
        f"{url}: no store has the scheme {url.scheme!r}", hint=f"known are {', '.join(known_stores())}"
    )
