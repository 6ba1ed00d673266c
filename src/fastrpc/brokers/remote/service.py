"""A broker as a service: topics in memory or in a folder, for many processes.

`consume` is a bidirectional stream with the messages and settlements of one member. `pull` and `settle` are unary
calls for languages without streams. `follow` is for readers that settle nothing, such as server-sent events.
"""

import asyncio
import logging
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from fastrpc._core.calls.call import current_call
from fastrpc.brokers.base import DeadLetter, GroupSettings, GroupState, Published, TopicSettings
from fastrpc.brokers.base.checks import check_topic
from fastrpc.brokers.base.names import TopicPattern, check_group
from fastrpc.brokers.base.places import place_of
from fastrpc.brokers.base.texts import copied_headers
from fastrpc.brokers.embedded import EmbeddedBroker, utc_now
from fastrpc.brokers.memory import MemoryBroker
from fastrpc.brokers.remote.consumer import Consumer
from fastrpc.brokers.remote.faults import TOLD
from fastrpc.brokers.remote.messages import (
    MESSAGE_BYTES,
    ConsumeRequest,
    ConsumeResult,
    DeliveredMessage,
    PublishedMessage,
    PulledMessage,
    PulledSettlement,
    outgoing,
    weight,
)
from fastrpc.brokers.remote.pulled import LONGEST_WAIT_SECONDS, PulledMessages
from fastrpc.brokers.remote.rights import BrokerRights
from fastrpc.brokers.remote.taking import followed
from fastrpc.config import TLS, Limits, ServerConfig
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.hosted.draining import draining
from fastrpc.hosted.rights import ServiceRights
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import service
from fastrpc.server.health import HealthSource

__all__ = ["BrokerService", "broker_config"]

logger = logging.getLogger("fastrpc.broker")

#: Approximate bytes of the dead letters in one message of the stream of `dead_letters`.
_LETTERS_BYTES: Final = 1024 * 1024


def broker_config(tls: TLS | None) -> ServerConfig:
    """Return the settings of a server of the service."""
    return ServerConfig(tls=tls, limits=Limits(message_bytes=MESSAGE_BYTES))


