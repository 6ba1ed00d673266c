"""Topics as streams. A log has retention by limits; a queue has retention by interest and refuses messages if full."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, NamedTuple

from fastrpc.brokers.base import TopicSettings
from fastrpc.brokers.base.checks import check_same, check_topic
from fastrpc.brokers.base.names import TopicPattern
from fastrpc.brokers.nats.groups import Groups
from fastrpc.brokers.nats.link import JetStreamLink
from fastrpc.errors import BrokerError, ConfigError

__all__ = ["FoundTopic", "StreamTopics", "settings_in"]

#: The key of a topic's settings in the metadata of its stream. JetStream's own settings cover only a part of them.
_TOPIC: Final = "frpc-topic"

#: Error codes of JetStream: another stream has a subject (_OVERLAPS), or a stream of this name exists (_IS_THERE).
_OVERLAPS: Final = 10065
_IS_THERE: Final = 10058

#: The shortest and the longest age of a stream's messages in seconds: JetStream counts nanoseconds in 64 bits.
_LEAST_SECONDS: Final = 0.1
_MOST_SECONDS: Final = 9e9

#: _LOOKS: the number of checks for an overlapping stream that was created at the same time. _LOOK_SECONDS: seconds
#: between them.
_LOOKS: Final = 20
_LOOK_SECONDS: Final = 0.05

#: Settings of a stream that servers support from 2.12 on.
_FLAGS: Final = ("allow_msg_schedules", "allow_atomic")


class FoundTopic(NamedTuple):
    """An existing topic."""

    settings: TopicSettings

    #: Identifies this stream; a later stream of the same name has another `run`.
    run: str


class StreamTopics:
    """The topics of one base."""

    def __init__(self, link: JetStreamLink, groups: Groups) -> None:
        self._link = link
        self._groups = groups

    async def declare(self, topic: TopicSettings) -> None:
        """Create a topic with its groups; do nothing if the topic exists with these settings."""
        check_topic(topic)
        _check_seconds(topic)
        # Connect first: the flags depend on the version of the server.
        await self._link.connected()
        wanted = self._config(topic)
        config = await self._found(topic) or await self._made(topic, wanted)
        check_same(topic, settings_in(config))
        for group in topic.groups:
            await self._groups.declare(group, topic)
        changes = {name: wanted[name] for name in ("retention", *_FLAGS) if wanted.get(name)}
        if not self._link.options.manages:
            changes = {}
        self._check_kept(topic, {**config, **changes}, wanted)
        if any(config.get(name) != value for name, value in changes.items()):
            # Set the subjects and the retention of a queue only now: its groups exist, so no message can be dropped.
            subjects = [*dict.fromkeys((*config["subjects"], *wanted["subjects"]))]
            await self._link.api(
                f"STREAM.UPDATE.{config['name']}", **{**config, **changes, "subjects": subjects}
            )

    async def all(self) -> Sequence[TopicSettings]:
        """Return the declared topics, sorted by name."""
        found = await self._link.listed(self._link.names.topics)
        return sorted((settings_in(one["config"]) for one in found), key=lambda topic: topic.name)

    async def covering(self, pattern: str) -> FoundTopic | None:
        """Return the topic that covers a name, or every name of a pattern; None if there is no such topic."""
        wanted = TopicPattern(pattern)
        found = await self._link.listed(self._link.names.subject(pattern))
        if len(found) != 1:
            # Topics do not overlap: if a topic covers the pattern, it is the only topic that shares names with it.
            return None
        settings, made_at = settings_in(found[0]["config"]), datetime.fromisoformat(found[0]["created"])
        run = f"{int(made_at.timestamp() * 1e6):x}"
        return FoundTopic(settings, run) if wanted.is_below(TopicPattern(settings.name)) else None

    async def _found(self, topic: TopicSettings) -> dict[str, Any] | None:
        info = await self._link.find(f"STREAM.INFO.{self._link.names.topic_stream(topic.name)}")
        if info is None:
            return None
        await self._stay_alone(topic, info, is_new=False)
        return dict(info["config"])

    async def _made(self, topic: TopicSettings, wanted: Mapping[str, Any]) -> dict[str, Any]:
        if not self._link.options.manages:
            raise self._missing(topic, wanted)
        try:
            # Begin with retention by limits: a queue without its groups would drop all messages.
            made = {**wanted, "retention": "limits"}
            info = await self._link.api(f"STREAM.CREATE.{wanted['name']}", **made)
        except BrokerError as error:
            code = getattr(error.__cause__, "err_code", None)
            if code == _IS_THERE and (found := await self._found(topic)) is not None:
                return found
            if code != _OVERLAPS:
                raise
            raise _overlap(topic, await self._touching(topic)) from error
        await self._stay_alone(topic, info, is_new=True)
        return dict(info["config"])

    async def _stay_alone(self, topic: TopicSettings, info: Mapping[str, Any], *, is_new: bool) -> None:
        """Refuse a topic, and remove its new stream, if an overlapping topic was created at the same time.

        The server lets both processes create their streams, and may not list the earlier stream yet. The later stream
        is removed. If the later stream stays for too long, the earlier stream is removed, too. A stream that has
        messages stays, since another program uses it already.

        Args:
            is_new: whether this process has created the stream, so that it may remove it.
        """
        name = info["config"]["name"]
        for _ in range(_LOOKS):
            others = {one["config"]["name"]: one for one in await self._touching(topic)}
            present = others.pop(name, info)
            if not others:
                return
            if is_new and any(_age_order(one) < _age_order(info) for one in others.values()):
                break
            await asyncio.sleep(_LOOK_SECONDS)
        if is_new and not present["state"]["messages"]:
            await self._link.find(f"STREAM.DELETE.{name}")
        raise _overlap(topic, [*others.values()])

    async def _touching(self, topic: TopicSettings) -> list[dict[str, Any]]:
        """Return the streams that share subjects with a topic."""
        return await self._link.listed(self._link.names.subject(topic.name))

    def _config(self, topic: TopicSettings) -> dict[str, Any]:
        """Return the configuration of a topic's stream."""
        keep, limits, options = topic.keep_seconds, self._link.limits, self._link.options
        # JetStream accepts no delayed messages for a stream that refuses messages when it is full.
        has_later = limits.has_delay and keep is not None
        window = topic.dedupe_seconds if keep is None else min(topic.dedupe_seconds, keep)
        flags = {"allow_msg_schedules": has_later, "allow_atomic": limits.has_delay}
        return {
            "name": self._link.names.topic_stream(topic.name),
            "subjects": self._link.names.subjects(topic.name, has_later=has_later),
            "retention": "interest" if keep is None else "limits",
            "discard": "new" if keep is None else "old",
            "storage": "file",
            "num_replicas": options.replicas,
            "max_age": 0 if keep is None else int(keep * 1e9),
            "max_bytes": topic.max_bytes,
            "duplicate_window": int(max(window, _LEAST_SECONDS) * 1e9),
            **{name: value for name, value in flags.items() if value},
            "metadata": {_TOPIC: json.dumps(asdict(topic))},
        }

    def _check_kept(self, topic: TopicSettings, config: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        """Check that a stream, which another program may have created, has the settings that its topic needs."""
        for name in ("storage", "retention", "discard", "max_age", "max_bytes"):
            if config.get(name, 0) != wanted[name]:
                raise ConfigError(
                    f"nats://: the stream {config['name']} of the topic {topic.name} has "
                    f"{name}={config.get(name)!r}, it needs {wanted[name]!r}",
                    hint=f"nats stream edit {config['name']}",
                )
        if config.get("persist_mode") == "async":
            raise ConfigError(
                f"nats://: the stream {config['name']} has persist_mode=async, which acknowledges messages that are "
                "lost if the server is killed",
                hint="delete the stream, and create it without persist_mode",
            )
        if config["num_replicas"] < wanted["num_replicas"]:
            raise ConfigError(
                f"nats://: the URL has replicas={wanted['num_replicas']}, but the stream {config['name']} has "
                f"{config['num_replicas']}",
                hint=f"nats stream edit {config['name']} --replicas={wanted['num_replicas']}, or leave replicas out",
            )

    def _missing(self, topic: TopicSettings, wanted: Mapping[str, Any]) -> ConfigError:
        return ConfigError(
            f"nats://: manage=false, and the topic {topic.name} has no stream {wanted['name']}",
            hint=f"nats stream add --config FILE, with {json.dumps(wanted)}",
        )


def settings_in(config: Mapping[str, Any]) -> TopicSettings:
    """Return the settings of a stream's topic.

    Raises:
        ConfigError: the stream belongs to another program.
    """
    try:
        found = json.loads(config["metadata"][_TOPIC])
        return TopicSettings(**{**found, "groups": tuple(found["groups"])})
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"nats://: the stream {config['name']} has subjects of topics, and no metadata {_TOPIC}: it is of another "
            "program",
            hint="give this broker another base: nats://…?base=shop",
        ) from error


