"""A broker in a folder whose time a test moves, and damage to its file."""

from collections.abc import Sequence
from pathlib import Path

from fastrpc.brokers.base import (
    BrokerBackend,
    Delivery,
    GroupSettings,
    Membership,
    OutgoingMessage,
    TopicSettings,
)
from tests.support.messages.stopped import Times
from tests.support.messages.stopped import stopped_sqlite as stopped

__all__ = ["GROUP", "LOG", "Times", "damage", "publish", "stopped", "taken"]

LOG = TopicSettings("a")
GROUP = GroupSettings("g", "a", "oldest")


async def publish(broker: BrokerBackend, *bodies: bytes) -> None:
    await broker.publish([OutgoingMessage("a", body) for body in bodies])


async def taken(member: Membership, count: int) -> Sequence[Delivery]:
    found: list[Delivery] = []
    while len(found) < count:
        found += await member.take(count - len(found))
    return found


def damage(folder: Path, body: bytes) -> None:
    """Flip a bit of a body in the file."""
    path = folder / "broker.db"
    content = bytearray(path.read_bytes())
    content[content.index(body)] ^= 1
    path.write_bytes(content)
