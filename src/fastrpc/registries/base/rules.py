"""When a list from a registry is believed.

A registry that restarts, loses its leader or its network answers with lists that lack servers which are well. So:

- A list that lost half of its endpoints, or more, is believed only when a second look a short while later shows a loss
  as well.
- A first list that is empty is believed only at a second look, too: it is what a registry without its memory says.
- After a failure or a restart of the registry nothing is removed for a while: servers need the time to come back
  into the list.

What is new is used at once in any case.

The second look comes 0.4 s later. After an outage nothing is removed for 10 s, twice the time in which servers are
back in the list. Calling a server that is gone costs a retry, dropping one that is well costs calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fastrpc.endpoint import Endpoint

__all__ = ["CONFIRM_SECONDS", "MOST_ENDPOINTS", "SETTLE_SECONDS", "Decision", "ListRules"]

#: Endpoints of one service that are taken; more are a mistake or an attack.
MOST_ENDPOINTS = 10_000

#: Pause before the second look. Too short takes a hiccup for the truth, too long keeps calling servers that left.
CONFIRM_SECONDS = 0.4

#: Time after a failure in which nothing is removed: twice the five seconds in which servers are registered again.
SETTLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What to make of a list."""

    #: The list to publish, which may be the one published before; None while there is none to be believed.
    endpoints: tuple[Endpoint, ...] | None

    #: Seconds after which to look again, whether the registry reports a change or not; None needs no second look.
    look_again: float | None


class ListRules:
    """Decides list by list; `now` is an instant of a monotonic clock."""

    def __init__(
        self, *, confirm_seconds: float = CONFIRM_SECONDS, settle_seconds: float = SETTLE_SECONDS
    ) -> None:
        self._confirm_seconds = confirm_seconds
        self._settle_seconds = settle_seconds
        self._believed: tuple[Endpoint, ...] | None = None
        # The last list given out: what was believed, and what came in a list that was in doubt.
        self._published: tuple[Endpoint, ...] = ()
        self._doubted_since: float | None = None
        # Nothing is removed before this instant. While the registry is away it is not known yet.
        self._settled_at = float("-inf")
        self._is_away = False

    @property
    def believed(self) -> tuple[Endpoint, ...] | None:
        """The last list that was not in doubt; None before the first."""
        return self._believed

    def start_from(self, endpoints: Sequence[Endpoint]) -> None:
        """Take a list kept from an earlier run for the one believed so far."""
        self._believed = self._published = tuple(endpoints)

    def note_failure(self) -> None:
        """Take note that the registry could not be asked, or has started anew."""
        self._is_away = True
        self._doubted_since = None

    def decide(self, endpoints: Sequence[Endpoint], now: float) -> Decision:
        """Return what holds, now that the registry answered with a list in which each address is once."""
        if self._is_away:
            self._is_away = False
            self._settled_at = now + self._settle_seconds
        new = tuple(endpoints)
        if self._believed is None:
            return self._believe(new) if new else self._doubt(new, None, now)
        found = {endpoint.address for endpoint in new}
        is_settling = now < self._settled_at
        held = self._published if is_settling else self._believed
        missing = [endpoint for endpoint in held if endpoint.address not in found]
        if not missing:
            return self._believe(new)
        # A registry that fails all the time removes nothing for as long, but what it adds is bounded all the same.
        del missing[max(0, MOST_ENDPOINTS - len(new)) :]
        everything = tuple(sorted([*new, *missing], key=str))
        if is_settling:
            self._believed = self._published = everything
            return Decision(everything, self._settled_at - now)
        if 2 * len(missing) < len(self._believed):
            return self._believe(new)
        return self._doubt(new, everything, now)

    def _doubt(
        self, new: tuple[Endpoint, ...], meanwhile: tuple[Endpoint, ...] | None, now: float
    ) -> Decision:
        if self._doubted_since is None:
            self._doubted_since = now
        left = self._doubted_since + self._confirm_seconds - now
        if left <= 0:
            return self._believe(new)
        self._published = meanwhile or ()
        return Decision(meanwhile, left)

    def _believe(self, new: tuple[Endpoint, ...]) -> Decision:
        self._believed = self._published = new
        self._doubted_since = None
        return Decision(new, None)