def _age_order(info: Mapping[str, Any]) -> tuple[datetime, str]:
    """Return a key that sorts streams by age, from the answer of JetStream about a stream."""
    return datetime.fromisoformat(info["created"]), info["config"]["name"]


def _overlap(topic: TopicSettings, others: Sequence[Mapping[str, Any]]) -> ConfigError:
    names = ", ".join(_name_of(one["config"]) for one in others)
    return ConfigError(
        f"the topic {topic.name} overlaps with {names}",
        hint="topics must not share names: publish to the existing topic, or choose another name for the new topic",
    )


def _name_of(config: Mapping[str, Any]) -> str:
    try:
        return f"the topic {settings_in(config).name}"
    except ConfigError:
        return f"the stream {config['name']}"


def _check_seconds(topic: TopicSettings) -> None:
    for name in ("keep_seconds", "dedupe_seconds"):
        value = getattr(topic, name)
        if value is not None and value > _MOST_SECONDS:
            raise ConfigError(
                f"{name} of the topic {topic.name!r} is {value}, nats:// has at most {_MOST_SECONDS:g}",
                hint="write keep_seconds=None for a queue, which drops nothing" if name[0] == "k" else None,
            )
    if topic.keep_seconds is not None and topic.keep_seconds < _LEAST_SECONDS:
        raise ConfigError(
            f"keep_seconds of the topic {topic.name!r} is {topic.keep_seconds}, nats:// has at least {_LEAST_SECONDS}"
        )
