"""A topic with the type of its messages, which publishers and subscribers import."""

import builtins
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, overload

from fastrpc.brokers.base import TopicSettings
from fastrpc.brokers.base.checks import check_topic
from fastrpc.errors import ConfigError

__all__ = ["MAX_BYTES", "Topic"]

T = TypeVar("T")

#: The default of `keep_seconds`: a week.
_KEEP_SECONDS: Final = 604_800

#: The default of `max_bytes`.
MAX_BYTES: Final = 1024 * 1024 * 1024

_DEDUPE_SECONDS: Final = 120


# No slots: `Topic[Order](…)` sets `__orig_class__`, for which a frozen class with slots raises the wrong error.
@dataclass(init=False, frozen=True)
class Topic(Generic[T]):
    """A named place for messages: a log, or a queue.

    A log removes messages by age and size, handled or not. A queue keeps a message until each of its groups has handled
    it, and refuses new ones when it is full. The first use of a topic declares it at the broker.

    Args:
        name: a dotted name, such as `orders.new`, or a pattern of names: `*` is one word, `**` at the end one or more
            words. Topics must not overlap.
        type: the type of the values, which are decoded strictly. None: JSON becomes plain data, all other values stay
            bytes.
        keep_seconds: seconds for which a log keeps a message. None: a queue.
        groups: the groups of a queue.
        max_bytes: the most bytes of all messages.
        dedupe_seconds: seconds within which a second message with the same id is a duplicate.

    Raises:
        ConfigError: a value is wrong, a queue has no groups, or a log has groups.
    """

    name: str
    type: Any
    keep_seconds: float | None
    groups: tuple[str, ...]
    max_bytes: int
    dedupe_seconds: float

    @overload
    def __init__(
        self: "Topic[Any]",
        name: str,
        type: None = None,
        *,
        keep_seconds: float | None = _KEEP_SECONDS,
        groups: Sequence[str] = (),
        max_bytes: int = MAX_BYTES,
        dedupe_seconds: float = _DEDUPE_SECONDS,
    ) -> None: ...
    @overload
    def __init__(
        self,
        name: str,
        type: builtins.type[T],
        *,
        keep_seconds: float | None = _KEEP_SECONDS,
        groups: Sequence[str] = (),
        max_bytes: int = MAX_BYTES,
        dedupe_seconds: float = _DEDUPE_SECONDS,
    ) -> None: ...
    def __init__(
        self,
        name: str,
        type: Any = None,
        *,
        keep_seconds: float | None = _KEEP_SECONDS,
        groups: Sequence[str] = (),
        max_bytes: int = MAX_BYTES,
        dedupe_seconds: float = _DEDUPE_SECONDS,
    ) -> None:
        if isinstance(groups, str) or not isinstance(groups, Sequence):
            raise ConfigError(f"groups of the topic {name!r} is {groups!r}, it must be a tuple of names")
        check_topic(TopicSettings(name, keep_seconds, tuple(groups), max_bytes, dedupe_seconds))
        self.__dict__.update(
            name=name,
            type=type,
            keep_seconds=keep_seconds,
            groups=tuple(groups),
            max_bytes=max_bytes,
            dedupe_seconds=dedupe_seconds,
        )

    @property
    def settings(self) -> TopicSettings:
        """The settings with which the topic is declared."""
        keep = None if self.keep_seconds is None else float(self.keep_seconds)
        groups = tuple(sorted(self.groups))
        return TopicSettings(self.name, keep, groups, self.max_bytes, float(self.dedupe_seconds))
