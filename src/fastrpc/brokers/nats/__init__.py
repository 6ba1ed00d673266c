"""The broker over NATS JetStream, `nats://host:4222`, for several machines. It uses the package nats-py.

    names       streams, consumers and subjects below one base
    jetstream   requests over one connection
    link        the connection, which is opened again after each loss; errors of the broker
    topics      topics as streams
    groups      groups as durable pull consumers
    letters     dead letters
    messages    headers of messages
    publishing  publications
    held        messages that a member holds, and the limits for the member
    member      a member of a group
    broker      the backend

Options: `replicas` (1); `lease` (30, seconds after which a message of a vanished member is delivered again); `sync`
(`normal`; `full` with `monitor=http://host:8222` of each server); `base` (`fastrpc`, the prefix of all names); `manage`
(`true`: missing streams and consumers are created); and the options of the registry for logins and TLS
(`registries/nats`).
"""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from fastrpc.brokers.base import BrokerBackend
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.registries.base.urls import RegistryURL, one_of, truth, whole_seconds

__all__ = ["open_nats"]


def open_nats(url: RegistryURL) -> BrokerBackend:
    """Return the broker at `nats://host:port,host:port?replicas=3`, for one `async with`. The default port is 4222.

    Raises:
        ConfigError: an option is wrong, or nats-py is not installed.
    """
    url.package("nats.aio.client", "nats-py")
    from fastrpc.brokers.nats.broker import NatsBroker
    from fastrpc.brokers.nats.options import NatsOptions
    from fastrpc.registries.nats.connection import take_access

    if url.path:
        raise ConfigError(
            f"{url} has a path, which nats:// does not use", hint="write a prefix of all names as ?base="
        )
    access = take_access(url, BrokerError)
    sync, monitors = url.take("sync", "normal", one_of("normal", "full")), url.take_all("monitor")
    _check_sync_options(url, sync, monitors)
    options = NatsOptions(
        base=url.take("base", "fastrpc", _base),
        manages=url.take("manage", True, truth),
        replicas=url.take("replicas", 1, _replicas),
        lease_seconds=url.take("lease", 30, whole_seconds),
        sync=sync,
        monitors=tuple(monitors),
    )
    url.refuse_unread()
    return NatsBroker(access, options)


def _check_sync_options(url: RegistryURL, sync: str, monitors: Sequence[str]) -> None:
    if sync == "full" and not monitors:
        raise ConfigError(
            f"{url}: sync=full needs the option monitor, as JetStream does not report whether it syncs",
            hint="add monitor=http://host:8222 for each server, or leave sync out",
        )
    if sync == "normal" and monitors:
        raise ConfigError(f"{url}: monitor has no effect without sync=full", hint="add sync=full")
    for monitor in monitors:
        parts = urlsplit(monitor)
        if parts.scheme != "http" or not parts.hostname or not parts.port or parts.path.strip("/"):
            raise ConfigError(f"{url}: the option monitor is {monitor!r}, it must be http://host:8222")


def _base(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise ValueError("it must be letters, digits, `_` and `-`")
    return text


def _replicas(text: str) -> int:
    if text not in {"1", "2", "3", "4", "5"}:
        raise ValueError("it must be 1 to 5, as servers of NATS allow")
    return int(text)
