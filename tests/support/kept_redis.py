"""Servers of Redis that keep messages, and brokers over them."""

from collections.abc import Sequence
from pathlib import Path

import redis

from fastrpc.brokers.base import Delivery, Membership, OutgoingMessage, TopicSettings
from fastrpc.brokers.broker_urls import open_backend
from fastrpc.brokers.redis.backend import RedisBroker
from tests.support.registry_servers import RedisServer

__all__ = [
    "EVERYSEC_SECONDS",
    "LOG",
    "LoadedRedis",
    "bodies",
    "kept_ids",
    "kept_server",
    "opened_redis",
    "publish",
    "taken",
]

LOG = TopicSettings("orders.new")

#: With `appendfsync everysec` Redis answers before it has written while an fsync is under way, for up to two seconds
#: ("Latency due to AOF and disk I/O" in its documentation): a kill loses the messages answered during this time. The
#: system keeps what Redis has written, so a message that is lost is in no file and in no stream.
EVERYSEC_SECONDS = 2.0


class LoadedRedis(RedisServer):
    """A server that is ready once it has read its files."""

    def is_ready(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except redis.AuthenticationError:
            # It wants a login, which this question has not.
            return True
        except redis.ConnectionError:
            # It is not there yet, or it loads.
            return False


def kept_server(
    program: str, folder: Path, *, fsync: str = "everysec", options: Sequence[str] = ()
) -> RedisServer:
    """Return a server that keeps its data over kill and start."""
    kept = ["--appendonly", "yes", "--appendfsync", fsync, "--repl-diskless-sync-delay", "0", *options]
    return LoadedRedis(program, folder, options=kept)


def kept_ids(server: RedisServer, topic: str) -> set[str]:
    """Return the ids of the messages in a log, by the commands of Redis."""
    found: set[str] = set()
    after = "-"
    while entries := server.ask("XRANGE", f"fastrpc:{{{topic}}}:log", after, "+", "COUNT", "10000"):
        found.update(fields[b"id"].decode() for _, fields in entries)
        after = f"({entries[-1][0].decode()}"
    return found


def opened_redis(server: RedisServer, options: str = "") -> RedisBroker:
    """Return a broker over a server, to be entered; `options` is the query of its URL."""
    broker = open_backend(f"{server.url}?{options}")
    assert isinstance(broker, RedisBroker)
    return broker


async def publish(broker: RedisBroker, *values: bytes, topic: str = LOG.name) -> None:
    """Publish messages without ids."""
    await broker.publish([OutgoingMessage(topic, value) for value in values])


async def taken(member: Membership, count: int) -> list[Delivery]:
    """Return the next messages of a member."""
    found: list[Delivery] = []
    while len(found) < count:
        found += await member.take(count - len(found))
    return found


def bodies(found: Sequence[Delivery]) -> list[bytes]:
    """Return the values of messages."""
    return [one.body for one in found]
