"""Permissions of callers at a broker: to publish, to subscribe, to join groups, and to manage topics."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from fastrpc.auth.policy import Policy, TopicRight
from fastrpc.brokers.base import GroupState, TopicSettings
from fastrpc.hosted.rights import Grant, ServiceRights
from fastrpc.patterns import TopicPattern
from fastrpc.rpc.identity import Identity

__all__ = ["GROUPS", "MANAGE", "PUBLISH", "SUBSCRIBE", "BrokerRights"]


def _covers(pattern: TopicPattern, name: str) -> bool:
    """Return whether the pattern of a rule covers a name, or every name of a pattern."""
    return TopicPattern(name).is_below(pattern)


def _patterns(right: TopicRight) -> Callable[[Policy, Identity | None], Sequence[TopicPattern]]:
    return lambda policy, identity: policy.topic_patterns(identity, right)


PUBLISH: Final[Grant[TopicPattern]] = Grant("publish to", "topic", "publish", _patterns("publish"), _covers)
SUBSCRIBE: Final[Grant[TopicPattern]] = Grant(
    "subscribe to", "topic", "subscribe", _patterns("subscribe"), _covers
)
GROUPS: Final[Grant[TopicPattern]] = Grant(
    "use the group", "group", "groups", _patterns("groups"), TopicPattern.matches
)
MANAGE: Final[Grant[TopicPattern]] = Grant("manage", "topic", "manage", _patterns("manage"), _covers)

_OF_TOPICS: Final = (PUBLISH, SUBSCRIBE, MANAGE)


class BrokerRights:
    """Checks whether the caller of the running call has the rights for it.

    ======================================  =====================================================================
    publish                                 `publish` for the name
    consume, follow and pull                `subscribe` for the pattern; with a group `groups` for its name
    declare a new topic                     `publish` or `manage` for all its names; a queue without `manage` also
                                            `groups` for each of its groups
    see a topic                             any right to one of its names; `covering`: to all names of the pattern
    see a group                             `groups` for its name, or `manage` for its pattern
    seek, remove, replay, discard, read     `manage` for the pattern of the group; or `groups` for its name and
    dead letters                            `subscribe` for its pattern
    ======================================  =====================================================================

    Args:
        rights: the rights of the policy; None: every caller has all rights.
    """

    def __init__(self, rights: ServiceRights | None) -> None:
        self._rights = rights

    @property
    def is_free(self) -> bool:
        """True if every caller has all rights."""
        return self._rights is None

    def check_publish(self, names: Iterable[str]) -> None:
        """Check the right to publish. All checks raise CallError: PERMISSION_DENIED."""
        if self._rights is not None:
            self._rights.check(PUBLISH, [*names])

    def check_subscribe(self, pattern: str, group: str | None) -> None:
        """Check the right to subscribe."""
        if self._rights is not None:
            self._rights.check(SUBSCRIBE, [pattern])
            if group is not None:
                self._rights.check(GROUPS, [group])

    def check_declare(self, topic: TopicSettings, present: TopicSettings | None) -> None:
        """Check the right to declare. A caller that sees a topic may declare it again with the same settings."""
        rights = self._rights
        if rights is None or (present == topic and self.sees(topic)):
            return
        if not rights.granted(MANAGE, [topic.name]):
            rights.check(PUBLISH, [topic.name])
            # A declaration of a queue creates its groups, for which the queue then keeps messages.
            rights.check(GROUPS, topic.groups)

    def check_covering(self, pattern: str) -> None:
        """Check the right to query the topic that covers a pattern."""
        if self._rights is not None and not self._has_any(pattern):
            self._rights.check(SUBSCRIBE, [pattern])

    def sees(self, topic: TopicSettings) -> bool:
        """Return whether the caller may see a topic in lists."""
        if self._rights is None:
            return True
        pattern = TopicPattern(topic.name)
        return any(
            pattern.overlaps(granted) for grant in _OF_TOPICS for granted in self._rights.patterns(grant)
        )

    def sees_group(self, group: GroupState) -> bool:
        """Return whether the caller may see a group in lists."""
        rights = self._rights
        return (
            rights is None
            or bool(rights.granted(GROUPS, [group.name]))
            or bool(rights.granted(MANAGE, [group.pattern]))
        )

    def check_group(self, name: str, present: GroupState | None) -> None:
        """Check the right to manage a group. Without the right, the error does not show whether the group exists."""
        rights = self._rights
        if rights is None:
            return
        pattern = "**" if present is None else present.pattern
        if not rights.granted(MANAGE, [pattern]):
            rights.check(GROUPS, [name])
            if present is not None:
                rights.check(SUBSCRIBE, [pattern])

    def _has_any(self, pattern: str) -> bool:
        rights = self._rights
        return rights is None or any(rights.granted(grant, [pattern]) for grant in _OF_TOPICS)
