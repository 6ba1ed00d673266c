"""ZooKeeper, only in the layout of Go's rpcx. Uses the package kazoo.

    session  one session of a registry object: places, login, TLS, answers
    nodes    endpoints as ephemeral nodes: lookups, registrations

Options: `ttl` (seconds without a heartbeat after which the session ends), `base` (`rpcx`), `user` with `password` or
`password_file`, `allow_insecure`, and the options of TLS (`registries/base/urls.py`).
"""

from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.layouts import RpcxLayout
from fastrpc.registries.base.secrets import check_carried, take_login
from fastrpc.registries.base.urls import RegistryURL, whole_seconds

__all__ = ["open_zookeeper"]


def open_zookeeper(url: RegistryURL) -> BackedRegistry:
    """Open `zookeeper://host:port,host:port?base=…`. The default port is 2181.

    Raises:
        ConfigError: an option is wrong, or kazoo is not installed.
    """
    url.package("kazoo.client", "kazoo")
    from fastrpc.registries.zookeeper.nodes import ZookeeperNodes
    from fastrpc.registries.zookeeper.session import ZookeeperSession

    places, tls, login = url.places(2181), url.take_tls(), take_login(url)
    check_carried(url, places, kind="password" if login else "", is_encrypted=tls is not None)
    layout = RpcxLayout(url.take("base", "rpcx", str))
    session = ZookeeperSession(places, tls=tls, login=login, ttl_seconds=url.take("ttl", 10, whole_seconds))
    return BackedRegistry(ZookeeperNodes(session, layout), str(url), **url.take_shared())
