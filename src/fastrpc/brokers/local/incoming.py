"""Check published messages, detect duplicates, and append the others to their topics."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from itertools import count
from typing import TypeAlias

import msgspec

from fastrpc.brokers.base import OutgoingMessage, Published
from fastrpc.brokers.base.checks import check_due, check_outgoing, sizes_of
from fastrpc.brokers.local.records import RECORD_BYTES, Record
from fastrpc.brokers.local.repeats import Repeats
from fastrpc.brokers.local.topic import KeptTopic
from fastrpc.brokers.local.topics import Topics

__all__ = ["IncomingMessages"]

#: The topic of a message, the message, its size, and the number of an earlier message with the same id.
_Planned: TypeAlias = tuple[KeptTopic, OutgoingMessage, int, int | None]


class IncomingMessages:
    """Appends published messages to topics."""

    def __init__(self, topics: Topics, repeats: Repeats) -> None:
        self._topics = topics
        self._repeats = repeats
        # The prefix of the ids that are made for messages without an id.
        self._run = secrets.token_hex(8)
        self._ids = count(1)

    def publish(
        self, messages: Sequence[OutgoingMessage], now: float, wall: datetime
    ) -> tuple[list[Published], list[Record]]:
        """Append messages to their topics; see `BrokerCore.publish`."""
        if len(messages) == 1:
            return self._publish_one(messages[0], now, wall)
        topic = self._plain_topic(messages)
        if topic is not None:
            sizes = [RECORD_BYTES + size for size in sizes_of(messages)]
            topic.check_room(len(sizes), sum(sizes), max(sizes), now, adds_ids=False)
            ids = [message.made_id or self._made_id() for message in messages]
            records = topic.append(zip(messages, ids, sizes, strict=True), now, wall)
            return [Published(record.id, record.sequence) for record in records], records
        plan = [self._planned(message, now) for message in messages]
        self._check_room(plan, now)
        published: list[Published] = []
        records = []
        for topic, message, size, number in plan:
            id = message.id
            if id is None:
                id = message.made_id or self._made_id()
            elif number is None:
                # An earlier message of the same call may have the same id.
                number = topic.ids.find(id, now)
            if number is not None:
                published.append(Published(id, number, True))
                continue
            (record,) = topic.append([(message, id, size)], now, wall)
            records.append(record)
            published.append(Published(id, record.sequence))
        return published, records

    def _publish_one(
        self, message: OutgoingMessage, now: float, wall: datetime
    ) -> tuple[list[Published], list[Record]]:
        """Append a single message. This is the fast path, as programs mostly publish one message at a time."""
        topic, message, size, number = self._planned(message, now)
        id = message.id or message.made_id
        if number is not None:
            assert id is not None
            return [Published(id, number, True)], []
        topic.check_room(1, size, size, now, adds_ids=message.id is not None)
        if id is None:
            id = self._made_id()
        records = topic.append(((message, id, size),), now, wall)
        return [Published(id, records[0].sequence)], records

    def _plain_topic(self, messages: Sequence[OutgoingMessage]) -> KeptTopic | None:
        """Return the topic if all messages have the same topic and no id that must be looked up; else None."""
        if not messages:
            return None
        name = messages[0].topic
        topic = self._topics.holding(name)
        if topic is not None and not topic.ids.size:
            for message in messages:
                if message.topic != name or message.id is not None or message.delay or message.age:
                    return None
            return topic
        return None

    def _made_id(self) -> str:
        return f"{self._run}-{next(self._ids):x}"

    def _planned(self, message: OutgoingMessage, now: float) -> _Planned:
        topic = self._topics.of(message.topic)
        size = RECORD_BYTES + check_outgoing(message)
        if message.delay:
            check_due(message, topic.settings)
        number = None
        if message.id is not None:
            number = topic.ids.find(message.id, now)
        elif (message.age or topic.ids.size) and (made_id := message.made_id) is not None:
            # The first attempt may arrive after its repeat: it was sent on a connection that the client has abandoned.
            number = topic.ids.find(made_id, now)
            if number is None and message.age:
                number = self._repeats.find(topic, made_id, message.age, now)
                message = msgspec.structs.replace(message, id=made_id)
        return topic, message, size, number

    def _check_room(self, plan: Sequence[_Planned], now: float) -> None:
        sizes: dict[KeptTopic, list[int]] = {}
        fresh: set[tuple[KeptTopic, str | None]] = set()
        for topic, message, size, number in plan:
            if number is None and (message.id is None or (topic, message.id) not in fresh):
                sizes.setdefault(topic, []).append(size)
                if message.id is not None:
                    fresh.add((topic, message.id))
        with_ids = {topic for topic, _ in fresh}
        for topic, needed in sizes.items():
            topic.check_room(len(needed), sum(needed), max(needed), now, adds_ids=topic in with_ids)
