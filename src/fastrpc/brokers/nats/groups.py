"""Groups as durable pull consumers, each with a stream of its dead letters.

The stream is created first and claims the group's name: JetStream creates only one stream of a name. Its metadata has
the topic and the pattern. A group whose consumer is missing has ended.
"""

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from fastrpc.brokers.base import GroupSettings, GroupState, Place, TopicSettings
from fastrpc.brokers.base.checks import check_place, no_group
from fastrpc.brokers.nats.jetstream import NOT_FOUND
from fastrpc.brokers.nats.link import JetStreamLink
from fastrpc.brokers.nats.missed import MissedMessages
from fastrpc.brokers.nats.names import word_of
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.status import Status

__all__ = ["ConsumerGroup", "Groups", "nanoseconds"]

logger = logging.getLogger("fastrpc.broker")

#: Keys in the metadata of a stream of dead letters and of a consumer.
_GROUP: Final = "frpc-group"
_TOPIC: Final = "frpc-group-topic"
_PATTERN: Final = "frpc-pattern"
_ORDERED: Final = "frpc-ordered"

#: Most unsettled deliveries of a group, including messages that wait for their retry.
_UNDER_WAY: Final = 10_000

#: Most members that may wait for messages at the same time.
_WAITING: Final = 4_096

#: Seconds after which JetStream removes the consumer of a broadcast whose member is gone, or a temporary consumer.
_SHORT_SECONDS: Final = 60

#: Error codes of JetStream if the consumer exists with another configuration.
_IS_THERE: Final = frozenset({10013, 10148})

#: _BEGIN_SECONDS: seconds for which members wait until the member that has claimed a name creates the group.
#: _LOOK_SECONDS: seconds between their checks.
_BEGIN_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.05

#: A consumer that works as a lock: the member that creates it may remove the claim of an ended group. It delivers
#: nothing and expires soon.
_REMOVER: Final = "remover"

#: A consumer whose description says whether a queue's group is ordered. It belongs to the stream of dead letters and
#: delivers nothing.
_ORDER: Final = "order"


class ConsumerGroup:
    """A group with the names of its stream and its consumer.

    Args:
        name: the name of the group; None: a broadcast.
    """

    def __init__(self, link: JetStreamLink, name: str | None, topic: str, pattern: str) -> None:
        self.name = name
        self.topic = topic
        self.pattern = pattern
        self.stream = link.names.topic_stream(topic)
        self.consumer = f"broadcast={secrets.token_hex(8)}" if name is None else word_of(name)

    @property
    def place(self) -> str:
        """The last part of the API subjects for its consumer."""
        return f"{self.stream}.{self.consumer}"


