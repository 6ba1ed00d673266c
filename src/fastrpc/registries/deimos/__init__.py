"""Deimos over HTTP, in the layout of Phobos. No package is needed.

    node  the client of a cluster: requests, watches, errors. Stores use it too
    keys  endpoints as keys in the layout of Phobos

Options: `ttl` (seconds), `base` (`phobos`), `token` or `token_file`, which is read again when it changes,
`allow_insecure`, and the options of TLS (`registries/base/urls.py`).
"""

from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.urls import RegistryURL, whole_seconds
from fastrpc.registries.deimos.keys import PhobosKeys
from fastrpc.registries.deimos.node import DeimosAccess

__all__ = ["open_deimos"]


def open_deimos(url: RegistryURL) -> BackedRegistry:
    """Open `deimos://host:port,host:port?base=…&ttl=…`. The default port is 4001.

    Raises:
        ConfigError: an option is wrong.
    """
    access, base = DeimosAccess(url), url.take("base", "phobos", str)
    backend = PhobosKeys(access, base=base, ttl_seconds=url.take("ttl", 10, whole_seconds))
    return BackedRegistry(backend, str(url), **url.take_shared())
