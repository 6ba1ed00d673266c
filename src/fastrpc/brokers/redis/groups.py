"""The groups of all topics, by name, for joins and for operators."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from fastrpc.brokers.base import DeadLetter, GroupState, Place
from fastrpc.brokers.base.checks import check_place, no_group
from fastrpc.brokers.redis.entries import Fields, letter_fields_of, letter_of
from fastrpc.brokers.redis.group_scripts import DISCARD, FORGET, REMOVE, REPLAY, SEEK, STATE
from fastrpc.brokers.redis.keys import entry_before, published_at, topic_key
from fastrpc.brokers.redis.link import RedisLink
from fastrpc.brokers.redis.lua import Script
from fastrpc.brokers.redis.member_scripts import BEGIN
from fastrpc.errors import ConfigError
from fastrpc.registries.redis.server import Word

__all__ = ["RedisGroups"]

#: Most dead letters of one answer: even if all are as long as possible, the answer fits the limit.
_PAGE: Final = 8


class RedisGroups:
    """The groups below a base. Each group has one topic, which the hash of all groups stores."""

    def __init__(self, link: RedisLink, base: str) -> None:
        self._link = link
        self._base = base
        self._index = f"{base}:groups"

    async def check_topic(self, name: str, topic: str) -> None:
        """Raise ConfigError if a group belongs to another topic."""
        kept = await self._link.ask(bytes | None, "HGET", self._index, name)
        other = topic if kept is None else kept.decode()
        if other != topic and await self._is_there(other, name):
            raise _other_topic(name, other, topic)

    async def begin(
        self,
        name: str,
        topic: str,
        member: str = "",
        *,
        start: str = "0",
        lease: int = 0,
        may_create: bool = True,
    ) -> tuple[bytes, bytes] | None:
        """Create a group, or find it; return its epoch, and "made", "lost" (created again) or "kept" (found).

        Args:
            member: the member that joins the group; "": no member.
            start: the entry before the first message of the group.
            lease: the lease of the member in milliseconds.

        Returns:
            None if the topic is missing, or the group is missing and must not be created.

        Raises:
            ConfigError: the group belongs to another topic.
        """
        keys = topic_key(self._base, topic), self._index
        words = name, member, start, lease, "1" if may_create else "0", self._base, topic
        told = await self._link.run(list[bytes], BEGIN, keys, words)
        if len(told) == 1:
            raise _other_topic(name, told[0].decode(), topic)
        return (told[0], told[1]) if told else None

    async def forget(self, name: str, topic: str) -> None:
        """Forget the topic of a removed group."""
        await self._link.run(int, FORGET, (topic_key(self._base, topic), self._index), (name, topic))

    async def topics(self) -> dict[str, str]:
        """Return the topic of each group."""
        kept = [one.decode() for one in await self._link.ask(list[bytes], "HGETALL", self._index)]
        return dict(zip(kept[::2], kept[1::2], strict=True))

    async def topic_of(self, name: str) -> str:
        """Return the topic of a group. BrokerError: NOT_FOUND."""
        kept = await self._link.ask(bytes | None, "HGET", self._index, name)
        topic = "" if kept is None else str(kept, "utf-8")
        if kept is None or not await self._is_there(topic, name):
            raise no_group(name)
        return topic

    async def states(self, topics: dict[str, str]) -> list[GroupState]:
        """Return the states of groups, sorted by name. `topics` has the topic of each group."""
        names = sorted(topics)
        found = await asyncio.gather(
            *[self._run(list[int | bytes], STATE, topics[name], name) for name in names]
        )
        return [_state(name, topics[name], told) for name, told in zip(names, found, strict=True) if told]

    async def seek(self, name: str, to: Place) -> None:
        """Move a group to another place."""
        check_place(to)
        topic = await self.topic_of(name)
        if not await self._run(int, SEEK, topic, name, f"{self._base}:bell:", entry_before(to)):
            raise no_group(name)

    async def remove(self, name: str, topic: str) -> None:
        """Remove a group with its dead letters."""
        if not await self._run(int, REMOVE, topic, name, f"{self._base}:bell:"):
            raise no_group(name)
        await self.forget(name, topic)

    async def dead_letters(self, name: str) -> list[DeadLetter]:
        """Return the dead letters of a group, the oldest death first."""
        topic = await self.topic_of(name)
        return [letter_of(topic, death, fields) for death, fields in await self._letters(topic, name)]

    async def replay(self, name: str, ids: Sequence[str]) -> int:
        """Redeliver the dead letters with these ids, or all, to the group. Return their number."""
        return await self._with_letters(REPLAY, name, ids)

    async def discard(self, name: str, ids: Sequence[str]) -> int:
        """Discard the dead letters with these ids, or all if no id is given. Return their number."""
        return await self._with_letters(DISCARD, name, ids)

    async def _with_letters(self, script: Script, name: str, ids: Sequence[str]) -> int:
        topic = await self.topic_of(name)
        wanted = set(ids)
        chosen = [
            death
            for death, fields in await self._letters(topic, name)
            if not ids or letter_of(topic, death, fields).id in wanted
        ]
        count = 0
        for start in range(0, len(chosen), _PAGE):
            count += await self._run(int, script, topic, name, *chosen[start : start + _PAGE])
        return count

    async def _letters(self, topic: str, name: str) -> list[tuple[bytes, Fields]]:
        found: list[tuple[bytes, Fields]] = []
        key, after = f"{topic_key(self._base, topic)}:dead:{name}", "-"
        while page := await self._link.ask(list, "XRANGE", key, after, "+", "COUNT", _PAGE):
            found += [(death, letter_fields_of(words)) for death, words in page]
            after = f"({found[-1][0].decode()}"
        return found

    async def _is_there(self, topic: str, name: str) -> bool:
        return bool(await self._link.ask(int, "EXISTS", f"{topic_key(self._base, topic)}:group:{name}"))

    def _run(self, kind: Any, script: Script, topic: str, *words: Word) -> "asyncio.Future[Any]":
        return self._link.run(kind, script, (topic_key(self._base, topic),), words)


def _state(name: str, topic: str, told: Sequence[Any]) -> GroupState:
    members, pending, under_way, beyond, replays, dead, expired, oldest, now = told
    age = now / 1000 - published_at(oldest).timestamp() if oldest else 0.0
    return GroupState(
        name=name,
        topic=topic,
        pattern=topic,
        is_ordered=False,
        members=members,
        lag=pending + beyond + replays,
        oldest_seconds=max(age, 0.0),
        under_way=under_way,
        dead=dead,
        expired=expired,
    )


def _other_topic(name: str, other: str, topic: str) -> ConfigError:
    return ConfigError(
        f"the group {name} has the pattern {other}, not {topic}",
        hint="give the new pattern a group with another name, or remove the existing group",
    )
