from collections.abc import Iterator, Mapping
from typing import Any, Literal, final

#: The name under which calls of many methods are counted together: unknown methods, whose names a peer chooses, and
#: the methods beyond the limit of a registry.
OTHER_METHODS: str

#: Calls that servers of this process did not start, by reason: "unauthenticated", "denied", "rate", "concurrency",
#: "queue", "memory", "drain", "decode". And connections that they did not serve: "stranger", whose first bytes match no
#: protocol, and "handshake", which TLS refused.
REFUSALS: dict[str, int]

#: Further attempts of calls of this process, by reason: the name of the status of the previous attempt, "hedge" for an
#: attempt beside others.
RETRIES: dict[str, int]

#: Entries of metadata from peers that were left out as their keys have no native form, by protocol.
DROPPED: dict[str, int]

#: Attempts of clients of this process that servers refused to start, and calls that were not sent, by reason.
CLIENT_REFUSALS: dict[str, int]

def count_refusal(reason: str) -> None:
    """Count a call that was not started, or a connection that was not served."""

def count_unstarted(status: int, calls: int = 1) -> None:
    """Count calls of a client, or attempts, that no server started, by their status; CANCELLED does not count."""

def count_retry(reason: str) -> None:
    """Count a further attempt of a call."""

def count_dropped(protocol: str) -> None:
    """Count a metadata entry that was not sent."""

def count_wait(elapsed_ns: int) -> None:
    """Count the time that a call waited for its start."""

def waits_snapshot(side: Literal["client", "server"] = "server") -> dict[str, Any]:
    """Return the times that calls of this process waited for their start, as `Durations.snapshot` does.

    Calls of clients waited for a place within the limits of their server.
    """

@final
class MethodCounters:
    """The calls of one method as seen from one side, over one protocol.

    Durations are counted in 106 buckets between 1 us and 65.5 s, four to each doubling, so a quantile is off by
    less than 25 %, in practice by a few. Counting needs the GIL and costs about 2 ns a call.
    """

    def __init__(self, name: str, side: Literal["client", "server"], protocol: str = "native") -> None: ...
    @property
    def service(self) -> str:
        """The part before the last dot of the name; empty without a dot."""

    @property
    def method(self) -> str:
        """The part after the last dot of the name."""

    @property
    def side(self) -> Literal["client", "server"]: ...
    @property
    def protocol(self) -> str: ...
    @property
    def in_flight(self) -> int:
        """Calls started and not ended."""

    @property
    def ended_calls(self) -> int: ...
    @property
    def sum_seconds(self) -> float:
        """Seconds that the ended calls took, together."""

    @property
    def received_bytes(self) -> int: ...
    @property
    def sent_bytes(self) -> int: ...
    def count_started(self) -> None: ...
    def count_ended(self, status: int, elapsed_ns: int) -> None:
        """Count the end of a call that was counted as started. A number that is not a Status is UNKNOWN."""

    def count_moved(self, received_bytes: int, sent_bytes: int) -> None: ...
    def snapshot(self) -> dict[str, Any]:
        """Return the numbers of one moment as plain data.

        Keys: `service`, `method`, `side`, `protocol`, `in_flight`, `calls` (by status name; only statuses that
        occurred), `received_bytes`, `sent_bytes`, `sum_seconds` and `buckets`, a list of (upper bound in seconds,
        calls in this bucket alone). An upper bound belongs to its bucket; the last one is infinite.
        """

    def quantile(self, q: float) -> float:
        """Estimate how many seconds the fraction `q` of the calls took at most.

        Calls within a bucket count as evenly spread. NaN when no call has ended; 65.536 s, the last finite
        bound, when the answer lies beyond it. Raises ValueError unless 0 <= q <= 1.
        """

    def merge(self, other: MethodCounters | Mapping[str, Any]) -> None:
        """Add the numbers of other counters, or of a snapshot that may come from another process.

        Method, side and protocol need not agree. A snapshot that does not fit raises ValueError, KeyError or
        TypeError and changes nothing.
        """

@final
class Durations:
    """A histogram of durations, with the buckets of `MethodCounters`."""

    def count(self, elapsed_ns: int) -> None: ...
    def snapshot(self) -> dict[str, Any]:
        """Return `buckets` and `sum_seconds`, as `MethodCounters.snapshot` does."""

@final
class CallTotals:
    """The totals of one client. Counting needs the GIL."""

    connections: int

    def snapshot(self) -> dict[str, Any]:
        """Return the numbers as plain data.

        Keys: `calls` begun, `retries` of them, attempts that `succeeded` and that `failed` (by status name; only
        statuses that occurred), `sent_bytes` and `received_bytes` of payloads, `connections` made. Calls and retries
        that neither succeeded nor failed are in flight.
        """

@final
class CounterRegistry:
    """The counters of each method, side and protocol, created on first use."""

    def counters(
        self, name: str, side: Literal["client", "server"], protocol: str = "native"
    ) -> MethodCounters:
        """Return the counters of a method; keep the result, the look-up is too slow for each call.

        After 4,096 methods further ones are counted together, as `OTHER_METHODS`.
        """

    def __iter__(self) -> Iterator[MethodCounters]: ...
    def __len__(self) -> int: ...

#: The counters of the whole process, the default registry.
default_registry: CounterRegistry