class Groups:
    """The groups of one base."""

    def __init__(self, link: JetStreamLink) -> None:
        self._link = link
        # Names of groups that this process has joined. If such a group is missing, JetStream has lost it and its place.
        self._joined: set[str] = set()
        # By group.
        self._missed: dict[str, MissedMessages] = defaultdict(MissedMessages)

    async def find(self, name: str) -> ConsumerGroup | None:
        """Return the group of this name, or None; the group may have ended."""
        info = await self._link.find(f"STREAM.INFO.{self._link.names.dead_stream(name)}")
        return None if info is None else self._group_in(info["config"]["metadata"])

    async def present(self, name: str) -> ConsumerGroup:
        """Return an existing group. BrokerError: NOT_FOUND."""
        group = await self.find(name)
        if group is None or await self.info(group) is None:
            raise no_group(name)
        return group

    async def info(self, group: ConsumerGroup) -> dict[str, Any] | None:
        """Return the answer of JetStream about a group; None for an ended group."""
        return await self._link.find(f"CONSUMER.INFO.{group.place}")

    async def declare(self, name: str, topic: TopicSettings) -> None:
        """Create a group of a queue, which gets all messages of the queue."""
        group = await self.find(name) or await self._claimed(name, topic, topic.name)
        if group.topic != topic.name:
            raise ConfigError(
                f"the group {name} of {topic.name} belongs to {group.topic}",
                hint="a group belongs to one topic: choose another name for the group",
            )
        if await self.info(group) is None:
            await self._begun(group, topic, "oldest", None)

    async def join(
        self, settings: GroupSettings, topic: TopicSettings
    ) -> tuple[ConsumerGroup, dict[str, Any]]:
        """Create a group if it is missing. Return it with the answer of JetStream about its consumer."""
        name, pattern = settings.name, settings.pattern
        if name is None:
            _check_broadcast(topic)
            group = ConsumerGroup(self._link, None, topic.name, pattern)
            return group, await self._begun(group, topic, "new", settings.is_ordered)
        # Read this before the search: during it another member in this process may create the group.
        was_joined = name in self._joined
        found, info = await self._present_or_free(name, pattern)
        if topic.keep_seconds is None and name not in topic.groups:
            raise ConfigError(
                f"the queue {topic.name} has no group {name}",
                hint=f"it has {', '.join(topic.groups)}; a queue names all its groups when it is declared",
            )
        group = found or await self._claimed(name, topic, pattern)
        if info is None:
            info = await self._begun(
                group, topic, _beginning(group, settings.start, was_joined), settings.is_ordered
            )
            await self._check_claim(group, info)
        self._joined.add(name)
        return group, await self._with_order(group, info, settings.is_ordered)

    async def _present_or_free(
        self, name: str, pattern: str
    ) -> tuple[ConsumerGroup | None, dict[str, Any] | None]:
        """Return the group of a name, and JetStream's answer about its consumer: None if the group has ended.

        Raises:
            ConfigError: the group has another pattern.
        """
        claim = self._link.names.dead_stream(name)
        while (told := await self._link.find(f"STREAM.INFO.{claim}")) is not None:
            group = self._group_in(told["config"]["metadata"])
            info = await self.info(group)
            if group.pattern == pattern:
                return group, info
            if info is not None or not self._link.options.manages:
                raise _other_pattern(group, pattern)
            age = datetime.fromisoformat(told["ts"]) - datetime.fromisoformat(told["created"])
            if age.total_seconds() <= _BEGIN_SECONDS or not await self._freed(group, claim, told["created"]):
                # Another member is about to create the group or to remove the claim.
                await asyncio.sleep(_LOOK_SECONDS)
        return None, None

    async def _freed(self, group: ConsumerGroup, claim: str, made_at: str) -> bool:
        """Remove the claim of an ended group; return False if another member removes it or has created the group.

        Only one of several members removes it: the member that has created the consumer `_REMOVER`, which JetStream
        creates only once. So a later claim is never removed.

        Args:
            made_at: the time at which the claim was made.
        """
        config = {"durable_name": _REMOVER, "name": _REMOVER, "ack_policy": "none"}
        config |= {"description": secrets.token_hex(8)}
        try:
            await self._create(claim, {**config, "inactive_threshold": nanoseconds(_BEGIN_SECONDS)})
        except BrokerError as error:
            if getattr(error.__cause__, "err_code", None) not in _IS_THERE | NOT_FOUND:
                raise
            return False
        told = await self._link.find(f"STREAM.INFO.{claim}")
        if told is None or told["created"] != made_at or await self.info(group) is not None:
            return False
        await self._link.find(f"STREAM.DELETE.{claim}")
        return True

    def missed(self, group: ConsumerGroup, info: Mapping[str, Any]) -> MissedMessages | None:
        """Return the counter of messages that a group missed; None if it is unknown, or for a queue, which drops none.

        Args:
            info: the answer of JetStream about the group's consumer.
        """
        if group.name is None or group.pattern != group.topic or _is_of_queue(info):
            return None
        return self._missed[group.name]

    async def explain(self, group: ConsumerGroup, missed: MissedMessages) -> int:
        """Count the messages that a group missed; return the number of its stream's first message."""
        first = int((await self._link.api(f"STREAM.INFO.{group.stream}"))["state"]["first_seq"])
        self._link.counts[group.topic].expired += missed.explain(group.name, first)
        return first

    async def seek(self, name: str, to: Place) -> dict[str, Any]:
        """Move a group to another place; return JetStream's answer."""
        check_place(to)
        group = await self.present(name)
        present = (await self._link.api(f"CONSUMER.INFO.{group.place}"))["config"]
        kept = {
            key: value for key, value in present.items() if key not in {"opt_start_seq", "opt_start_time"}
        }
        if not _is_of_queue({"config": kept}):
            return await self._again(group, {**kept, **_start(to)})
        # A queue drops messages that no consumer waits for. A temporary consumer keeps them while the group has none.
        hold = f"{group.consumer}+hold"
        config = {**kept, "deliver_policy": "all", "inactive_threshold": nanoseconds(_SHORT_SECONDS)}
        await self._create(group.stream, {**config, "durable_name": hold, "name": hold})
        begun = await self._again(group, {**kept, **_start(to)})
        await self._link.find(f"CONSUMER.DELETE.{group.stream}.{hold}")
        return begun

    async def remove(self, name: str) -> None:
        """Remove a group with its dead letters."""
        group = await self.present(name)
        info = await self.info(group)
        if info is not None and _is_of_queue(info):
            raise BrokerError(
                f"the group {name} belongs to the queue {group.topic}",
                status=Status.FAILED_PRECONDITION,
                processed="no",
            )
        # Remove the claim, too: a missing group with a claim counts as lost, without a claim as removed.
        await self._link.find(f"STREAM.DELETE.{self._link.names.dead_stream(name)}")
        await self._link.find(f"CONSUMER.DELETE.{group.place}")
        self._joined.discard(name)

    async def states(self, members: Callable[[str], int]) -> Sequence[GroupState]:
        """Return the states of all groups but broadcasts, sorted by name.

        Args:
            members: returns the number of members that a group has in this process.
        """

        async def state(stream: Mapping[str, Any]) -> GroupState | None:
            group = self._group_in(stream["config"]["metadata"])
            info = await self.info(group)
            if info is None or group.name is None:
                return None
            # The server knows only the members that wait.
            known = max(members(group.name), int(info["num_waiting"]))
            lag = info["num_pending"] + info["num_ack_pending"]
            return GroupState(
                name=group.name,
                topic=group.topic,
                pattern=group.pattern,
                is_ordered=info["config"]["metadata"].get(_ORDERED) == "true",
                members=known,
                lag=lag,
                oldest_seconds=await self._oldest(group, info) if lag else 0.0,
                under_way=info["num_ack_pending"],
                dead=stream["state"]["messages"],
                expired=await self._expired(group, info),
            )

        streams = await self._link.listed(self._link.names.letters)
        found = await asyncio.gather(*(state(one) for one in streams))
        return sorted((one for one in found if one is not None), key=lambda one: one.name)

    async def _expired(self, group: ConsumerGroup, info: Mapping[str, Any]) -> int:
        missed = self.missed(group, info)
        if missed is None:
            return 0
        ahead = await self.explain(group, missed) - 1 - int(info["delivered"]["stream_seq"])
        return missed.count + max(ahead, 0)

    async def _oldest(self, group: ConsumerGroup, info: Mapping[str, Any]) -> float:
        """Return the age of the oldest unsettled message in seconds, by the server's clock."""
        found = await self._link.find(
            f"STREAM.MSG.GET.{group.stream}",
            seq=info["ack_floor"]["stream_seq"] + 1,
            next_by_subj=self._link.names.subject(group.pattern),
        )
        if found is None:
            return 0.0
        age = datetime.fromisoformat(info["ts"]) - datetime.fromisoformat(found["message"]["time"])
        return max(age.total_seconds(), 0.0)

    def _group_in(self, metadata: Mapping[str, str]) -> ConsumerGroup:
        return ConsumerGroup(self._link, metadata[_GROUP], metadata[_TOPIC], metadata[_PATTERN])

    async def _claimed(self, name: str, topic: TopicSettings, pattern: str) -> ConsumerGroup:
        """Claim the name of a group; the first claim decides the pattern."""
        config = {
            "name": self._link.names.dead_stream(name),
            "subjects": [self._link.names.dead(name)],
            # A dead letter that is published again replaces the earlier copy.
            "max_msgs_per_subject": 1,
            "storage": "file",
            "num_replicas": self._link.options.replicas,
            "metadata": {_GROUP: name, _TOPIC: topic.name, _PATTERN: pattern},
        }
        if not self._link.options.manages:
            raise _missing(f"stream {config['name']} of the group {name}", "nats stream add", config)
        try:
            await self._link.api(f"STREAM.CREATE.{config['name']}", **config)
        except BrokerError:
            # Another process may have claimed the group in the meantime.
            found = await self.find(name)
            if found is None:
                raise
            if found.pattern != pattern:
                raise _other_pattern(found, pattern) from None
        return ConsumerGroup(self._link, name, topic.name, pattern)

    async def _check_claim(self, group: ConsumerGroup, info: Mapping[str, Any]) -> None:
        """Check that a new group still has its claim: a slow member may have lost it, and a group may have ended.

        Args:
            info: the answer of JetStream about the group's consumer.
        """
        found = await self.find(group.name or "")
        if found is not None and found.pattern == group.pattern:
            return
        if info["config"].get("filter_subjects") == self._filters(group):
            # The consumer is ours; the claim belongs to another member.
            await self._link.find(f"CONSUMER.DELETE.{group.place}")
        if found is not None:
            raise _other_pattern(found, group.pattern)
        raise BrokerError(f"the group {group.name} was removed meanwhile", processed="no", retryable=True)

    def _filters(self, group: ConsumerGroup) -> list[str]:
        return self._link.names.filters(group.topic, group.pattern, group.name or "")

    async def _begun(
        self, group: ConsumerGroup, topic: TopicSettings, start: Place, is_ordered: bool | None
    ) -> dict[str, Any]:
        """Create the consumer of a group. If `is_ordered` is None, the first member decides the order."""
        config = self._config(group, topic, is_ordered) | _start(start)
        if group.name is not None and not self._link.options.manages:
            raise _missing(
                f"consumer {group.consumer} of the group {group.name}", "nats consumer add", config
            )
        try:
            return await self._create(group.stream, config)
        except BrokerError as error:
            if getattr(error.__cause__, "err_code", None) in _IS_THERE and (info := await self.info(group)):
                return info
            raise

    def _config(self, group: ConsumerGroup, topic: TopicSettings, is_ordered: bool | None) -> dict[str, Any]:
        keep, names = topic.keep_seconds, self._link.names
        config: dict[str, Any] = {
            "name": group.consumer,
            "ack_policy": "explicit",
            "ack_wait": nanoseconds(self._link.options.lease_seconds),
            "max_deliver": -1,
            "max_waiting": _WAITING,
            "max_ack_pending": 1 if is_ordered else _UNDER_WAY,
            "replay_policy": "instant",
            "metadata": {} if is_ordered is None else {_ORDERED: str(is_ordered).lower()},
        }
        if group.name is None:
            config |= {"filter_subject": names.subject(group.pattern), "mem_storage": True, "num_replicas": 1}
            return config | {"inactive_threshold": nanoseconds(_SHORT_SECONDS)}
        config |= {
            "durable_name": group.consumer,
            "filter_subjects": self._filters(group),
        }
        return config if keep is None else config | {"inactive_threshold": nanoseconds(keep)}

    async def _with_order(
        self, group: ConsumerGroup, info: dict[str, Any], is_ordered: bool
    ) -> dict[str, Any]:
        """Check that a group has this order. The first member of a queue's group decides it."""
        kept = info["config"].get("metadata", {}).get(_ORDERED)
        is_undecided = kept is None
        if is_undecided:
            kept = await self._decided(group, is_ordered)
        if (kept == "true") is not is_ordered:
            raise ConfigError(
                f"the group {group.name} has {'ordered' if kept == 'true' else 'unordered'} members",
                hint="give all its members the same `ordered`, or remove the group",
            )
        if not is_undecided:
            return info
        order = self._config(group, TopicSettings(group.topic), is_ordered)
        config = {**info["config"], **{name: order[name] for name in ("max_ack_pending", "metadata")}}
        return await self._create(group.stream, config, action="update")

    async def _decided(self, group: ConsumerGroup, is_ordered: bool) -> str:
        """Return the order of a queue's group. The first member decides it: JetStream creates a consumer only once."""
        stream, wanted = self._link.names.dead_stream(group.name or ""), str(is_ordered).lower()
        config = {"durable_name": _ORDER, "name": _ORDER, "ack_policy": "none", "description": wanted}
        try:
            await self._create(stream, config)
        except BrokerError as error:
            if getattr(error.__cause__, "err_code", None) not in _IS_THERE:
                raise
            found = await self._link.api(f"CONSUMER.INFO.{stream}.{_ORDER}")
            return str(found["config"]["description"])
        return wanted

    async def _again(self, group: ConsumerGroup, config: Mapping[str, Any]) -> dict[str, Any]:
        await self._link.find(f"CONSUMER.DELETE.{group.place}")
        return await self._create(group.stream, config)

    async def _create(self, stream: str, config: Mapping[str, Any], action: str = "create") -> dict[str, Any]:
        place = f"CONSUMER.CREATE.{stream}.{config['name']}"
        return await self._link.api(place, stream_name=stream, config=config, action=action)


