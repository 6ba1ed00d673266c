"""The shapes of the admin pages that the console reads, with the bounds of their values."""

from typing import Annotated, Final, TypeAlias

import msgspec

__all__ = [
    "MOST_METHODS",
    "CallerEndpoint",
    "EndpointsPage",
    "FiguresPage",
    "MethodFigures",
    "ProcessFigures",
    "RegistryRecord",
    "ServedService",
]

#: The most methods of a server that are kept: a process counts 4,096 on each side.
MOST_METHODS: Final = 8_192

#: The most services of a server, as many as the methods that a process counts. MOST_RECORDS: the most records of these
#: services; each has a record for each address of the server.
MOST_SERVICES: Final = 4_096
MOST_RECORDS: Final = 2 * MOST_SERVICES

#: `Name`: a name of limited length. `Count`: a whole number that a float holds exactly. `Amount`: seconds or bytes.
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
    #: Calls by status; there are 17 statuses.
    calls: Annotated[dict[Name, Count], msgspec.Meta(max_length=32)]
    received_bytes: Count
    sent_bytes: Count
    sum_seconds: Amount
    #: Each used bucket: its bound in seconds, None for the last, and its calls.
    buckets: Annotated[list[tuple[Amount | None, Count]], msgspec.Meta(max_length=128)]


class ServedService(msgspec.Struct, frozen=True):
    name: Name
    version: Name | None = None
    state: Name = ""


class RegistryRecord(msgspec.Struct, frozen=True):
    """A record of a server in its registry: the current and the configured weight, and whether it is taken out."""

    weight: Count
    configured_weight: Count
    is_out: bool


class ProcessFigures(msgspec.Struct, frozen=True):
    """A process of a server; None is a number that its system does not report."""

    process_id: Count | None = None
    role: Name = "process"
    processor_seconds: Amount | None = None
    resident_bytes: Count | None = None
    descriptors: Count | None = None
    loop_lag_seconds: Amount | None = None


class FiguresPage(msgspec.Struct, frozen=True):
    """The page `/figures`."""

    #: A random text, which differs after each start.
    server: Name
    revision: Count
    #: `started`: the start of the server. `time`: the instant of the page. Both are by the server's clock.
    started: Amount
    methods: Annotated[list[MethodFigures], msgspec.Meta(max_length=MOST_METHODS)]
    time: Amount = 0.0
    fastrpc: Name = ""
    python: Name = ""
    ready: bool = False
    draining: bool = False
    #: `state`: the health of the whole server. `log_levels`: the levels of some loggers, by name.
    state: Name = ""
    log_levels: Annotated[dict[Name, Name], msgspec.Meta(max_length=8)] = {}
    services: Annotated[list[ServedService], msgspec.Meta(max_length=MOST_SERVICES)] = []
    records: Annotated[list[RegistryRecord], msgspec.Meta(max_length=MOST_RECORDS)] = []
    processes: Annotated[list[ProcessFigures], msgspec.Meta(max_length=1_024)] = []
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
