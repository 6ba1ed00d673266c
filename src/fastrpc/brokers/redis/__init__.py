"""The broker over streams of Redis (6.2 or later) or Valkey: one server, or the master that sentinels report.

It uses the package redis.

    keys, entries            names of keys, messages as entries of streams
    lua, *_scripts           each change is one script; `lua` documents the invariants
    link, bells              two threads: for commands, and for the channel that wakes takes
    durability               the settings that a server needs
    membership, broadcast    members
    groups, backend          groups for joins and for operators, the broker

Options: `sync` ("normal", or "full": each message survives a power cut), `appendfsync` (the setting of a server that
does not show its settings), `lease` (30 seconds), `manage` ("false": no topics and no groups are created), `base`
(`fastrpc`), and the options of the connection, which are the same as for the registry `redis://`.
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
    """Return the broker `redis://host:port`, or `redis://host:port,host:port?master=NAME` for sentinels.

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
