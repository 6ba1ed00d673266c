"""Check the settings of a Redis server at the start: a broker whose server may lose messages does not start."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastrpc.brokers.redis.link import RedisLink
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.status import Status

__all__ = ["check_durability", "check_settings"]

logger = logging.getLogger("fastrpc.broker")

#: The oldest server version with all commands of the scripts.
_OLDEST: Final = (6, 2)

_SETTINGS: Final = (
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "maxmemory",
    "maxmemory-policy",
)

_VERSION: Final = re.compile(rb"^redis_version:(\d+)\.(\d+)", re.MULTILINE)


async def check_durability(
    link: RedisLink, url: str, *, sync: str, stated: str | None, has_sentinels: bool
) -> None:
    """Refuse a server that does not keep messages as durably as `sync` says; warn if a fail-over may lose some.

    Args:
        stated: the option `appendfsync`, for servers that do not show their settings.

    Raises:
        ConfigError: the settings of the server are not durable enough.
        BrokerError: the server is unreachable.
    """
    version = _VERSION.search(await _allowed(link, b"", bytes, "INFO", "server"))
    if version is not None and (int(version[1]), int(version[2])) < _OLDEST:
        raise ConfigError(
            f"{url} is a server of version {int(version[1])}.{int(version[2])}, the oldest supported version is 6.2",
            hint="use a newer server",
        )
    shown: dict[str, str] = {}
    for name in _SETTINGS:
        pair = await _allowed(link, [], list[bytes], "CONFIG", "GET", name)
        if pair:
            shown[name] = pair[1].decode()
    check_settings(shown, url, sync=sync, stated=stated)
    role: Sequence[Any] = await _allowed(link, [], list, "ROLE")
    has_replicas = len(role) > 2 and bool(role[2])
    if has_sentinels or has_replicas:
        logger.warning(
            "%s has %s: a fail-over may lose kept messages, as replication is asynchronous",
            url,
            "sentinels" if has_sentinels else "replicas",
        )


def check_settings(shown: Mapping[str, str], url: str, *, sync: str, stated: str | None) -> None:
    """Raise ConfigError if the settings are less durable than `sync` says.

    With `appendfsync` set to `everysec`, Redis may answer up to two seconds before it writes, while an fsync is in
    progress. If it is killed then, these answered writes are lost. With `always` or `no` it writes before it answers.

    Args:
        shown: the settings; empty if the server hides them.
    """
    if "appendonly" not in shown:
        if stated is None:
            raise ConfigError(
                f"{url} does not show whether it keeps messages: CONFIG GET is refused",
                hint="give the login a right to CONFIG GET, or state the setting of the host: ?appendfsync=everysec",
            )
        fsync = stated
    elif shown["appendonly"] != "yes":
        raise ConfigError(
            f"{url} has appendonly {shown['appendonly']}: messages would be lost when the server ends",
            hint="set appendonly yes in the settings of the server, or use another broker",
        )
    else:
        fsync = shown.get("appendfsync", "")
        if stated not in (None, fsync):
            raise ConfigError(
                f"{url} has appendfsync {fsync}, the option appendfsync says {stated}",
                hint="leave the option out if the server shows its settings",
            )
    if sync == "full" and fsync != "always":
        raise ConfigError(
            f"{url} has appendfsync {fsync}: with sync=full each message has to survive a power cut",
            hint="set appendfsync always in the settings of the server, or write sync=normal",
        )
    if sync == "full" and shown.get("no-appendfsync-on-rewrite") == "yes":
        raise ConfigError(
            f"{url} has no-appendfsync-on-rewrite yes: a power cut while it rewrites its file may lose messages",
            hint="set no-appendfsync-on-rewrite no in the settings of the server, or write sync=normal",
        )
    policy = shown.get("maxmemory-policy", "noeviction")
    if shown.get("maxmemory", "0") != "0" and policy != "noeviction":
        raise ConfigError(
            f"{url} has maxmemory-policy {policy}: it would drop messages when its memory is full",
            hint="set maxmemory-policy noeviction, which refuses publications instead",
        )


async def _allowed(link: RedisLink, default: Any, kind: Any, *words: str) -> Any:
    """Return the answer to a query, or the default if the server refuses the query."""
    try:
        return await link.ask(kind, *words)
    except BrokerError as error:
        if error.retryable or error.status is Status.UNAUTHENTICATED:
            raise
        return default
