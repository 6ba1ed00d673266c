"""Consul: the service catalogue, and the layout of Go rpcx in the key-value store.

    catalogue services with health checks, which Consul's UI and DNS show
    rpcx        keys under a base path, locked by sessions
    agent       the HTTP interface of the agent: the package py-consul over `BoundedHttpClient`

Options: `token`, or `token_file`, which is read again when it changes; `dc`, `tag` (may repeat), `check` (`ttl` or
`tcp`), `ttl` (seconds), `layout` (`catalogue` or `rpcx`), `base` (of the rpcx layout), and
the options of TLS (`registries/base/urls.py`).
"""

from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.backend import Backend
from fastrpc.registries.base.urls import RegistryURL, one_of, whole_seconds
from fastrpc.registries.consul.agent import AgentAccess
from fastrpc.registries.consul.catalogue import ConsulCatalogue
from fastrpc.registries.consul.rpcx import RpcxKeys

__all__ = ["open_consul"]


def open_consul(url: RegistryURL) -> BackedRegistry:
    """Open `consul://host:port?token_file=…&dc=…&tag=…`. The default port is 8500.

    Raises:
        ConfigError: an option is wrong, or py-consul is not installed.
    """
    access = AgentAccess(url)
    layout = url.take("layout", "catalogue", one_of("catalogue", "rpcx"))
    backend: Backend
    if layout == "rpcx":
        backend = RpcxKeys(access, base=url.take("base", "rpcx", str))
    else:
        backend = ConsulCatalogue(
            access,
            tags=url.take_all("tag"),
            check=url.take("check", "ttl", one_of("ttl", "tcp")),
            ttl_seconds=url.take("ttl", 10, whole_seconds),
        )
    return BackedRegistry(backend, str(url), **url.take_shared())
