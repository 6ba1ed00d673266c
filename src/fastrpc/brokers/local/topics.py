"""Look up the topics of one broker by names and patterns."""

from collections.abc import Iterator
from typing import Final

from fastrpc.brokers.base.names import TopicPattern, check_name
from fastrpc.brokers.local.topic import KeptTopic
from fastrpc.errors import BrokerError
from fastrpc.status import Status

__all__ = ["Topics"]

#: Most names of messages whose topics are cached.
_KNOWN_NAMES: Final = 10_000


class Topics:
    """The topics of a broker. They share no names and are never removed. Plain names are looked up in a dictionary."""

    def __init__(self) -> None:
        self._by_text: dict[str, KeptTopic] = {}
        self._patterns: list[KeptTopic] = []
        # The topics of published names, as a cache.
        self._known: dict[str, KeptTopic] = {}

    def __iter__(self) -> Iterator[KeptTopic]:
        return iter(self._by_text.values())

    def __len__(self) -> int:
        return len(self._by_text)

    def __getitem__(self, text: str) -> KeptTopic:
        return self._by_text[text]

    def get(self, text: str) -> KeptTopic | None:
        """Return the topic that was declared with this name or pattern."""
        return self._by_text.get(text)

    def add(self, topic: KeptTopic) -> None:
        """Add a topic that does not overlap with another topic."""
        self._by_text[topic.settings.name] = topic
        if not topic.pattern.is_name:
            self._patterns.append(topic)

    def overlapping(self, pattern: TopicPattern) -> KeptTopic | None:
        """Return a topic that shares a name with a pattern."""
        if pattern.is_name:
            return self.covering(pattern)
        return next((topic for topic in self if topic.pattern.overlaps(pattern)), None)

    def covering(self, pattern: TopicPattern) -> KeptTopic | None:
        """Return the topic that covers every name of a pattern, or None."""
        found = self._by_text.get(pattern.text)
        if found is None:
            found = next((topic for topic in self._patterns if pattern.is_below(topic.pattern)), None)
        return found

    def of(self, name: str) -> KeptTopic:
        """Return the topic for a published name.

        Raises:
            TypeError: the name is not text.
            ConfigError: the name is malformed, or a pattern.
            BrokerError: NOT_FOUND: no topic covers the name.
        """
        topic = self._known.get(name) or self.holding(name)
        if topic is None:
            raise BrokerError(
                f"no topic holds {name}",
                status=Status.NOT_FOUND,
                processed="no",
                hint="declare it before a message is published to it",
            )
        return topic

    def holding(self, name: str) -> KeptTopic | None:
        """Return the topic that covers a name, or None.

        Raises:
            TypeError: the name is not text.
            ConfigError: the name is malformed, or a pattern.
        """
        found = self._known.get(name)
        if found is None:
            check_name(name)
            found = self.covering(TopicPattern(name))
            if found is not None:
                if len(self._known) >= _KNOWN_NAMES:
                    self._known.clear()
                self._known[name] = found
        return found
