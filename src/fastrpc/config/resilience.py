"""Settings for retries, circuit breakers, outlier ejection and health probes."""

from dataclasses import field

from fastrpc.config.validation import (
    Settings,
    check_count,
    check_number,
    check_parts,
    check_seconds,
    check_text,
    settings_class,
)

__all__ = ["Backoff", "Breaker", "Outlier", "Probes", "Retries"]


@settings_class
class Backoff(Settings):
    """The delay before the next attempt: `first`, then `factor` times the last delay.

    Attributes:
        first: seconds to wait after the first failure; never more than `longest`. Too low hammers a server that is
            starting, too high returns late after a short break.
        factor: growth of the wait from failure to failure. 1 keeps it constant, too high jumps to the longest wait
            after one failure.
        longest: longest wait in seconds. Too low keeps hammering a server that is down, too high notices its return
            late.
        jitter: share of each wait that is random, to either side. Too low lets many clients reconnect at the same
            moment, too high makes the wait arbitrary.
    """

    first: float = 0.1
    factor: float = 1.6
    longest: float = 30.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        check_seconds(self, "first")
        check_number(self, "factor", 1, 1_000)
        check_seconds(self, "longest")
        check_number(self, "jitter", 0, 1)


@settings_class
class Retries(Settings):
    """The budget and the pauses of retries, for all calls of a client together.

    The budget counts attempts that a server may have seen. A retry of an attempt that provably reached no server (there
    was no connection, or the server was draining) is free.

    Attributes:
        budget_share: retries and hedges as a share of the calls of the last second. Too low gives up calls that could
            have succeeded, too high adds a flood of retries to a failing server's load.
        budget_per_second: retries and hedges per second in addition to that share. Too low leaves clients with few
            calls without retries, too high adds up over many clients.
        backoff: pauses between the attempts of one call. If the server asked for a longer pause, that pause applies.
            Short pauses hammer a server in trouble, long pauses use up the time of the call.
    """

    budget_share: float = 0.2
    budget_per_second: float = 10.0
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.02, factor=2.0, longest=1.0, jitter=0.5))

    def __post_init__(self) -> None:
        check_number(self, "budget_share", 0, 10)
        check_number(self, "budget_per_second", 0, 1_000_000)
        check_parts(self, backoff=Backoff)


@settings_class
class Breaker(Settings):
    """The circuit breaker of one method at one endpoint.

    The breaker opens after `consecutive` faults in a row, or when `fault_rate` of at least `minimum_calls` within
    `window` were faults. After `open_seconds`, longer each time, `probes` calls are admitted; the breaker closes if all
    of them succeed, and opens again if one fails.

    Attributes:
        consecutive: faults in a row that open the breaker; None: they are not counted. Too low opens on bad luck, too
            high lets many calls fail at a dead endpoint.
        fault_rate: share of faults among the calls within `window` that opens the breaker; None: the share is ignored.
            Too low opens on ordinary noise, too high never opens on an endpoint that fails every other call.
        minimum_calls: number of calls within `window` below which the share of faults is ignored. Too low opens on a
            handful of calls, too high never opens for rare methods.
        window: seconds over which the share is measured. Too low forgets between calls, too high lets old faults open
            the breaker late.
        open_seconds: seconds for which the breaker stays open at first; doubled each time probes fail, up to
            `longest_open`. Too low probes a sick endpoint all the time, too high keeps calls from a healthy one.
        longest_open: the most seconds for which the breaker stays open. If services call each other, each tier notices
            a recovery only after the tier that it calls. Too low calls a failing endpoint again and again, too high
            keeps failing calls long after its recovery.
        probes: number of calls that are admitted as probes, all of which have to succeed to close the breaker. Too low
            trusts a single success, too high burdens an endpoint that is just recovering.
    """

    consecutive: int | None = 5
    fault_rate: float | None = 0.5
    minimum_calls: int = 20
    window: float = 10.0
    open_seconds: float = 1.0
    longest_open: float = 2.0
    probes: int = 1

    def __post_init__(self) -> None:
        if self.consecutive is not None:
            check_count(self, "consecutive", 1)
        check_number(self, "fault_rate", 0, 1, optional=True, above=True)
        check_count(self, "minimum_calls", 1)
        check_seconds(self, "window")
        check_seconds(self, "open_seconds")
        check_seconds(self, "longest_open")
        check_count(self, "probes", 1)


