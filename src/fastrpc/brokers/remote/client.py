"""`broker://host:port`: the service `fastrpc.broker` as a backend."""

import asyncio
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Final, Self

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
from fastrpc.brokers.base.checks import check_outgoing, check_place, check_topic
from fastrpc.brokers.base.names import TopicPattern, check_group
from fastrpc.brokers.base.places import text_of
from fastrpc.brokers.remote.consumer import MOST_UNDER_WAY
from fastrpc.brokers.remote.faults import BROKER_ERRORS
from fastrpc.brokers.remote.membership import RemoteMembership
from fastrpc.brokers.remote.messages import MESSAGE_BYTES, sent
from fastrpc.brokers.remote.publishing import Publications
from fastrpc.brokers.remote.service import BrokerService
from fastrpc.cancelling import cancelled
from fastrpc.client.client import Client
from fastrpc.client.credentials import CredentialSource
from fastrpc.config import Timeouts
from fastrpc.hosted.remote import hosted_client
from fastrpc.hosted.verbs import PATIENCE_SECONDS
from fastrpc.registries.base.urls import RegistryURL

__all__ = ["RemoteBroker", "open_remote"]


def open_remote(url: RegistryURL, credentials: CredentialSource | None = None) -> "RemoteBroker":
    """Return the broker at `broker://host:port`. The options are the same as for `store://`.

    Raises:
        ConfigError: an option is wrong, or a token would be sent in plain text.
    """
    return RemoteBroker(
        hosted_client(
            url,
            credentials,
            service="broker",
            contents="other messages",
            timeouts=Timeouts(call=PATIENCE_SECONDS),
            message_bytes=MESSAGE_BYTES,
        )
    )


class RemoteBroker:
    """A `BrokerBackend` that calls the service `fastrpc.broker` of a server."""

    limits: Final = BrokerLimits(
        "broker", most_in_flight=MOST_UNDER_WAY, ends_in_time=True, finds_repeats=True
    )

    def __init__(self, client: Client) -> None:
        self._client = client
        self._publications = Publications(client)
        # The tasks of open memberships.
        self._members: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await cancelled(self._members)
        finally:
            await self._client.__aexit__(kind, error, traceback)
            await self._publications.finish()

    async def declare(self, topic: TopicSettings) -> None:
        """Create a topic and its groups."""
        check_topic(topic)
        with BROKER_ERRORS:
            await self._client.call(BrokerService.declare, topic)

    async def topics(self) -> Sequence[TopicSettings]:
        """Return the declared topics that the caller sees, sorted by name."""
        with BROKER_ERRORS:
            return await self._client.call(BrokerService.topics)

    async def covering(self, pattern: str) -> TopicSettings | None:
        """Return the topic that covers every name of a pattern; None if there is no such topic."""
        TopicPattern(pattern)
        with BROKER_ERRORS:
            return await self._client.call(BrokerService.covering, pattern)

    def publish(self, messages: Sequence[OutgoingMessage]) -> Coroutine[Any, Any, Sequence[Published]]:
        """Publish messages, all or none, in this order."""
        if len(messages) == 1:
            return self._publications.publish(messages[0])
        return self._publish_many(messages)

    async def _publish_many(self, messages: Sequence[OutgoingMessage]) -> Sequence[Published]:
        for message in messages:
            check_outgoing(message)
        await self._publications.release()
        with BROKER_ERRORS:
            return await self._client.call(BrokerService.publish_many, list(map(sent, messages)))

    async def join(self, group: GroupSettings) -> Membership:
        """Become a member of a group."""
        TopicPattern(group.pattern)
        check_place(group.start)
        if group.name is not None:
            check_group(group.name)
        membership = RemoteMembership(self._client, group)
        self._members.add(membership.task)
        membership.task.add_done_callback(self._members.discard)
        await membership.join()
        return membership

    async def groups(self) -> Sequence[GroupState]:
        """Return the groups that the caller sees, sorted by name."""
        with BROKER_ERRORS:
            return await self._client.call(BrokerService.groups)

    async def seek(self, group: str, to: Place) -> None:
        """Move a group to another place."""
        check_place(to)
        with BROKER_ERRORS:
            await self._client.call(BrokerService.seek, group, text_of(to))

    async def remove_group(self, group: str) -> None:
        """Remove a group with its dead letters."""
        with BROKER_ERRORS:
            await self._client.call(BrokerService.remove_group, group)

    async def dead_letters(self, group: str) -> Sequence[DeadLetter]:
        """Return the dead letters of a group, the oldest death first."""
        with BROKER_ERRORS:
            async with self._client.stream(BrokerService.dead_letters, group) as parts:
                return [letter async for part in parts for letter in part]

    async def replay(self, group: str, ids: Sequence[str]) -> int:
        """Redeliver the dead letters with these ids, or all, to the group."""
        with BROKER_ERRORS:
            return await self._client.call(BrokerService.replay, group, ids)

    async def discard(self, group: str, ids: Sequence[str]) -> int:
        """Discard the dead letters with these ids, or all if no id is given."""
        with BROKER_ERRORS:
            return await self._client.call(BrokerService.discard, group, ids)
