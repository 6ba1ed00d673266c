"""Publish a single message, or several messages as one atomic batch."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

from nats.errors import NoRespondersError

from fastrpc.brokers.base import OutgoingMessage, Published
from fastrpc.brokers.base.checks import check_due, check_outgoing, with_id
from fastrpc.brokers.nats.link import BATCH_ID, BATCH_NUMBER, JetStreamLink
from fastrpc.brokers.nats.messages import headers_of, id_of
from fastrpc.brokers.nats.topics import FoundTopic, StreamTopics
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.hosted.verbs import PATIENCE_SECONDS
from fastrpc.status import Status
from fastrpc.time_limit import time_limit

__all__ = ["Publishing", "ServerClock"]

#: Most names whose topics are cached.
_REMEMBERED: Final = 10_000

#: Most messages of a batch: JetStream's limit.
_BATCH: Final = 1_000

#: Most open batches of this process. JetStream allows 50 per stream, for all processes together.
_BATCHES: Final = 16

#: Error code of JetStream for a batch with the id of an existing message.
_DUPLICATE: Final = 10201

#: Bytes that are reserved for the headers of a dead letter and its replay, so that each message can become one.
_RESERVED_BYTES: Final = 10 * 1024

#: _CLOCK_SECONDS: seconds for which a measured difference of clocks is used. _JUMP_SECONDS: the smallest detected jump
#: of a clock.
_CLOCK_SECONDS: Final = 60.0
_JUMP_SECONDS: Final = 0.05


class Publishing:
    """Publishes messages to the topics of one base."""

    def __init__(self, link: JetStreamLink, topics: StreamTopics) -> None:
        self._link = link
        self._topics = topics
        self._of_names: dict[str, FoundTopic] = {}
        self._run = secrets.token_hex(8)
        self._numbers = count(1)
        self._clock = ServerClock(link)
        self._batches = asyncio.Semaphore(_BATCHES)

    async def publish(self, messages: Sequence[OutgoingMessage]) -> Sequence[Published]:
        """Publish messages in this order. Up to 1,000 messages of one topic without delays are kept all or none."""
        if len(messages) == 1:
            messages = (message,) = (with_id(messages[0]),)
            check_outgoing(message)
            topic = self._of_names.get(message.topic)
            if topic is not None and not message.delay and self._link.is_ready(len(message.body)):
                # This is one request, which the connection ends within a few seconds.
                return [await self._alone(message, topic)]
        try:
            async with time_limit(PATIENCE_SECONDS) as limit:
                return await self._by_steps(messages)
        except TimeoutError as error:
            if not limit.expired():
                raise
            text = f"NATS took longer than {PATIENCE_SECONDS:g} s"
            raise BrokerError(text, status=Status.DEADLINE_EXCEEDED) from error

    async def _by_steps(self, messages: Sequence[OutgoingMessage]) -> Sequence[Published]:
        """Publish messages by several requests."""
        if len(messages) == 1:
            return [await self._alone(messages[0], await self._checked(messages[0]))]
        messages = [with_id(message) for message in messages]
        topics = [await self._checked(message) for message in messages]
        is_plain = all(topic is topics[0] for topic in topics) and not any(one.delay for one in messages)
        if not is_plain or not self._link.limits.has_delay:
            return await self._one_by_one(messages, topics)
        published: list[Published] = []
        for start in range(0, len(messages), _BATCH):
            part = messages[start : start + _BATCH]
            try:
                published += await self._batch(part, topics[0])
            except BrokerError as error:
                _note_part(error, published)
                raise
        return published

    async def _checked(self, message: OutgoingMessage) -> FoundTopic:
        """Check a message against all limits; return its topic."""
        check_outgoing(message)
        topic = self._of_names.get(message.topic)
        if topic is None:
            try:
                topic = await self._topics.covering(message.topic)
            except BrokerError as error:
                error.processed = "no"
                raise
            if topic is None:
                raise _no_topic(message.topic)
            if len(self._of_names) >= _REMEMBERED:
                self._of_names.clear()
            self._of_names[message.topic] = topic
        if message.delay:
            check_due(message, topic.settings)
            self._check_delay(message, topic)
        return topic

    def _check_delay(self, message: OutgoingMessage, topic: FoundTopic) -> None:
        if not self._link.limits.has_delay:
            fault, way_out = "needs nats-server 2.12", "update the servers"
        elif topic.settings.keep_seconds is None:
            fault, way_out = (
                f"is not for a queue, as {topic.settings.name} is one",
                "give the topic keep_seconds",
            )
        else:
            return
        raise ConfigError(
            f"delay is {message.delay}, which with nats:// {fault}",
            hint=f"{way_out}, or publish the message when it is due",
        )

    async def _alone(self, message: OutgoingMessage, topic: FoundTopic) -> Published:
        if message.delay:
            return await self._later(message, topic)
        headers = headers_of(message)
        self._check_size(message, headers)
        try:
            told = await self._link.kept(self._link.names.subject(message.topic), message.body, headers)
        except NoRespondersError:
            raise await self._unheard(message.topic) from None
        number = told["seq"]
        return self._counted(
            topic, Published(message.id or id_of(topic.run, number), number, told.get("duplicate", False))
        )

    async def _later(self, message: OutgoingMessage, topic: FoundTopic) -> Published:
        """Publish a delayed message. Its schedule has a number; when it is due, the message gets another number."""
        name, number = topic.settings.name, f"{self._run}-{next(self._numbers):x}"
        id = message.id or number
        at = await self._clock.now(self._link.names.topic_stream(name)) + timedelta(seconds=message.delay)
        headers = headers_of(message, id=id) | {
            "Nats-Schedule": f"@at {at.isoformat().replace('+00:00', 'Z')}",
            "Nats-Schedule-Target": self._link.names.subject(message.topic),
        }
        self._check_size(message, headers)
        try:
            told = await self._link.kept(self._link.names.later(name, number), message.body, headers)
        except NoRespondersError:
            raise await self._unheard(message.topic) from None
        return self._counted(topic, Published(id, told["seq"], told.get("duplicate", False)))

    async def _one_by_one(
        self, messages: Sequence[OutgoingMessage], topics: Sequence[FoundTopic]
    ) -> list[Published]:
        published: list[Published] = []
        for message, topic in zip(messages, topics, strict=True):
            try:
                published.append(await self._alone(message, topic))
            except BrokerError as error:
                _note_part(error, published)
                raise
        return published

    async def _batch(self, messages: Sequence[OutgoingMessage], topic: FoundTopic) -> list[Published]:
        """Publish messages as one batch, without messages whose id is repeated in it."""
        batch = f"{self._run}-{next(self._numbers):x}"
        asked: list[tuple[str, bytes, dict[str, str]]] = []
        # `places`: the place of each message in the batch. `of_ids`: the place of each id.
        places: list[int] = []
        of_ids: dict[str, int] = {}
        for message in messages:
            if message.id is not None and message.id in of_ids:
                places.append(of_ids[message.id])
                continue
            headers = headers_of(message)
            self._check_size(message, headers)
            asked.append((self._link.names.subject(message.topic), message.body, headers))
            headers |= {BATCH_ID: batch, BATCH_NUMBER: str(len(asked))}
            places.append(len(asked))
            if message.id is not None:
                of_ids[message.id] = len(asked)
        asked[-1][2]["Nats-Batch-Commit"] = "1"
        try:
            async with self._batches:
                last = (await self._link.kept_batch(asked))["seq"]
        except NoRespondersError:
            raise await self._unheard(messages[0].topic) from None
        except BrokerError as error:
            if getattr(error.__cause__, "err_code", None) != _DUPLICATE:
                raise
            # Some messages exist already. Publish them singly, so that each answer says whether it is a duplicate.
            return await self._one_by_one(messages, [topic] * len(messages))
        published, before = [], 0
        for message, place in zip(messages, places, strict=True):
            number = last - len(asked) + place
            published.append(Published(message.id or id_of(topic.run, number), number, place <= before))
            before = max(before, place)
        self._link.counts[topic.settings.name].published += len(asked)
        return published

    def _counted(self, topic: FoundTopic, published: Published) -> Published:
        if not published.is_duplicate:
            self._link.counts[topic.settings.name].published += 1
        return published

    def _check_size(self, message: OutgoingMessage, headers: Mapping[str, str]) -> None:
        """Check that the server accepts a message of this size, and its dead letter."""
        most = self._link.most_bytes - _RESERVED_BYTES
        # Headers are always smaller than the reserved bytes.
        if len(message.body) <= most - _RESERVED_BYTES:
            return
        size = len(message.body) + sum(len(name) + len(text.encode()) + 4 for name, text in headers.items())
        if size > most:
            raise BrokerError(
                f"a message for {message.topic} has {size} bytes with its headers, the server accepts {most}",
                status=Status.INVALID_ARGUMENT,
                processed="no",
                hint="raise max_payload of nats-server to 2MB",
            )

    async def _unheard(self, name: str) -> BrokerError:
        """Return the error of a message whose subject no stream has."""
        self._of_names.clear()
        if await self._topics.covering(name) is None:
            return _no_topic(name)
        return BrokerError(f"JetStream does not answer for {name}", processed="no", retryable=True)


class ServerClock:
    """The time of day of the server, by which delayed messages are scheduled.

    With a slow local clock, messages would be delivered too early. The difference of the clocks is measured again after
    a minute, and after a jump of the local clock.
    """

    def __init__(self, link: JetStreamLink) -> None:
        self._link = link
        self._ahead = timedelta(0)
        # `_asked_at`: the loop's time of the latest request. `_offset`: the local time of day at the request, minus
        # the loop's time.
        self._asked_at: float | None = None
        self._offset = 0.0

    async def now(self, stream: str) -> datetime:
        """Return the time of the server, or a time that is later by at most the duration of a request."""
        clock = asyncio.get_running_loop().time
        has_jumped = abs(datetime.now(UTC).timestamp() - clock() - self._offset) > _JUMP_SECONDS
        if self._asked_at is None or has_jumped or clock() - self._asked_at > _CLOCK_SECONDS:
            told = await self._link.server_time(stream)
            here = datetime.now(UTC)
            self._ahead, self._asked_at = told - here, clock()
            self._offset = here.timestamp() - self._asked_at
        return datetime.now(UTC) + self._ahead


def _note_part(error: BrokerError, published: Sequence[Published]) -> None:
    """Add to an error that the preceding messages were kept."""
    if published and error.processed == "no":
        error.processed = "unknown"


def _no_topic(name: str) -> BrokerError:
    return BrokerError(
        f"no topic holds {name}",
        status=Status.NOT_FOUND,
        processed="no",
        hint="declare it before a message is published to it",
    )
