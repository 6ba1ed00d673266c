"""Redis 6.2 and later, and Valkey, over streams: one server, or the master that sentinels name; uses the package redis.

    keys, entries            names of keys, messages as entries of streams
    lua, *_scripts           each change is one script; their invariants stand in `lua`
    link, bells              two threads: commands, and what wakes takes
    durability               the settings that a server needs
    membership, broadcast    members
    groups, backend          groups as operators see them, the broker

Options: `sync` ("normal", or "full": each message survives a power cut), `appendfsync` (the setting of a host that
shows none), `lease` (30 seconds), `manage` ("false": no topic and no group is made), `base` (`fastrpc`), and options of
the connection, which the registry `redis://` has as well.
"""

from typing import TYPE_CHECKING

from fastrpc.errors import BrokerError, ConfigError
from fastrpc.registries.base.rpcx_record import base_path
from fastrpc.registries.base.urls import RegistryURL, one_of, truth, whole_seconds
from fastrpc.registries.redis import take_access

if TYPE_CHECKING:
    from fastrpc.brokers.redis.backend import RedisBroker

__all__ = ["open_redis"]


def open_redis(url: RegistryURL) -> "RedisBroker":
    """Return the broker `redis://host:port`, or `redis://host:port,host:port?master=NAME` for sentinels, to be entered.

    Raises:
        ConfigError: an option is wrong, or redis is not installed.
    """
    access, has_sentinels = take_access(url, BrokerError)
    from fastrpc.brokers.redis.backend import RedisBroker
    from fastrpc.brokers.redis.options import RedisOptions

    if url.path:
        raise ConfigError(f"{url} is more than a broker", hint=f"leave /{url.path} out")
    options = RedisOptions(
        url=str(url),
        scheme=url.scheme,
        base=base_path(url.take("base", "fastrpc", str)),
        sync=url.take("sync", "normal", one_of("normal", "full")),
        appendfsync=url.take("appendfsync", None, one_of("always", "everysec", "no")),
        lease=url.take("lease", 30, whole_seconds),
        may_create=url.take("manage", True, truth),
        has_sentinels=has_sentinels,
    )
    url.refuse_unread()
    return RedisBroker(access, options)
