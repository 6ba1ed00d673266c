"""Brokers in processes of their own that keep their messages over kill and start."""

from pathlib import Path

import pytest

from tests.support.messages.broker_process import HostedBroker
from tests.support.messages.places import LEASE_SECONDS
from tests.support.registry_servers import NatsServer, RedisServer

__all__ = ["KeptBroker", "KeptNats", "KeptRedis", "kept_broker"]


class KeptNats(NatsServer):
    """Its clients end the lease of a lost subscriber soon."""

    @property
    def url(self) -> str:
        return f"{super().url}?lease={LEASE_SECONDS}"


class KeptRedis(RedisServer):
    """It appends to a file, which outlives its process."""

    @property
    def url(self) -> str:
        return f"{super().url}?lease={LEASE_SECONDS}"


KeptBroker = HostedBroker | KeptNats | KeptRedis


def kept_broker(kind: str, request: pytest.FixtureRequest, folder: Path) -> KeptBroker:
    """Return a broker of a kind that keeps messages, to be started."""
    if kind == "nats":
        return KeptNats(request.getfixturevalue("nats_path"), folder)
    if kind == "redis":
        # With everysec it answers before it has written while a slow fsync is under way: a kill may lose that.
        options = ["--appendonly", "yes", "--appendfsync", "always"]
        return KeptRedis(request.getfixturevalue("redis_path"), folder, options=options)
    return HostedBroker(folder)