def nanoseconds(seconds: float) -> int:
    """Return seconds as nanoseconds, JetStream's unit."""
    return int(seconds * 1e9)


def _start(place: Place) -> dict[str, Any]:
    """Return the options of a consumer that begins at a place."""
    if isinstance(place, datetime):
        return {"deliver_policy": "by_start_time", "opt_start_time": place.isoformat()}
    if isinstance(place, int):
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": max(place, 1)}
    return {"deliver_policy": "all" if place == "oldest" else "new"}


def _is_of_queue(info: Mapping[str, Any]) -> bool:
    """Return whether a group belongs to a queue. The consumer of such a group does not expire without members."""
    return "inactive_threshold" not in info["config"]


def _beginning(group: ConsumerGroup, start: Place, was_joined: bool) -> Place:
    """Return the place at which a missing group starts: the oldest message if JetStream has lost the group."""
    if not was_joined:
        return start
    logger.error("the group %s is gone from NATS, and begins again at the oldest message", group.name)
    return "oldest"


def _other_pattern(group: ConsumerGroup, pattern: str) -> ConfigError:
    return ConfigError(
        f"the group {group.name} has the pattern {group.pattern}, not {pattern}",
        hint="give the new pattern a group with another name, or remove the existing group",
    )


def _check_broadcast(topic: TopicSettings) -> None:
    # A stream with retention by interest keeps a message until each consumer has had it, even a slow consumer.
    if topic.keep_seconds is None:
        raise ConfigError(
            f"a broadcast of the queue {topic.name} is refused: nats:// would keep each message until the broadcast "
            "has had it, and a slow broadcast would fill the queue",
            hint=f"subscribe with one of its groups, {', '.join(topic.groups)}; or publish to a log as well, "
            "which has keep_seconds",
        )


def _missing(thing: str, command: str, config: Mapping[str, Any]) -> ConfigError:
    return ConfigError(
        f"nats://: manage=false, and the {thing} is missing",
        hint=f"{command} --config FILE, with {config}",
    )
