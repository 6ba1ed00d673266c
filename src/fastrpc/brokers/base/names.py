"""Names of topics and groups, and patterns of topics.

A name is words joined by dots. In a pattern `*` stands for any one word, and `**` at the end for one or more. ::

    orders.new     this name alone
    orders.*       orders.new, not orders.new.paid
    orders.**      both
"""

from fastrpc.errors import ConfigError
from fastrpc.patterns import NAME_CHARACTERS, TopicPattern, check_name_length, fault_of_word

__all__ = ["NAME_CHARACTERS", "TopicPattern", "check_group", "check_name"]


def check_name(name: str) -> None:
    """Check the name of one topic, to which messages are published.

    Raises:
        TypeError: the name is not text.
        ConfigError: the name is malformed, or a pattern.
    """
    if not TopicPattern(name).is_name:
        raise ConfigError(
            f"{name!r} is a pattern, messages are published to one name", hint="write orders.new"
        )


def check_group(name: str) -> None:
    """Check the name of a group.

    Raises:
        TypeError: the name is not text.
        ConfigError: the name is malformed.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a group is {name!r}, it must be text")
    if (fault := next(filter(None, map(fault_of_word, name.split("."))), None)) is not None:
        raise ConfigError(f"{name!a} is not the name of a group: {fault}", hint="write billing.bill")
    check_name_length(name, "group")
