"""A broker of this process with a clock that each test sets."""

from datetime import UTC, datetime, timedelta

from fastrpc.brokers.base import Delivery, GroupSettings, OutgoingMessage, Published, TopicSettings
from fastrpc.brokers.local.core import BrokerCore
from fastrpc.brokers.local.group import MessageGroup
from fastrpc.brokers.local.records import Change, GroupMember, Record

__all__ = ["WALL", "Scene"]

WALL = datetime(2026, 1, 1, tzinfo=UTC)


class Scene:
    """A broker with one topic, `a`, and one member of its group, `g`, by default."""

    def __init__(
        self,
        topic: TopicSettings | None = None,
        *,
        is_ordered: bool = False,
        start: str = "new",
        settings: GroupSettings | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        self.now = 100.0
        self.told: list[str] = []
        self.changes: list[Change] = []
        self.core = BrokerCore(self.changes.append, self.told.append, cache_bytes=cache_bytes)
        self.core.declare(topic or TopicSettings("a"), self.now)
        self.settings = settings or GroupSettings("g", "a", start, is_ordered)
        self.group, self.member = self.join()

    @property
    def wall(self) -> datetime:
        return WALL + timedelta(seconds=self.now)

    def join(self, settings: GroupSettings | None = None) -> tuple[MessageGroup, GroupMember]:
        return self.core.join(settings or self.settings, self.now, self.wall)

    def keep(self, *messages: OutgoingMessage) -> tuple[list[Published], list[Record]]:
        return self.core.publish(messages, self.now, self.wall)

    def publish(self, *messages: OutgoingMessage) -> list[Published]:
        published, records = self.keep(*messages)
        self.core.committed(records, self.now)
        return published

    def put(self, *bodies: str, key: str | None = None, delay: float = 0.0) -> None:
        self.publish(*(OutgoingMessage("a", body.encode(), key, delay=delay) for body in bodies))

    def take(self, most: int = 10) -> list[Delivery]:
        return self.core.take(self.group, self.member, most, self.now)

    def taken(self, most: int = 10) -> list[str]:
        return [one.body.decode() for one in self.take(most)]

    def again(self, delivery: Delivery, pause: float) -> None:
        assert self.group.retry(delivery.token, pause, self.now)

    def lag(self) -> list[int]:
        return [group.lag for group in self.core.groups(self.now)]
