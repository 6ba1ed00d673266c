"""Filters that narrow the endpoints before a pick: labels, version, zone, a subset of a large endpoint set."""

import operator
import re
from collections.abc import Callable, Sequence

from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError
from fastrpc.selectors.base import ClientName, Filter

__all__ = ["labels", "subset", "version", "zone"]

_IsSound = Callable[[Endpoint], bool]

_COMPARISONS: dict[str, Callable[[list[int], list[int]], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    "": operator.eq,
}
_CONDITION = re.compile(r"\s*(>=|<=|!=|>|<|=|)\s*v?(\d+(?:\.\d+)*)\s*")
_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)")


def labels(**wanted: str) -> Filter:
    """Keep endpoints that have all these labels: `labels(tier="fast", stage="blue")`.

    An endpoint's label `group` may name several rpcx groups, separated by commas; one match is enough.
    """

    def has(endpoint: Endpoint, name: str, value: str) -> bool:
        found = endpoint.labels.get(name)
        return found == value or (name == "group" and found is not None and value in found.split(","))

    def keep(endpoints: Sequence[Endpoint], is_sound: _IsSound) -> Sequence[Endpoint]:
        return [each for each in endpoints if all(has(each, *pair) for pair in wanted.items())]

    return keep


def version(condition: str) -> Filter:
    """Keep endpoints whose version meets a condition such as `"2"`, `">=1.4"` or `">=1.4, <2"`.

    Versions are numbers separated by dots. Only as many numbers as in the condition are compared: `"2"` and `">=2"`
    both match 2.7.1. A suffix after the numbers is ignored. An endpoint without a version meets no condition.

    Raises:
        ConfigError: the condition cannot be read.
    """
    conditions = []
    for part in condition.split(","):
        match = _CONDITION.fullmatch(part)
        if match is None:
            raise ConfigError(
                f"{condition!r} is not a condition for a version",
                hint="write it as '2', '>=1.4' or '>=1.4, <2'",
            )
        conditions.append((_COMPARISONS[match[1]], _numbers(match[2])))

    def meets(endpoint: Endpoint) -> bool:
        match = _VERSION.match(endpoint.version)
        if match is None:
            return False
        numbers = _numbers(match[1])
        return all(compare(_padded(numbers, len(limit)), limit) for compare, limit in conditions)

    def keep(endpoints: Sequence[Endpoint], is_sound: _IsSound) -> Sequence[Endpoint]:
        return [each for each in endpoints if meets(each)]

    return keep


def zone(name: str, *, sound: float = 0.7) -> Filter:
    """Keep the endpoints of one zone while at least the share `sound` of them is healthy, otherwise all zones.

    If `sound` is low, few endpoints may get the whole load; if it is high, a single failure makes calls use all zones.
    """
    if not 0 < sound <= 1:
        raise ConfigError(f"sound is {sound!r}, it must be a number above 0 and at most 1")

    def keep(endpoints: Sequence[Endpoint], is_sound: _IsSound) -> Sequence[Endpoint]:
        near = [each for each in endpoints if each.zone == name]
        healthy = sum(map(is_sound, near))
        return near if near and healthy >= sound * len(near) else endpoints

    return keep


def subset(size: int, *, client: str | bytes | int | None = None) -> Filter:
    """Keep `size` endpoints of a large endpoint set, so that not every client connects to every server.

    The choice depends only on the client's name and the endpoints (rendezvous hashing, Thaler and Ravishankar, 1998):
    adding or removing an endpoint changes at most one chosen endpoint. Each client must have a different name; with
    many clients the servers then get about equal shares.

    Args:
        client: the client's name. A fixed name chooses the same endpoints after a restart; None generates a name of
            host and process.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigError(f"size is {size!r}, it must be a whole number from 1")
    name = ClientName(client)

    def keep(endpoints: Sequence[Endpoint], is_sound: _IsSound) -> Sequence[Endpoint]:
        if len(endpoints) <= size:
            return endpoints
        chosen = {id(each) for each in name.ranked(endpoints)[:size]}
        return [each for each in endpoints if id(each) in chosen]

    return keep


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(".")]


def _padded(numbers: list[int], size: int) -> list[int]:
    """Truncate, or pad with zeros."""
    return (numbers + [0] * size)[:size]
