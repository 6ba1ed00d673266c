"""The shapes of the admin pages that the console reads, with the bounds of their values."""

from typing import Annotated, Any, Final, TypeAlias

import msgspec

__all__ = ["MOST_METHODS", "CallerEndpoint", "EndpointsPage", "FiguresPage", "MethodFigures", "ServedService"]

#: Methods of a server that are kept: a process counts 4,096 on each side.
MOST_METHODS: Final = 8_192

#: Longest name; whole numbers that a float holds exactly; seconds and bytes.
Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=255)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
Amount: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e18)]


class MethodFigures(msgspec.Struct, frozen=True):
    """The cumulative counts of a method on one side."""

    service: Name
    method: Name
    side: Name
    protocol: Name
    in_flight: Count
    calls: dict[Name, Count]
    received_bytes: Count
    sent_bytes: Count
    sum_seconds: Amount
    #: Each used bucket: its bound in seconds, None for the last, and its calls.
    buckets: Annotated[list[tuple[Amount | None, Count]], msgspec.Meta(max_length=128)]


class ServedService(msgspec.Struct, frozen=True):
    name: Name
    version: Name | None = None
    state: Name = ""


class FiguresPage(msgspec.Struct, frozen=True):
    """The page `/figures`."""

    #: Random, another one after each start.
    server: Name
    revision: Count
    started: Amount
    methods: Annotated[list[MethodFigures], msgspec.Meta(max_length=MOST_METHODS)]
    fastrpc: Name = ""
    python: Name = ""
    ready: bool = False
    draining: bool = False
    services: Annotated[list[ServedService], msgspec.Meta(max_length=1_000)] = []
    processes: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=1_000)] = []
    #: Processes that did not answer.
    without: Annotated[list[int], msgspec.Meta(max_length=1_000)] = []


class CallerEndpoint(msgspec.Struct, frozen=True):
    """An endpoint of a client in a server."""

    target: Annotated[str, msgspec.Meta(max_length=1_000)]
    address: Annotated[str, msgspec.Meta(max_length=1_000)]
    state: Name = ""
    breaker: Name | None = None
    weight: Count = 1
    in_flight: Count | None = None
    connections: Count = 0


class EndpointsPage(msgspec.Struct, frozen=True):
    """The page `/endpoints`."""

    endpoints: Annotated[list[CallerEndpoint], msgspec.Meta(max_length=1_000)] = []
