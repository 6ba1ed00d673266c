"""Redis 6.2 and later, and Valkey: one server, or the master that sentinels name; uses the package redis.

    server   connections, logins, answers. Stores use it too
    records  endpoints in a hash, their expiry times in a sorted set

`rediss://` is `redis://` with TLS. Options: `ttl` (seconds), `base` (`fastrpc`), `db` (0), `master` (the name of the
master; the URL then lists the sentinels), `user`, `password` or `password_file`, which is read again when it changes,
`allow_insecure`, and the options of TLS (`registries/base/urls.py`).
"""

from typing import TYPE_CHECKING

from fastrpc.errors import ConfigError, FastRPCError, StoreError
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.secrets import check_carried, take_login
from fastrpc.registries.base.urls import RegistryURL, whole_seconds

if TYPE_CHECKING:
    from fastrpc.registries.redis.server import RedisAccess

__all__ = ["open_redis", "take_access"]


def open_redis(url: RegistryURL) -> BackedRegistry:
    """Open `redis://host:port?user=…&password_file=…`, or `redis://host:port,host:port?master=NAME` for sentinels.

    The default port is 6379, or 26379 for sentinels.

    Raises:
        ConfigError: an option is wrong, or redis is not installed.
    """
    access, _ = take_access(url, StoreError)
    from fastrpc.registries.redis.records import RedisRecords

    backend = RedisRecords(access, url.take("base", "fastrpc", str), url.take("ttl", 10, whole_seconds))
    return BackedRegistry(backend, str(url), **url.take_shared())


def take_access(url: RegistryURL, error: type[FastRPCError]) -> "tuple[RedisAccess, bool]":
    """Return the access to the server of a URL, and whether sentinels name it.

    Args:
        error: the class of the errors of its clients.

    Raises:
        ConfigError: an option is wrong, or redis is not installed.
    """
    url.package("redis", "redis")
    from fastrpc.registries.redis.server import RedisAccess

    master = url.take("master", None, str)
    places = url.places(6379 if master is None else 26379)
    if len(places) > 1 and master is None:
        raise ConfigError(
            f"{url} names {len(places)} servers",
            hint="name the primary, or sentinels with ?master=NAME",
        )
    tls = url.take_tls("https" if url.scheme == "rediss" else None)
    login = take_login(url, "default")
    # Sentinels may name a server on any host.
    dialled = places if master is None else [*places, ("*", 0)]
    check_carried(url, dialled, kind="password" if login else "", is_encrypted=tls is not None)
    db = url.take("db", 0, _number)
    return RedisAccess(places, tls=tls, login=login, db=db, master=master, error=error), master is not None


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 4:
        raise ValueError("it must be the number of a database")
    return int(text)
