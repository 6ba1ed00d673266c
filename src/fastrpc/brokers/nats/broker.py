"""The broker over NATS: topics, groups and members of one base."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

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
from fastrpc.brokers.base.checks import check_place
from fastrpc.brokers.base.names import check_group
from fastrpc.brokers.nats.groups import Groups
from fastrpc.brokers.nats.letters import LetterStreams
from fastrpc.brokers.nats.link import JetStreamLink
from fastrpc.brokers.nats.member import NatsMembership, removed
from fastrpc.brokers.nats.options import NatsOptions
from fastrpc.brokers.nats.publishing import Publishing
from fastrpc.brokers.nats.topics import StreamTopics
from fastrpc.brokers.observed.figures import BrokerFigures
from fastrpc.brokers.observed.recent_groups import RecentGroups
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.registries.nats.connection import NatsAccess

__all__ = ["NatsBroker"]


class NatsBroker:
    """A broker that keeps messages in JetStream, for one event loop."""

    def __init__(self, access: NatsAccess, options: NatsOptions) -> None:
        self._link = JetStreamLink(access, options)
        self._groups = Groups(self._link)
        self._topics = StreamTopics(self._link, self._groups)
        self._letters = LetterStreams(self._link)
        self._publishing = Publishing(self._link, self._topics)
        self._members: set[NatsMembership] = set()
        self._recent = RecentGroups(self.groups)
        #: The figures that monitors read while the broker is open.
        self.figures = BrokerFigures(lambda: self._link.counts, self._recent)

    @property
    def limits(self) -> BrokerLimits:
        """The abilities of the server; before the first connection, the abilities of a recent server."""
        return self._link.limits

    async def __aenter__(self) -> Self:
        try:
            await self._link.connected()
        except BrokerError as error:
            # Fail the start only if a setting is wrong. After any other error, later calls connect again.
            if not error.retryable:
                await self._link.close()
                raise
        except BaseException:
            await self._link.close()
            raise
        self.figures.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._recent.end()
            for member in list(self._members):
                member.fail(BrokerError("the broker is closed", processed="no"))
            await self._link.close()
            for member in list(self._members):
                await member.close()
        finally:
            self.figures.end()

    async def declare(self, topic: TopicSettings) -> None:
        """Create a topic and its groups."""
        await self._topics.declare(topic)

    async def topics(self) -> Sequence[TopicSettings]:
        """Return the declared topics, sorted by name."""
        return await self._topics.all()

    async def covering(self, pattern: str) -> TopicSettings | None:
        """Return the topic that covers every name of a pattern; None if there is no such topic."""
        topic = await self._topics.covering(pattern)
        return None if topic is None else topic.settings

    async def publish(self, messages: Sequence[OutgoingMessage]) -> Sequence[Published]:
        """Publish messages, in this order."""
        return await self._publishing.publish(messages)

    async def join(self, group: GroupSettings) -> Membership:
        """Become a member of a group."""
        check_place(group.start)
        if group.name is not None:
            check_group(group.name)
        topic = await self._topics.covering(group.pattern)
        if topic is None:
            raise ConfigError(
                f"no topic covers {group.pattern}",
                hint="declare a topic, or subscribe to a pattern that one topic covers",
            )
        found, info = await self._groups.join(group, topic.settings)
        return NatsMembership(self._link, self._groups, found, topic.run, info, self._members)

    async def groups(self) -> Sequence[GroupState]:
        """Return all groups but broadcasts, sorted by name."""
        return await self._groups.states(lambda name: len(self._members_of(name)))

    async def seek(self, group: str, to: Place) -> None:
        """Move a group to another place."""
        info = await self._groups.seek(group, to)
        for member in self._members_of(group):
            member.move(info)

    async def remove_group(self, group: str) -> None:
        """Remove a group with its dead letters."""
        await self._groups.remove(group)
        for member in self._members_of(group):
            member.fail(removed(group))

    async def dead_letters(self, group: str) -> Sequence[DeadLetter]:
        """Return the dead letters of a group, the oldest death first."""
        return await self._letters.all(await self._groups.present(group))

    async def replay(self, group: str, ids: Sequence[str]) -> int:
        """Redeliver the dead letters with these ids, or all, to the group."""
        return await self._letters.replay(await self._groups.present(group), ids)

    async def discard(self, group: str, ids: Sequence[str]) -> int:
        """Discard the dead letters with these ids, or all if no id is given."""
        return await self._letters.discard(await self._groups.present(group), ids)

    def _members_of(self, name: str) -> list[NatsMembership]:
        return [member for member in self._members if member.group.name == name]
