"""The rules for accepting a list from a registry.

A registry that restarts, or loses its leader or its network, returns lists without some healthy servers. So:

- A list that lost half of its endpoints or more is accepted only if a second look, 0.4 s later, shows a loss too.
- An empty first list is accepted only after a second look, too, as a registry that lost its data returns an empty list.
- After a failure or a restart of the registry, endpoints are removed only after it has answered for 10 s, twice the
  time in which servers register again.
- If a registry fails again and again, an endpoint is removed after 10 s in which the registry answered without that
  endpoint. An outage interrupts this count; a restart resets it.

New endpoints are always used at once. Calling a stopped server costs a retry, dropping a healthy one costs calls.
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

#: Most endpoints of one service; more are a mistake or an attack.
MOST_ENDPOINTS = 10_000

#: Most services of a registry; the names of further ones are not requested.
MOST_SERVICES = 100_000

#: Seconds before the second look. Too short accepts a glitch, too long keeps calling servers that have left.
CONFIRM_SECONDS = 0.4

#: Seconds of answers after a failure before endpoints are removed: twice the five seconds in which servers register
#: again. An endpoint is kept for this many seconds of answers without it, over any number of outages.
SETTLE_SECONDS = 10.0

#: Seconds between two looks at a list that lacks endpoints, while the list settles. The time from the last answer to an
#: outage does not count, as the registry may have been away. Too short queries a registry that has just returned too
#: often.
LOOK_SECONDS = 1.0

#: The shortest time in seconds until a look: the sum of many times may be too small by the resolution of the clock.
LEAST_LOOK_SECONDS = 0.001

#: If looks are due and this much time passes between two answers, an outage was not noticed: the second answer counts
#: as the first one after it. But a service that is queried in turn gets an answer every five seconds, or later from a
#: slow registry. So such an answer still counts as one look against each endpoint that it lacks; otherwise no endpoint
#: would ever be removed.
SILENT_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class ListDecision:
    """The decision about a list."""

    #: The list to publish, which may be the last published one; None if no list is accepted.
    endpoints: tuple[Endpoint, ...] | None

    #: Seconds until the second look, even if the registry reports no change; None if no second look is needed.
    look_again: float | None


class ListRules:
    """Decides about one list after the other; `now` is an instant of a monotonic clock."""

    def __init__(
        self, *, confirm_seconds: float = CONFIRM_SECONDS, settle_seconds: float = SETTLE_SECONDS
    ) -> None:
        self._confirm_seconds = confirm_seconds
        self._settle_seconds = settle_seconds
        self._believed: tuple[Endpoint, ...] | None = None
        # The last published list: the accepted endpoints, and new endpoints of a suspicious list.
        self._published: tuple[Endpoint, ...] = ()
        self._doubted_since: float | None = None
        # Endpoints are not removed before this instant; infinite while the registry is unreachable.
        self._settled_at = float("-inf")
        self._is_away = False
        # The instant of the last answer; None after a failure.
        self._answered_at: float | None = None
        # By address of an endpoint in the published list: the seconds in which the registry answered without the
        # endpoint.
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
        """Return the held endpoints that an answer lacks, and count for how many seconds each is absent."""
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
