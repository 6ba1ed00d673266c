"""Checks of rows. Damage may have changed any value of a file, including its type."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import NoneType
from typing import Any, Final

import msgspec

from fastrpc.brokers.base import TopicSettings
from fastrpc.brokers.base.checks import check_topic
from fastrpc.brokers.base.names import TopicPattern, check_group
from fastrpc.brokers.sqlite.rows import sum_of
from fastrpc.errors import ConfigError

__all__ = ["COLUMNS", "checked", "is_sound", "is_whole", "settings_of"]

#: The types of the columns of the tables that are copied.
COLUMNS: Final[Mapping[str, tuple[Any, ...]]] = {
    "topics": (int, str, bytes, int),
    "positions": (int, str, int, str, int, int),
    "ids": (int, int, float, str),
    "settled": (int, int),
    "counted": (int, int, int, float),
    "messages": (int, int, int, int, float, (str, NoneType), int, bytes, bytes),
    "letters": (int, int, int, int, int, float, int, bytes, bytes),
}


def is_whole(told: Any, head: Any, body: Any) -> bool:
    """Return whether the checksum of a message or a dead letter is right."""
    return isinstance(head, bytes) and isinstance(body, bytes) and sum_of(head, body) == told


def settings_of(name: Any, content: Any) -> TopicSettings:
    """Return the settings of a topic.

    Raises:
        ValueError: the row is damaged.
    """
    try:
        settings = msgspec.msgpack.decode(content, type=TopicSettings)
        check_topic(settings)
    except (ConfigError, TypeError, msgspec.DecodeError) as error:
        raise ValueError(f"the settings of the topic {name!a} are damaged: {error}") from error
    if settings.name != name:
        raise ValueError(f"the topic {name!a} has the settings of {settings.name!a}")
    return settings


def _check_position(name: str, pattern: str) -> None:
    try:
        check_group(name)
        TopicPattern(pattern)
    except ConfigError as error:
        raise ValueError(f"the group {name!a} is damaged: {error}") from error


def checked(table: str, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Check rows and yield them.

    Raises:
        ValueError: a row is damaged.
    """
    types = COLUMNS[table]
    check = _CHECKS.get(table)
    for row in rows:
        if not all(map(isinstance, row, types)):
            raise ValueError(f"the table {table} has a value of another type")
        if check is not None:
            check(row)
        yield row


def is_sound(table: str, row: tuple[Any, ...]) -> bool:
    """Return whether a row is undamaged."""
    try:
        return bool([*checked(table, (row,))])
    except ValueError:
        return False


def _check_sum(row: tuple[Any, ...]) -> None:
    if not is_whole(*row[-3:]):
        raise ValueError(f"the checksum of the row {row[0]} is wrong")


_CHECKS: Final[Mapping[str, Callable[[tuple[Any, ...]], Any]]] = {
    "topics": lambda row: settings_of(row[1], row[2]),
    "positions": lambda row: _check_position(row[1], row[3]),
    "messages": _check_sum,
    "letters": _check_sum,
}
