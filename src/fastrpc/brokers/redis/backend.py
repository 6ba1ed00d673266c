"""The broker over streams of Redis."""

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from fastrpc.brokers.base import (
    BrokerLimits,
    DeadLetter,
    GroupSettings,
    GroupState,
    Membership,
    OutgoingMessage,
    Place,
    Published,
    TopicSettings,
)
from fastrpc.brokers.base.checks import check_outgoing, check_place, check_same, check_topic, with_id
from fastrpc.brokers.base.names import TopicPattern, check_group, check_name
from fastrpc.brokers.local.counts import TopicCounts
from fastrpc.brokers.observed.figures import BrokerFigures
from fastrpc.brokers.observed.recent_groups import RecentGroups
from fastrpc.brokers.redis.bells import Bells
from fastrpc.brokers.redis.broadcast import Broadcast
from fastrpc.brokers.redis.durability import check_durability
from fastrpc.brokers.redis.entries import words_of
from fastrpc.brokers.redis.groups import RedisGroups
from fastrpc.brokers.redis.keys import entry_before, milliseconds, sequence_of, topic_key
from fastrpc.brokers.redis.link import RedisLink
from fastrpc.brokers.redis.lua import Script
from fastrpc.brokers.redis.membership import RedisMembership, stop_waiting
from fastrpc.brokers.redis.options import RedisOptions
from fastrpc.brokers.redis.topic_scripts import DECLARE, PUBLISH, TEND
from fastrpc.cancelling import cancelled
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.registries.redis.server import RedisAccess, Word
from fastrpc.status import Status
from fastrpc.together import together

__all__ = ["RedisBroker"]

logger = logging.getLogger("fastrpc.broker")

_decode_topic: Final = msgspec.json.Decoder(TopicSettings).decode
_encode_topic: Final = msgspec.json.Encoder().encode


