"""The rules for accepting a list from a registry.

A registry that restarts, or loses its leader or its network, may return lists without some healthy servers. So:

- A list that lost half of its endpoints or more is accepted only if a second query, 0.4 s later, shows a loss too.
- An empty first list is accepted only after a second query, too: a registry that lost its data returns an empty list.
- After a failure or a restart of the registry, endpoints are removed only after it has answered for 10 s, twice the
  time in which servers register again.
- If a registry fails again and again, an endpoint is removed after 10 s in which the registry answered without that
  endpoint. An outage interrupts this count; a restart resets it.

New endpoints are always used immediately. The rules prefer to keep endpoints: calling a stopped server costs a retry,
but without a healthy server calls fail.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fastrpc.endpoint import Address, Endpoint

__all__ = [
    "CONFIRM_SECONDS",
    "LEAST_LOOK_SECONDS",
    "LOOK_SECONDS",
    "MOST_ENDPOINTS",
    "MOST_SERVICES",
    "SETTLE_SECONDS",
    "SILENT_SECONDS",
    "ListDecision",
    "ListRules",
]

#: The most endpoints of one service. A longer list is a mistake or an attack.
MOST_ENDPOINTS = 10_000

#: The most services of a registry. Names of further services are not requested.
MOST_SERVICES = 100_000

#: Seconds before the second query. A shorter time accepts more wrong lists; during a longer time clients keep calling
#: servers that have stopped.
CONFIRM_SECONDS = 0.4

#: Seconds for which the registry has to answer after a failure before endpoints are removed: twice the five seconds in
#: which servers register again. If there are further outages, each missing endpoint is kept until the registry has
#: answered without it for this many seconds in all.
SETTLE_SECONDS = 10.0

#: Seconds between two queries for a list that lacks endpoints, within `SETTLE_SECONDS` after a failure. The time from
#: the last answer to an outage does not count, because the registry may have been unreachable already. A shorter
#: interval would query a registry that has just restarted too often.
LOOK_SECONDS = 1.0

#: The shortest time in seconds until the next query. The sum of many intervals may be short of the limit by a rounding
#: error; without this minimum the next query would be immediate.
LEAST_LOOK_SECONDS = 0.001

#: If endpoints are missing and more than this many seconds pass between two answers, there was an unnoticed outage: the
#: second answer counts as the first answer after an outage. However, a service that is queried in turn gets an answer
#: every five seconds, or later from a slow registry. So the second answer still adds `LOOK_SECONDS` to the absence of
#: each endpoint that it lacks; otherwise no endpoint would ever be removed.
SILENT_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class ListDecision:
    """The decision about a list."""

    #: The list to publish, which may be the last published one; None if no list is accepted.
    endpoints: tuple[Endpoint, ...] | None

    #: Seconds until the list must be queried again, even if the registry reports no change; None if it need not be.
    look_again: float | None


class ListRules:
    """Decides which lists of one service to accept. `now` is the time of a monotonic clock."""

    def __init__(
        self, *, confirm_seconds: float = CONFIRM_SECONDS, settle_seconds: float = SETTLE_SECONDS
    ) -> None:
        self._confirm_seconds = confirm_seconds
        self._settle_seconds = settle_seconds
        self._believed: tuple[Endpoint, ...] | None = None
        # The last published list: the accepted endpoints, and new endpoints of a suspicious list.
        self._published: tuple[Endpoint, ...] = ()
        self._doubted_since: float | None = None
        # No endpoint is removed before this time unless it was absent for `settle_seconds`.
        self._settled_at = float("-inf")
        self._is_away = False
        # The time of the last answer; None after a failure.
        self._answered_at: float | None = None
        # For each published endpoint that the answers lack: the seconds for which the registry answered without it.
        self._absent: dict[Address, float] = {}

    @property
    def believed(self) -> tuple[Endpoint, ...] | None:
        """The last accepted list; None before the first."""
        return self._believed

    def start_from(self, endpoints: Sequence[Endpoint]) -> None:
        """Use a list that an earlier run saved as the last accepted list."""
        self._believed = self._published = tuple(endpoints)

    def note_failure(self) -> None:
        """Record that the registry was unreachable."""
        self._is_away = True
        self._doubted_since = self._answered_at = None

    def note_restart(self) -> None:
        """Record that the registry has restarted, perhaps without its data."""
        self.note_failure()
        self._absent.clear()

    def decide(self, endpoints: Sequence[Endpoint], now: float) -> ListDecision:
        """Decide about a list from the registry, in which each address occurs once."""
        if self._absent and self._answered_at is not None and now - self._answered_at > SILENT_SECONDS:
            self.note_failure()
            self._answered_at = now - LOOK_SECONDS
        if self._is_away:
            self._is_away = False
            self._settled_at = now + self._settle_seconds
        new = tuple(endpoints)
        if self._believed is None:
            return self._believe(new) if new else self._doubt(new, None, now)
        is_settling = now < self._settled_at
        missing = self._missing(new, self._published if is_settling else self._believed, now)
        if is_settling:
            missing = [one for one in missing if self._absent[one.address] < self._settle_seconds]
        if not missing:
            return self._believe(new)
        # A registry that fails permanently removes no endpoints, so additions need a bound.
        del missing[max(0, MOST_ENDPOINTS - len(new)) :]
        everything = tuple(sorted([*new, *missing], key=str))
        if is_settling:
            self._believed = self._published = everything
            longest = max((self._absent[one.address] for one in missing), default=0.0)
            left = min(self._settled_at - now, self._settle_seconds - longest)
            return ListDecision(everything, max(LEAST_LOOK_SECONDS, min(left, LOOK_SECONDS)))
        if 2 * len(missing) < len(self._believed):
            return self._believe(new)
        return self._doubt(new, everything, now)

    def _missing(self, new: Sequence[Endpoint], held: Sequence[Endpoint], now: float) -> list[Endpoint]:
        """Return the held endpoints that an answer lacks, and add up the seconds for which each was absent."""
        passed = 0.0 if self._answered_at is None else now - self._answered_at
        self._answered_at = now
        found = {endpoint.address for endpoint in new}
        missing = [endpoint for endpoint in held if endpoint.address not in found]
        before, self._absent = self._absent, {}
        for address in (one.address for one in missing):
            self._absent[address] = before[address] + passed if address in before else 0.0
        return missing

    def _doubt(
        self, new: tuple[Endpoint, ...], meanwhile: tuple[Endpoint, ...] | None, now: float
    ) -> ListDecision:
        if self._doubted_since is None:
            self._doubted_since = now
        left = self._doubted_since + self._confirm_seconds - now
        if left <= 0:
            return self._believe(new)
        self._published = meanwhile or ()
        return ListDecision(meanwhile, left)

    def _believe(self, new: tuple[Endpoint, ...]) -> ListDecision:
        self._believed = self._published = new
        self._doubted_since = None
        self._absent.clear()
        return ListDecision(new, None)
