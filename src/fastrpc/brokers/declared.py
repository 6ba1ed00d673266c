"""Declare each topic that a program uses at its first use."""

import asyncio
from contextvars import Context
from typing import Any, Final

from fastrpc.brokers.base import BrokerBackend, BrokerLimits
from fastrpc.brokers.base.names import TopicPattern
from fastrpc.brokers.topic import MAX_BYTES, Topic
from fastrpc.errors import ConfigError, copied_error

__all__ = ["DeclaredTopics", "check_pattern"]

#: Most names that are remembered: a program may publish to any number of names that a pattern covers.
_REMEMBERED_NAMES: Final = 10_000


class _Declaration:
    """A declaration in progress, which several calls may wait for."""

    __slots__ = ("task", "topic", "waiting")

    def __init__(self, topic: Topic[Any] | str, task: asyncio.Task[None]) -> None:
        self.topic = topic
        self.task = task
        # Retrieve the exception here too: there may be no waiting call left to raise it.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.waiting = 0


class DeclaredTopics:
    """The topics that this process has declared at a broker, and the names that existing topics cover."""

    def __init__(self) -> None:
        self._topics: dict[str, Topic[Any]] = {}
        # Names and patterns that were passed as text and that a topic of the broker covers.
        self._covered: set[str] = set()
        self._under_way: dict[str, _Declaration] = {}

    def has(self, topic: Topic[Any] | str) -> bool:
        """Return whether a topic is declared; for a text, whether a declared topic covers it."""
        if isinstance(topic, str):
            return topic in self._covered
        found = self._topics.get(topic.name)
        return found is topic or found == topic

    def forget(self, topic: Topic[Any] | str) -> None:
        """Forget that a topic is declared, so that its next use declares it again: the broker may have lost it."""
        if isinstance(topic, str):
            self._covered.discard(topic)
        else:
            self._topics.pop(topic.name, None)

    async def declare(self, backend: BrokerBackend, topic: Topic[Any] | str) -> None:
        """Create a topic at the broker; for a text, only if no topic covers it.

        Concurrent calls share one declaration, which continues while one of them waits.

        Raises:
            ConfigError: the backend cannot keep such a topic, or has another topic of this name.
        """
        name = topic if isinstance(topic, str) else topic.name
        shared = self._under_way.get(name)
        if shared is None or (shared.topic is not topic and shared.topic != topic):
            # The task runs without the deadline of this call, since other calls may wait for it too.
            work = self._declare(backend, topic)
            task = asyncio.get_running_loop().create_task(work, context=Context())
            shared = self._under_way[name] = _Declaration(topic, task)
        shared.waiting += 1
        try:
            await asyncio.wait([shared.task])
        finally:
            shared.waiting -= 1
            if self._under_way.get(name) is shared and (shared.task.done() or not shared.waiting):
                del self._under_way[name]
            if not shared.waiting:
                shared.task.cancel()
        if (error := shared.task.exception()) is not None:
            raise copied_error(error) if isinstance(error, Exception) else error

    async def _declare(self, backend: BrokerBackend, topic: Topic[Any] | str) -> None:
        if isinstance(topic, str):
            await self._cover(backend, topic)
            return
        _check_limits(topic, backend.limits)
        await backend.declare(topic.settings)
        self._topics[topic.name] = topic

    async def _cover(self, backend: BrokerBackend, text: str) -> None:
        check_pattern(text, backend.limits)
        if await backend.covering(text) is None:
            try:
                await backend.declare(Topic(text).settings)
            except ConfigError:
                # In the meantime another program may have declared a topic that covers it.
                if await backend.covering(text) is None:
                    raise
        if len(self._covered) >= _REMEMBERED_NAMES:
            self._covered.clear()
        self._covered.add(text)


def check_pattern(name: str, limits: BrokerLimits) -> None:
    """Raise ConfigError if a text is a pattern and the broker has no patterns, or if it is malformed."""
    if not TopicPattern(name).is_name and not limits.has_patterns:
        raise ConfigError(
            f"{name!r} is a pattern, which {limits.scheme}:// does not have", hint="name each topic"
        )


def _check_limits(topic: Topic[Any], limits: BrokerLimits) -> None:
    check_pattern(topic.name, limits)
    if topic.max_bytes != MAX_BYTES and not limits.has_max_bytes:
        raise ConfigError(
            f"the topic {topic.name!r} has max_bytes, which {limits.scheme}:// does not enforce",
            hint="leave max_bytes out, and set keep_seconds",
        )
    most = limits.queue_groups
    if most is not None and len(topic.groups) > most:
        raise ConfigError(
            f"the topic {topic.name!r} has {len(topic.groups)} groups, a queue of {limits.scheme}:// has {most}",
            hint="publish to a topic for each group, or keep a log: keep_seconds=…",
        )