@service("fastrpc.broker", version="1")
class BrokerService(HealthSource):
    """A broker for clients with `broker://host:port`.

    After a commit whose outcome is unknown every call fails, and the health of the service is NOT_SERVING.

    Args:
        data_dir: a folder that keeps messages across restarts; None keeps them in memory only.
        sync: "full" keeps messages across a power loss, "normal" only across the end of the process.
        rights: the rights of callers; None: every caller has all rights.
        clock: returns an instant in seconds that never decreases.
        wall: returns the time of day, in UTC.

    Attributes:
        failure: the error that stopped the broker; None while it serves, and after it is entered again.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        sync: Literal["full", "normal"] = "full",
        rights: ServiceRights | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        if sync not in ("full", "normal"):
            raise ConfigError(f"sync is {sync!r}, it must be full or normal")
        self._folder = None if data_dir is None else Path(data_dir)
        self._sync: Literal["full", "normal"] = sync
        self._clock, self._wall = clock, wall
        self._rights = BrokerRights(rights)
        self._backend: EmbeddedBroker | None = None
        self.failure: BrokerError | None = None
        self._failed = asyncio.Event()
        self._pulled = PulledMessages()
        # By group.
        self._consumers: defaultdict[str, set[Consumer]] = defaultdict(set)

    async def __aenter__(self) -> Self:
        backend = self._made()
        # Forget the failure of an earlier run.
        self.failure = None
        self._failed.clear()
        self._backend = await backend.__aenter__()
        self.set_serving(True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        backend, self._backend = self._backend, None
        await self._pulled.close()
        if backend is not None:
            await backend.__aexit__(kind, error, traceback)

    def shown(self, most_rows: int) -> dict[str, Any] | None:
        """Return the topics and groups for the admin page, without messages; None while the broker is closed."""
        return None if self._backend is None else self._backend.figures.shown(most_rows)

    async def failed(self) -> BrokerError:
        """Wait until an error stops the broker; return the error."""
        await self._failed.wait()
        assert self.failure is not None
        return self.failure

    @property
    def backend(self) -> EmbeddedBroker:
        """The broker below, which does not check rights. BrokerError: it is closed."""
        if self._backend is None:
            raise BrokerError("the broker is closed", processed="no", retryable=True)
        return self._backend

    # Messages in

    @method
    async def publish(
        self,
        topic: str,
        body: bytes,
        key: str | None = None,
        id: str | None = None,
        delay: float = 0.0,
        headers: Mapping[str, str] | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> Published:
        """Publish a message; return once the broker has stored it.

        Without an id the broker makes one. NOT_FOUND: no topic covers the name; declare it first.
        RESOURCE_EXHAUSTED: a queue or the disk is full.
        """
        with TOLD:
            self._rights.check_publish((topic,))
            message = PublishedMessage(topic, body, key, id, delay, headers, trace)
            return (await self.backend.publish([outgoing(message, _caller())]))[0]

    @method
    async def publish_many(self, messages: Sequence[PublishedMessage]) -> Sequence[Published]:
        """Publish messages, all or none, in this order. The call can be repeated safely if all messages have an id.

        A message with an `age` has an id that the client made, see `PublishedMessage`.
        """
        publisher = _caller()
        with TOLD:
            self._rights.check_publish(message.topic for message in messages)
            return await self.backend.publish([outgoing(message, publisher) for message in messages])

    # Messages out

    @method
    async def consume(
        self,
        requests: AsyncIterator[ConsumeRequest],
        pattern: str,
        group: str | None = None,
        start: str = "new",
        ordered: bool = False,
    ) -> AsyncIterator[ConsumeResult]:
        """Be a member of a group, or without `group` of a broadcast, as long as the stream lasts.

        Each request for messages is answered by one batch, which is sent once there is a message. The caller settles
        each message by its number. At the end of the stream, unsettled messages are delivered to other members. A new
        group starts at `start`: "oldest", "new", an instant or a sequence number.
        """
        check = self._checked(pattern, group)
        with draining() as drain, TOLD:
            membership = await self.backend.join(GroupSettings(group, pattern, place_of(start), ordered))
            consumer = Consumer(membership, check)
            consumers = self._consumers[group or ""]
            consumers.add(consumer)
            try:
                yield ConsumeResult()
                consumer.begin(requests, drain)
                while (result := await consumer.next()) is not None:
                    yield result
            finally:
                consumers.discard(consumer)
                await consumer.close()
                # In the meantime other members may have joined and created a new set for the group.
                if not consumers and self._consumers.get(group or "") is consumers:
                    del self._consumers[group or ""]

    @method
    async def follow(
        self, pattern: str, group: str | None = None, start: str = "new"
    ) -> AsyncIterator[DeliveredMessage]:
        """Yield messages of a broadcast or of a group, for readers that cannot settle them.

        A message of a group is acknowledged once the connection has accepted it. If the connection is lost, messages in
        transit are lost for the group; all others are delivered again.
        """
        check = self._checked(pattern, group)
        with draining() as drain, TOLD:
            membership = await self.backend.join(GroupSettings(group, pattern, place_of(start)))
            async with aclosing(followed(membership, check, drain)) as messages:
                async for one in messages:
                    yield one

    @method(timeout=LONGEST_WAIT_SECONDS + 10)
    async def pull(
        self,
        pattern: str,
        group: str,
        most: int = 1,
        wait_seconds: float = 0.0,
        lease_seconds: float = 30.0,
        start: str = "new",
        ordered: bool = False,
    ) -> Sequence[PulledMessage]:
        """Return messages of a group, to be settled within their lease; an empty list if no message arrives in time.

        When a lease expires, its message is delivered again immediately, with the next delivery number. This includes
        messages whose answer was lost. The verb `renew` of `settle` extends a lease.
        """
        check = self._checked(pattern, group)
        with draining() as drain, TOLD:
            settings = GroupSettings(group, pattern, place_of(start), ordered)
            seconds = (wait_seconds, lease_seconds)
            found = await self._pulled.pull(self.backend, settings, most, seconds, _caller(), drain)
        # Check again, since a right may end during the wait. The messages are delivered to others after their leases.
        check()
        return found

    @method
    async def settle(self, settlements: Sequence[PulledSettlement]) -> Sequence[bool]:
        """Settle pulled messages or renew their leases; return for each False if its lease has expired."""
        with TOLD:
            return await self._pulled.settle(settlements, _caller())

    # Topics

    @method
    async def declare(self, topic: TopicSettings) -> None:
        """Create a topic, and the groups of a queue; do nothing if the topic exists with these settings."""
        with TOLD:
            check_topic(topic)
            present = await self.backend.covering(topic.name)
            self._rights.check_declare(topic, present)
            await self.backend.declare(topic)

    @method(idempotent=True)
    async def topics(self) -> Sequence[TopicSettings]:
        """Return the topics that the caller sees, sorted by name."""
        with TOLD:
            return [topic for topic in await self.backend.topics() if self._rights.sees(topic)]

    @method(idempotent=True)
    async def covering(self, pattern: str) -> TopicSettings | None:
        """Return the topic that covers a name, or every name of a pattern; null if there is no such topic."""
        with TOLD:
            TopicPattern(pattern)
            self._rights.check_covering(pattern)
            return await self.backend.covering(pattern)

    # For operators

    @method(idempotent=True)
    async def groups(self) -> Sequence[GroupState]:
        """Return the groups that the caller sees, sorted by name, without broadcasts."""
        with TOLD:
            return [group for group in await self.backend.groups() if self._rights.sees_group(group)]

    @method
    async def seek(self, group: str, to: str) -> None:
        """Move a group to "oldest", "new", an instant or a sequence number; members lose their messages under way."""
        with TOLD:
            place = place_of(to)
            await self._check_group(group)
            await self.backend.seek(group, place)
        await self._tell_losses(group)

    @method
    async def remove_group(self, group: str) -> None:
        """Remove a group of a log with its dead letters."""
        with TOLD:
            await self._check_group(group)
            await self.backend.remove_group(group)
        await self._tell_losses(group)

    @method(idempotent=True)
    async def dead_letters(self, group: str) -> AsyncIterator[Sequence[DeadLetter]]:
        """Yield the dead letters of a group at this moment, the oldest death first, in parts of about a megabyte."""
        with TOLD:
            await self._check_group(group)
            found = await self.backend.dead_letters(group)
            letters = [replace(letter, headers=copied_headers(letter.headers)) for letter in found]
        start = size = 0
        for number, letter in enumerate(letters):
            bytes_of_one = weight(letter) + len(letter.reason) + len(letter.error)
            size += bytes_of_one
            if size > _LETTERS_BYTES and number > start:
                yield letters[start:number]
                start, size = number, bytes_of_one
        yield letters[start:]

    @method
    async def replay(self, group: str, ids: Sequence[str] = ()) -> int:
        """Redeliver the dead letters with these ids, or all, to the group as delivery 1. Return their number."""
        with TOLD:
            await self._check_group(group)
            return await self.backend.replay(group, ids)

    @method
    async def discard(self, group: str, ids: Sequence[str] = ()) -> int:
        """Discard the dead letters with these ids, or all if no id is given. Return their number."""
        with TOLD:
            await self._check_group(group)
            return await self.backend.discard(group, ids)

    def _made(self) -> EmbeddedBroker:
        if self._folder is None:
            return MemoryBroker(clock=self._clock, wall=self._wall)
        # Import SQLite only here: a broker in memory does not need it.
        from fastrpc.brokers.sqlite import sqlite_broker

        return sqlite_broker(
            self._folder, sync=self._sync, clock=self._clock, wall=self._wall, on_failed=self._fail
        )

    def _fail(self, error: BrokerError) -> None:
        logger.error("the broker has stopped: %s", error)
        self.failure = error
        self._failed.set()
        self.set_serving(False)

    def _checked(self, pattern: str, group: str | None) -> Callable[[], None]:
        """Check the right to subscribe; return the check, so that it can be repeated."""
        with TOLD:
            TopicPattern(pattern)
            if group is not None:
                check_group(group)
        check = partial(self._rights.check_subscribe, pattern, group)
        check()
        return check

    async def _check_group(self, name: str) -> None:
        """Check the caller's right to manage a group."""
        check_group(name)
        if not self._rights.is_free:
            found = (group for group in await self.backend.groups() if group.name == name)
            self._rights.check_group(name, next(found, None))

    async def _tell_losses(self, group: str) -> None:
        """Tell the members of a group which messages other members may already have."""
        for consumer in self._consumers.get(group, ()):
            consumer.note_losses()
        # This lets the streams of members on the same connection send before the answer to this call.
        await asyncio.sleep(0)


def _caller() -> str | None:
    """Return the identity of the caller, or None."""
    identity = current_call().identity
    return None if identity is None else identity.name
