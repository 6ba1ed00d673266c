"""etcd 3.4 and later, over the JSON gateway of its API v3: no package is needed.

    gateway  the client of a cluster: places, logins, pages, watches. Stores use it too
    keys     endpoints as keys: the layouts `fastrpc` and `rpcx`, registrations under one lease
    lookup   the lists of services: first a read, then a watch

Options: `ttl` (seconds), `layout` (`fastrpc` or `rpcx`), `base` (`fastrpc`; `rpcx` in that layout), `user` with
`password` or `password_file`, which is read again when it changes, `allow_insecure`, and the options of TLS
(`registries/base/urls.py`). The gateway ignores the user in a certificate. If etcd requires certificates, give
`cert_file` in addition to a login.
"""

from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.layouts import FastrpcLayout, RpcxLayout
from fastrpc.registries.base.secrets import check_carried, take_login
from fastrpc.registries.base.urls import RegistryURL, one_of, whole_seconds
from fastrpc.registries.etcd.gateway import EtcdAccess
from fastrpc.registries.etcd.keys import EtcdKeys

__all__ = ["open_etcd"]


def open_etcd(url: RegistryURL) -> BackedRegistry:
    """Open `etcd://host:port,host:port?user=…&password_file=…`. The default port is 2379.

    Raises:
        ConfigError: an option is wrong.
    """
    places, tls, user = url.places(2379), url.take_tls(), take_login(url)
    check_carried(url, places, kind="password" if user else "", is_encrypted=tls is not None)
    name = url.take("layout", "fastrpc", one_of("fastrpc", "rpcx"))
    base = url.take("base", name, str)
    layout = RpcxLayout(base) if name == "rpcx" else FastrpcLayout(base)
    backend = EtcdKeys(EtcdAccess(places, tls=tls, user=user), layout, url.take("ttl", 10, whole_seconds))
    return BackedRegistry(backend, str(url), **url.take_shared())
