"""Check the lists of one service by the rules, and publish accepted lists."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastrpc.endpoint import Endpoint
from fastrpc.errors import StoreError
from fastrpc.registries.base.backend import Entry, Listing
from fastrpc.registries.base.cache import CacheFile
from fastrpc.registries.base.policy import AddressPolicy, AddressRefusedError
from fastrpc.registries.base.record import RecordError
from fastrpc.registries.base.rules import MOST_ENDPOINTS, ListRules
from fastrpc.registries.base.watch import Channel

__all__ = ["ListOutcome", "ListAcceptor", "Outage", "RecordFilter"]

logger = logging.getLogger("fastrpc.registry")

#: The most rejected records that are remembered. A remembered record is not logged again.
MOST_REMEMBERED = 1_000


class RecordFilter:
    """Filters an answer for endpoints that can be dialled, and logs each rejected entry once."""

    def __init__(self, service: str, policy: AddressPolicy) -> None:
        self._service, self._policy = service, policy
        self._logged: set[tuple[str, str]] = set()
        # The accepted endpoints of the last list by `id`. The values hold the endpoints, so the ids stay unique.
        self._accepted: dict[int, tuple[str, Endpoint]] = {}

    def __call__(self, entries: Sequence[Entry]) -> list[Endpoint]:
        """Return the accepted endpoints in the order of their addresses, each address once."""
        before, self._accepted = self._accepted, {}
        found: dict[str, Endpoint] = {}
        for key, value in entries:
            if isinstance(value, RecordError):
                self._log(key, str(value))
                continue
            known = before.get(id(value)) or self._checked(key, value)
            if known is None:
                continue
            if len(found) >= MOST_ENDPOINTS:
                self._log("the list", f"only the first {MOST_ENDPOINTS} of {len(entries)} are used")
                break
            self._accepted[id(value)] = known
            found.setdefault(known[0], value)
        return [found[address] for address in sorted(found)]

    def _checked(self, key: str, endpoint: Endpoint) -> tuple[str, Endpoint] | None:
        """Return an endpoint with its address as text; None if the policy refuses the address."""
        try:
            self._policy.check(endpoint.address)
        except AddressRefusedError as error:
            self._log(key, str(error))
            return None
        return str(endpoint.address), endpoint

    def _log(self, key: str, reason: str) -> None:
        if (key, reason) in self._logged or len(self._logged) >= MOST_REMEMBERED:
            return
        self._logged.add((key, reason))
        logger.warning("%s: %r is ignored: %s", self._service, key, reason)


@dataclass(frozen=True, slots=True)
class ListOutcome:
    """The result of `ListAcceptor.accept` for one list."""

    #: Seconds until the list has to be queried again, even if it does not change; None if it need not be.
    look_again: float | None

    #: True if this list changed the endpoints in use.
    has_changed: bool


class ListAcceptor:
    """Passes the lists of one service through the filter and the rules, and publishes them to the watches.

    Args:
        clock: returns monotonic time in seconds.
    """

    def __init__(
        self,
        service: str,
        channel: Channel,
        *,
        policy: AddressPolicy,
        cache: CacheFile | None,
        clock: Callable[[], float],
    ) -> None:
        self.service, self.channel = service, channel
        self._record_filter = RecordFilter(service, policy)
        self._rules = ListRules()
        self._cache, self._clock = cache, clock
        self._is_cache_read = False
        self._outage = Outage(service, clock)

    @property
    def size(self) -> int:
        """The number of endpoints of the last accepted list."""
        return len(self._rules.believed or ())

    def begin(self) -> None:
        """Load the list of the last run from the cache file. The rules compare the first answer with it."""
        if self._is_cache_read:
            return
        self._is_cache_read = True
        endpoints = [] if self._cache is None else self._record_filter(self._cache.load(self.service))
        if endpoints:
            self._rules.start_from(endpoints)

    def accept(self, listing: Listing) -> ListOutcome:
        """Check a list from the registry, save it in the cache file, and publish it if the rules accept it."""
        self._outage.end()
        if listing.is_restart:
            self._rules.note_restart()
        elif listing.was_away:
            self._rules.note_failure()
        before = self._rules.believed
        decision = self._rules.decide(self._record_filter(listing.entries), self._clock())
        has_changed = decision.endpoints != before
        if self._cache is not None and decision.endpoints and has_changed:
            self._cache.keep(self.service, decision.endpoints)
        with self.channel.told_at_once():
            if decision.endpoints is not None:
                self.channel.publish(decision.endpoints)
            self.channel.judge(None, is_settled=decision.look_again is None)
        return ListOutcome(decision.look_again, has_changed)

    def fail(self, error: Exception) -> None:
        """Keep the last list while the registry cannot be reached."""
        self._rules.note_failure()
        with self.channel.told_at_once():
            self.channel.judge(error, is_settled=False)
            if self.size and self.channel.latest is None:
                self.channel.publish(self._rules.believed or (), is_cached=True)

    def fail_alone(self, error: Exception) -> None:
        """Keep the last list while the lookup of this service alone fails; log the outage."""
        self.fail(error)
        self._outage.begin(error, f"the last list ({self.size} endpoints) is used")


class Outage:
    """Logs when a registry stops answering, and when it answers again.

    Args:
        name: the name of the service or the registry, in messages.
        clock: returns monotonic time in seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self._name, self._clock = name, clock
        self._since: float | None = None

    def begin(self, error: Exception, used: str) -> None:
        """Record that a query failed. Only the first failure of an outage is logged.

        Args:
            used: the end of the log message, which says which lists stay in use.
        """
        if self._since is not None:
            return
        self._since = self._clock()
        # An error other than StoreError is a defect of the backend. Log its traceback, because the thread must
        # continue.
        trace = None if isinstance(error, StoreError) else error
        text = "%s: the registry is unreachable, %s: %s"
        logger.warning(text, self._name, used, error, exc_info=trace)

    def end(self) -> None:
        """Record that a query was answered. Log the end of an outage."""
        since, self._since = self._since, None
        if since is not None:
            logger.info("%s: the registry answers again after %.1f s", self._name, self._clock() - since)
