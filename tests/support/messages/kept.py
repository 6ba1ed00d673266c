"""Brokers in processes of their own that keep their messages over kill and start."""

from pathlib import Path

import pytest

from tests.support.kept_redis import EVERYSEC_SECONDS, LoadedRedis, kept_ids
from tests.support.messages.broker_process import HostedBroker
from tests.support.messages.ledger import Losses
from tests.support.messages.places import LEASE_SECONDS
from tests.support.messages.publisher import TOPIC
from tests.support.registry_servers import NatsServer

__all__ = ["KeptBroker", "KeptNats", "KeptRedis", "kept_broker", "losses_of"]


class KeptNats(NatsServer):
    """Its clients end the lease of a lost subscriber soon."""

    @property
    def url(self) -> str:
        return f"{super().url}?lease={LEASE_SECONDS}"


class KeptRedis(LoadedRedis):
    """It appends to a file, which outlives its process."""

    @property
    def url(self) -> str:
        return f"{super().url}?lease={LEASE_SECONDS}"

    def ids(self) -> set[str]:
        """Return the ids of the messages of the ledger."""
        return kept_ids(self, TOPIC)


KeptBroker = HostedBroker | KeptNats | KeptRedis


def kept_broker(kind: str, request: pytest.FixtureRequest, folder: Path) -> KeptBroker:
    """Return a broker of a kind that keeps messages, to be started."""
    if kind == "nats":
        return KeptNats(request.getfixturevalue("nats_path"), folder)
    if kind in ("redis", "redis-everysec"):
        fsync = "always" if kind == "redis" else "everysec"
        options = ["--appendonly", "yes", "--appendfsync", fsync]
        return KeptRedis(request.getfixturevalue("redis_path"), folder, options=options)
    return HostedBroker(folder)


def losses_of(kind: str) -> Losses:
    """Return the losses that a kill of a broker may cause.

    nats-server writes the state of a consumer ten times a second, after its answers (`flushLoop` of its store of
    consumers); a busy machine delays the write. Redis with everysec: see EVERYSEC_SECONDS.
    """
    if kind == "nats":
        return Losses(ack_seconds=0.5)
    if kind == "redis-everysec":
        return Losses(ack_seconds=EVERYSEC_SECONDS, message_seconds=EVERYSEC_SECONDS)
    return Losses()
