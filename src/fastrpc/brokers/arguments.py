"""Argument checks that several methods of a broker share.

They raise ConfigError, or TypeError for a value of a wrong type.
"""

from collections.abc import Sequence
from typing import Any

from fastrpc.brokers.base import BrokerLimits, Place
from fastrpc.brokers.base.checks import TEXT_BYTES
from fastrpc.brokers.base.names import check_group
from fastrpc.brokers.base.seconds import shown
from fastrpc.brokers.base.texts import bytes_of
from fastrpc.errors import ConfigError

__all__ = [
    "check_group_options",
    "check_in_flight",
    "check_letters",
    "check_short",
    "check_values",
    "one_each",
]


def check_values(values: object) -> None:
    """Refuse a single text or bytes object as `values`: each character would become a message."""
    if isinstance(values, str | bytes | bytearray | memoryview) or not hasattr(values, "__len__"):
        raise TypeError(f"values is a {type(values).__name__}, it must be a sequence of values")


def check_short(option: str, text: str) -> None:
    """Check that a key or an id is a text of 1 to 512 bytes."""
    if not isinstance(text, str):
        raise TypeError(f"the {option} of a message is {text!r}, it must be text")
    if not 0 < len(bytes_of(text, f"the {option} of a message")) <= TEXT_BYTES:
        raise ConfigError(
            f"the {option} of a message has {len(text.encode())} bytes, it must have 1 to {TEXT_BYTES}"
        )


def check_letters(group: str, ids: Sequence[str]) -> None:
    """Check the name of a group and the ids of its dead letters."""
    check_group(group)
    for id in ids:
        check_short("id", id)


def check_in_flight(limits: BrokerLimits, in_flight: int) -> None:
    """Check that one member of a group may hold `in_flight` unsettled messages."""
    if not isinstance(in_flight, int) or isinstance(in_flight, bool) or in_flight < 1:
        raise ConfigError(f"in_flight is {shown(in_flight)}, it must be a number from 1")
    if limits.most_in_flight is not None and in_flight > limits.most_in_flight:
        raise ConfigError(
            f"in_flight is {shown(in_flight)}, a member of {limits.scheme}:// holds {limits.most_in_flight} at most",
            hint="subscribe several times, or settle messages earlier",
        )


def one_each(option: str, given: Sequence[str | None] | None, values: Sequence[Any]) -> Sequence[str | None]:
    """Return one key or id for each value; return a None for each if `given` is None."""
    if given is None:
        return [None] * len(values)
    if isinstance(given, str) or len(given) != len(values):
        raise ConfigError(f"{option} has {len(given)} items for {len(values)} values")
    return given


def check_group_options(limits: BrokerLimits, group: str | None, start: Place, ordered: bool) -> None:
    """Check that the options of a subscription fit together and that the broker supports them."""
    if group is not None:
        check_group(group)
    elif start != "new":
        raise ConfigError(
            f"start is {start!r}, but a broadcast has only new messages",
            hint="name a group, or leave start out",
        )
    if ordered and not limits.has_order:
        raise ConfigError(
            f"ordered=True is not supported by {limits.scheme}://, which has no order by key",
            hint="leave ordered out, or use another broker",
        )