@settings_class
class Outlier(Settings):
    """Outlier ejection: an endpoint that does worse than the others gets no calls for a while.

    Every `interval` the endpoints are compared. If more than half of the endpoints would be ejected, all are used.

    Attributes:
        consecutive: faults in a row, of any methods, after which an endpoint is ejected immediately; None: they are not
            counted. Too low ejects on bad luck, too high lets many calls fail.
        interval: seconds between comparisons. Too low compares too few calls, too high finds a bad endpoint late.
        minimum_calls: attempts within an interval below which an endpoint is not compared. Too low compares noise,
            too high never compares the endpoints of clients with few calls.
        success_gap: how far the share of good answers of an endpoint may lie below the share of all endpoints; None: it
            is ignored. Too low ejects on noise, too high keeps an endpoint that fails many calls.
        slow_factor: largest ratio of an endpoint's average time to the median of all endpoints, compared method by
            method; None: times are not compared. Too low ejects endpoints that are merely far away, too high keeps a
            slow endpoint.
        slow_above: average times below this number of seconds are never slow. Too low ejects over microseconds, too
            high keeps an endpoint that is slow for fast calls.
        ejection: seconds for which an endpoint is ejected the first time; each further time is longer by this much, up
            to `longest_ejection`. Too low sends calls to a sick endpoint again and again, too high wastes a healthy
            one.
        longest_ejection: the most seconds of one ejection.
    """

    consecutive: int | None = 5
    interval: float = 1.0
    minimum_calls: int = 20
    success_gap: float | None = 0.2
    slow_factor: float | None = 5.0
    slow_above: float = 0.01
    ejection: float = 5.0
    longest_ejection: float = 300.0

    def __post_init__(self) -> None:
        if self.consecutive is not None:
            check_count(self, "consecutive", 1)
        check_seconds(self, "interval")
        check_count(self, "minimum_calls", 1)
        check_number(self, "success_gap", 0, 1, optional=True, above=True)
        check_number(self, "slow_factor", 1, 1_000_000, optional=True, above=True)
        check_seconds(self, "slow_above", zero=True)
        check_seconds(self, "ejection")
        check_seconds(self, "longest_ejection")


@settings_class
class Probes(Settings):
    """Health probes, which detect a failing endpoint before a call does.

    Each endpoint with a connection is probed by `fastrpc.health.check` on it: once the connection is open, then every
    `interval`, plus or minus 10 %. An endpoint with any other answer than SERVING is down immediately, a silent
    endpoint after `fall` probes. Calls in flight at an endpoint that is down continue; new calls use other endpoints.
    If more than half of the endpoints would be down or ejected, all are used. A server without the health service, or a
    server that refuses the probe, is up as long as it answers.

    Every client probes every endpoint, so the traffic grows with the number of clients times the number of endpoints.
    Health probes do not count as activity.

    Attributes:
        interval: seconds between the probes of an endpoint. Too low burdens servers with many clients, too high sends
            calls to a sick endpoint for longer.
        timeout: seconds a probe may take. Too low takes a busy endpoint for a sick one, too high notices a hung
            endpoint late.
        service: the service to check; "" for the server as a whole, which every server supports. With a name,
            endpoints without that service count as not serving.
        fall: probes in a row without an answer after which an endpoint is down. Too low loses an endpoint to a
            single pause, too high sends calls to a hung endpoint for many intervals.
        rise: probes in a row that have to pass before an endpoint is up again. Too low trusts an unstable endpoint, too
            high leaves a healthy endpoint without calls.
    """

    interval: float = 5.0
    timeout: float = 1.0
    service: str = ""
    fall: int = 2
    rise: int = 1

    def __post_init__(self) -> None:
        check_seconds(self, "interval")
        check_seconds(self, "timeout")
        check_text(self, "service")
        check_count(self, "fall", 1)
        check_count(self, "rise", 1)
