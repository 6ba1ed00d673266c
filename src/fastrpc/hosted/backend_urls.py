"""Find backends by URL, such as `sqlite:///var/lib/shop`, and backends in memory by name.

Options have the same names and meanings as for registries, such as `tls=true` and its files.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from fastrpc.client.credentials import CredentialSource
from fastrpc.config import TLS
from fastrpc.errors import ConfigError
from fastrpc.escaping import without_secrets
from fastrpc.first_use import load
from fastrpc.registries.base.urls import RegistryURL

__all__ = ["BackendURLs", "NamedBackends"]

B = TypeVar("B")


class BackendURLs(Generic[B]):
    """The URLs of one kind of backend.

    Args:
        name: the name of the kind in error texts, such as "store".
        table: the function of each scheme, which makes a backend from a `RegistryURL`, as "module:function". It is
            imported on first use.
        entry_points: the group of entry points by which other packages add schemes.
        form: an example of a URL for hints.
        with_credentials: the scheme whose function also accepts credentials; None if no scheme does.
    """

    def __init__(
        self,
        name: str,
        table: Mapping[str, str],
        *,
        entry_points: str,
        form: str,
        with_credentials: str | None = None,
    ) -> None:
        self._name = name
        self._table = table
        self._entry_points = entry_points
        self._form = form
        self._with_credentials = with_credentials

    def open(
        self, text: str, *, tls: TLS | None, credentials: CredentialSource | None
    ) -> AbstractAsyncContextManager[B]:
        """Return the backend at a URL, for one `async with`.

        Raises:
            ConfigError: the scheme is unknown, an option is wrong, or the backend does not accept credentials.
        """
        if not isinstance(text, str) or "://" not in text:
            raise ConfigError(
                f"{without_secrets(text) if isinstance(text, str) else text!r} is not the URL of a {self._name}",
                hint=f"write it as {self._form}",
            )
        url = RegistryURL(text, tls)
        opener = self._opener(url)
        if url.scheme == self._with_credentials:
            return cast(AbstractAsyncContextManager[B], opener(url, credentials))
        if credentials is not None:
            other = "" if self._with_credentials is None else f", or use {self._with_credentials}://"
            raise ConfigError(f"{url} does not accept credentials", hint=f"leave credentials out{other}")
        return cast(AbstractAsyncContextManager[B], opener(url))

    def known(self) -> list[str]:
        """Return all schemes, including the schemes of installed packages."""
        from importlib.metadata import entry_points

        return sorted({*self._table, *entry_points(group=self._entry_points).names})

    def _opener(self, url: RegistryURL) -> Callable[..., Any]:
        place = self._table.get(url.scheme)
        if place is not None:
            return cast(Callable[..., Any], load(place))
        # Import this late: it loads parsers of package metadata.
        from importlib.metadata import entry_points

        for entry in entry_points(group=self._entry_points):
            if entry.name == url.scheme:
                return cast(Callable[..., Any], entry.load())
        raise ConfigError(
            f"{url}: no {self._name} has the scheme {url.scheme!r}",
            hint=f"known are {', '.join(self.known())}",
        )


@dataclass(slots=True)
class _Open(Generic[B]):
    opening: AbstractAsyncContextManager[B]
    loop: asyncio.AbstractEventLoop
    users: int = 0

    #: The backend; None until the first user has entered it. Other users wait for that.
    backend: B | None = None
    entering: asyncio.Lock = field(default_factory=asyncio.Lock)


class NamedBackends(Generic[B]):
    """Backends `memory://name`. A process has one backend per name. All users share it; the last user closes it.

    Args:
        name: the name of the kind in error texts, such as "store".
        make: returns a new backend, for one `async with`.
    """

    def __init__(self, name: str, make: Callable[[], AbstractAsyncContextManager[B]]) -> None:
        self._name = name
        self._make = make
        # Open backends by process and name.
        self._open: dict[tuple[int, str], _Open[B]] = {}

    def open(self, url: RegistryURL) -> AbstractAsyncContextManager[B]:
        """Return the backend of a name, for one `async with`.

        Raises:
            ConfigError: the URL has no plain name or has an option, or certificates are given.
        """
        if not url.place or url.path:
            raise ConfigError(f"{url} is not the name of a {self._name}", hint="write memory://name")
        url.refuse_unread()
        url.refuse_tls()
        return self._entered(url.place)

    @asynccontextmanager
    async def _entered(self, name: str) -> AsyncIterator[B]:
        loop, place = asyncio.get_running_loop(), (os.getpid(), name)
        found = self._open.get(place)
        if found is None or found.loop.is_closed():
            found = self._open[place] = _Open(self._make(), loop)
        if found.loop is not loop:
            raise ConfigError(
                f"memory://{name} is open in another event loop", hint="use another name in this event loop"
            )
        found.users += 1
        try:
            async with found.entering:
                if found.backend is None:
                    found.backend = await found.opening.__aenter__()
            yield found.backend
        finally:
            found.users -= 1
            if not found.users:
                del self._open[place]
                if found.backend is not None:
                    await found.opening.__aexit__(None, None, None)