class RedisBroker:
    """A broker that keeps messages in streams of Redis, for one event loop."""

    link: RedisLink
    _groups: RedisGroups
    _bells: Bells
    _tending: asyncio.Task[None]

    def __init__(self, access: RedisAccess, options: RedisOptions) -> None:
        self.limits = BrokerLimits(
            options.scheme,
            has_patterns=False,
            has_delay=False,
            has_order=False,
            has_max_bytes=False,
            queue_groups=1,
            finds_repeats=True,
        )
        self.lease = options.lease
        self._options = options
        self._access = access
        self._base = options.base
        self._process = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self.channel = f"{self._base}:bell:{self._process}"
        # The topics that this process uses and maintains, see `_tend`.
        self._topics: dict[str, TopicSettings] = {}
        self._members: set[RedisMembership | Broadcast] = set()
        self._by_name: dict[str, RedisMembership] = {}
        self._recent = RecentGroups(self.groups)
        #: The counters of messages that this process published and settled, by topic.
        self.counts: defaultdict[str, TopicCounts] = defaultdict(TopicCounts)
        #: The figures that monitors read while the broker is open.
        self.figures = BrokerFigures(lambda: self.counts, self._recent)

    async def __aenter__(self) -> Self:
        options = self._options
        self.link = RedisLink(self._access.connect())
        try:
            await check_durability(
                self.link,
                options.url,
                sync=options.sync,
                stated=options.appendfsync,
                has_sentinels=options.has_sentinels,
            )
        except BaseException:
            await self.link.close()
            raise
        self._groups = RedisGroups(self.link, self._base)
        self._bells = Bells(self._access.connect(), self.channel, self._on_messages)
        self._tending = asyncio.create_task(self._tend_on(), name="fastrpc-redis")
        self.figures.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._recent.end()
            await cancelled([self._tending])
            # If the server is unreachable, the leases expire.
            with contextlib.suppress(BrokerError):
                await together(member.close() for member in list(self._members))
            await self.link.close()
            await self._bells.close()
        finally:
            self.figures.end()

    # Topics

    async def declare(self, topic: TopicSettings) -> None:
        """Create a topic, and the groups of a queue."""
        check_topic(topic)
        if not self._options.may_create:
            present = await self.covering(topic.name)
            if present is None:
                raise ConfigError(
                    f"there is no topic {topic.name}, and manage=false forbids creating it",
                    hint="declare it in a program without manage=false",
                )
            check_same(topic, present)
            return
        for name in topic.groups:
            await self._groups.check_topic(name, topic.name)
        keep = "" if topic.keep_seconds is None else milliseconds(topic.keep_seconds)
        told = _encode_topic(topic)
        words = told, milliseconds(topic.dedupe_seconds), keep
        kept = await self._run(bytes, DECLARE, topic.name, *words)
        check_same(topic, _decode_topic(kept))
        await self.link.ask(int, "HSET", f"{self._base}:topics", topic.name, kept)
        for name in topic.groups:
            await self._groups.begin(name, topic.name)
        self._topics[topic.name] = topic

    async def topics(self) -> Sequence[TopicSettings]:
        """Return the declared topics, sorted by name."""
        kept = await self.link.ask(list[bytes], "HVALS", f"{self._base}:topics")
        return sorted((_decode_topic(one) for one in kept), key=lambda topic: topic.name)

    async def covering(self, pattern: str) -> TopicSettings | None:
        """Return the topic of a name; None if there is no such topic."""
        if not TopicPattern(pattern).is_name:
            return None
        kept = await self.link.ask(bytes | None, "HGET", topic_key(self._base, pattern), "settings")
        if kept is None:
            return None
        topic = self._topics[pattern] = _decode_topic(kept)
        return topic

    async def publish(self, messages: Sequence[OutgoingMessage]) -> Sequence[Published]:
        """Publish messages of one topic, all or none, in this order."""
        if not messages:
            return ()
        name = messages[0].topic
        key = topic_key(self._base, name)
        keys, words, ids = [key], list[Word](), list[str]()
        for message in map(with_id, messages):
            check_outgoing(message)
            self._check(message, name)
            id = message.id
            if id is None:
                id = f"{self._process}-{next(self._numbers):x}"
            else:
                keys.append(f"{key}:id:{id}")
            fields = words_of(message, id)
            words += ("0" if message.id is None else "1", len(fields), *fields)
            ids.append(id)
        kept = await self.link.run(list[bytes | int], PUBLISH, keys, words)
        if not kept:
            check_name(name)
            self._topics.pop(name, None)
            raise BrokerError(
                f"no topic holds {name}",
                status=Status.NOT_FOUND,
                processed="no",
                hint="declare the topic before you publish to it",
            )
        self.counts[name].published += kept[1::2].count(0)
        return [
            Published(id, sequence_of(entry), bool(is_duplicate))
            for id, entry, is_duplicate in zip(ids, kept[::2], kept[1::2], strict=True)
        ]

    def _check(self, message: OutgoingMessage, name: str) -> None:
        if message.topic != name:
            raise BrokerError(
                f"messages for {name} and {message.topic} are published together, which redis:// cannot do atomically",
                status=Status.INVALID_ARGUMENT,
                processed="no",
                hint="publish the messages of each topic in a separate call",
            )
        if message.delay:
            raise BrokerError(
                f"a message for {name} has a delay, which {self.limits.scheme}:// does not have",
                status=Status.INVALID_ARGUMENT,
                processed="no",
                hint="publish the message when it is due",
            )

    # Groups

    async def join(self, group: GroupSettings) -> Membership:
        """Become a member of a group."""
        check_place(group.start)
        name = group.name
        if name is not None:
            check_group(name)
            await self._groups.check_topic(name, group.pattern)
        topic = await self.covering(group.pattern)
        if topic is None:
            raise ConfigError(
                f"no topic covers {group.pattern}",
                hint="declare a topic, or subscribe to the name of a declared topic",
            )
        await self._bells.hear()
        key = topic_key(self._base, topic.name)
        if name is None:
            broadcast = Broadcast(self, topic, key, group)
            await broadcast.begin()
            self._members.add(broadcast)
            return broadcast
        if topic.keep_seconds is None and name not in topic.groups:
            raise ConfigError(
                f"the queue {topic.name} has no group other than {', '.join(topic.groups)}",
                hint="a queue names all its groups when it is declared",
            )
        member = f"{self._process}.{next(self._numbers)}"
        epoch = await self._begin(topic, name, member, entry_before(group.start))
        membership = RedisMembership(self, topic, key, group, member, epoch)
        self._members.add(membership)
        self._by_name[member] = membership
        return membership

    async def _begin(self, topic: TopicSettings, name: str, member: str, start: str) -> bytes:
        may_create, lease = self._options.may_create, milliseconds(self.lease)
        told = await self._groups.begin(
            name, topic.name, member, start=start, lease=lease, may_create=may_create
        )
        if not told:
            raise ConfigError(
                f"the topic {topic.name} has no group {name}, and manage=false forbids creating it",
                hint="let a program without manage=false join it first",
            )
        epoch, outcome = told
        if outcome == b"lost":
            self._tell_lost(name)
        return epoch

    def _tell_lost(self, name: str) -> None:
        logger.error("the group %s was lost at the server: it begins at the oldest message", name)

    async def restore(self, topic: TopicSettings, group: GroupSettings, member: str) -> bytes:
        """Create a group again that the server has lost; return its epoch."""
        name = group.name or ""
        if not self._options.may_create:
            raise BrokerError(
                f"the group {name} was lost at the server, and manage=false forbids creating it",
                status=Status.NOT_FOUND,
                processed="no",
            )
        await self.declare(topic)
        told = await self._groups.begin(name, topic.name, member, lease=milliseconds(self.lease))
        if told is None:
            raise BrokerError(f"the server has lost the topic {topic.name}", processed="no", retryable=True)
        epoch, outcome = told
        if outcome != b"kept":
            self._tell_lost(name)
        return epoch

    async def groups(self) -> Sequence[GroupState]:
        """Return all groups but broadcasts, sorted by name."""
        for topic in set((await self._groups.topics()).values()):
            await self._tend(topic)
        return await self._groups.states(await self._groups.topics())

    async def seek(self, group: str, to: Place) -> None:
        """Move a group to another place."""
        await self._groups.seek(group, to)
        self._lose(group)

    async def remove_group(self, group: str) -> None:
        """Remove a group with its dead letters."""
        topic = await self._groups.topic_of(group)
        settings = await self.covering(topic)
        if settings is not None and settings.keep_seconds is None:
            raise BrokerError(
                f"the queue {topic} needs its group {group}",
                status=Status.FAILED_PRECONDITION,
                processed="no",
            )
        await self._groups.remove(group, topic)
        self._lose(group)

    async def dead_letters(self, group: str) -> Sequence[DeadLetter]:
        """Return the dead letters of a group, the oldest death first."""
        return await self._groups.dead_letters(group)

    async def replay(self, group: str, ids: Sequence[str]) -> int:
        """Redeliver the dead letters with these ids, or all, to the group."""
        return await self._groups.replay(group, ids)

    async def discard(self, group: str, ids: Sequence[str]) -> int:
        """Discard the dead letters with these ids, or all if no id is given."""
        return await self._groups.discard(group, ids)

    # Time

    def report(self, topic: TopicSettings, reports: Iterable[Sequence[Any]]) -> None:
        """Log events for operators, and count lost messages."""
        for name, event, number in reports:
            group = name.decode()
            if event == b"expired":
                self.counts[topic.name].expired += number
                logger.error(
                    "the group %s is too slow: %d messages of %s were dropped before it handled them",
                    group,
                    number,
                    topic.name,
                )
            else:
                logger.error(
                    "the group %s is removed: it had no member for %s seconds", group, topic.keep_seconds
                )

    def forget(self, membership: RedisMembership | Broadcast) -> None:
        """Stop renewing the leases of a membership."""
        self._members.discard(membership)
        if isinstance(membership, RedisMembership):
            self._by_name.pop(membership.name, None)

    async def _tend_on(self) -> None:
        is_away = False
        while True:
            await asyncio.sleep(self.lease / 3)
            try:
                await together(member.renew() for member in list(self._members))
                await together(self._tend(topic) for topic in list(self._topics))
                is_away = False
            except BrokerError as error:
                if not is_away:
                    logger.warning("leases of messages are not renewed: %s", error)
                is_away = True
            except Exception:
                logger.exception("leases of messages are not renewed")

    async def _tend(self, topic: str) -> None:
        """Remove old messages, members whose leases have expired, and groups without members."""
        may_remove = "1" if self._options.may_create else "0"
        reports = await self._run(list, TEND, topic, "", may_remove)
        if reports:
            settings = self._topics.get(topic) or await self.covering(topic)
            if settings is not None:
                self.report(settings, reports)
            for name, event, _ in reports:
                if event == b"removed":
                    await self._groups.forget(name.decode(), topic)

    def _on_messages(self, contents: set[bytes] | None) -> None:
        if contents is None:
            # Some messages of the channel may have been lost.
            for member in list(self._members):
                member.bell.ring()
            return
        for content in contents:
            # The lines of a message: the key of a topic; optionally a group; optionally a member to wake. A group
            # without a member means that all its members have lost their messages.
            key, *names = content.decode().split("\n")
            if len(names) == 2:
                self._wake(key, *names)
                continue
            for member in [one for one in self._members if one.key == key]:
                if not names and member.group.name is None:
                    member.bell.ring()
                elif names == [member.group.name]:
                    member.lose_all()
                    member.bell.ring()

    def _wake(self, key: str, group: str, name: str) -> None:
        """Wake a member for a message of its group. If it has no waiting take, wake another member of the group."""
        member = self._by_name.get(name)
        if member is not None:
            member.bell.ring()
        if member is None or not member.is_taking:
            stop_waiting(self.link, key, group, name)

    def _lose(self, group: str) -> None:
        for member in self._members:
            if member.group.name == group:
                member.lose_all()
                member.bell.ring()

    def _run(self, kind: Any, script: Script, topic: str, *words: Word) -> "asyncio.Future[Any]":
        return self.link.run(kind, script, (topic_key(self._base, topic),), words)
