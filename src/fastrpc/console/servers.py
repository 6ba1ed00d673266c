"""One server of a fleet: its records in the registry, its last figures, and the changes between two figures."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeAlias, TypeVar

from fastrpc.console.history import FigureHistory, SeriesKey, doubling_of
from fastrpc.console.kept import NUMBER_BYTES, SERVER_BYTES, fitting_endpoints, fitting_page, method_bytes
from fastrpc.console.pages import MOST_METHODS, CallerEndpoint, FiguresPage, MethodFigures
from fastrpc.console.reading import AdminReader
from fastrpc.endpoint import Address, Endpoint
from fastrpc.rpc.service import BUILTIN_PREFIX
from fastrpc.status import Status

__all__ = ["OTHER_CALLERS", "WHOLE_PATH", "CountedPage", "FleetServer", "MethodCounts"]

#: The path of figures with all methods.
WHOLE_PATH: Final = "/figures"

#: The name for all callers whose calls no server of the fleet has counted as a caller.
OTHER_CALLERS: Final = "other callers"

#: The name of all statuses that this version does not know.
OTHER_STATUS: Final = "other"

_STATUSES: Final = frozenset(one.name for one in Status)

#: Services by which a server is named as a caller; further services are shown as a number.
_NAMED: Final = 3

K = TypeVar("K")

#: The calls between two counts, and their durations by doubling.
Difference: TypeAlias = tuple[list[float], dict[int, int]]

#: Service, method, side and protocol.
MethodKey: TypeAlias = tuple[str, str, str, str]


class MethodCounts(NamedTuple):
    """The counts of a method on one side since its server started."""

    calls: dict[str, int]
    in_flight: int
    seconds: float
    bytes: int
    #: Calls by the numbers of their doublings.
    durations: dict[int, int]

    @property
    def total(self) -> int:
        return sum(self.calls.values())

    @property
    def errors(self) -> int:
        return self.total - self.calls.get("OK", 0)

    @property
    def numbers(self) -> int:
        """The number of counts in dicts."""
        return len(self.calls) + len(self.durations)


_NOTHING: Final = MethodCounts({}, 0, 0.0, 0, {})


class CountedPage(NamedTuple):
    """Figures, and the changes since the previous figures."""

    #: `page`: the page without its methods. `counts`: the counts of all methods that are kept.
    page: FiguresPage
    counts: dict[MethodKey, MethodCounts]
    changes: dict[SeriesKey, Difference]
    is_restarted: bool
    #: `page_bytes`: the memory of the page. `counts_bytes`: the memory of the counts.
    page_bytes: int
    counts_bytes: int
    #: Methods and rows that are not kept because of their memory.
    left_out: int
    #: `is_whole`: whether the page had all methods. `lacks_methods`: whether some methods of the server have no counts.
    is_whole: bool
    lacks_methods: bool


class FleetServer:
    """A server, by the label `admin` of its records; without that label, by its address.

    Args:
        admin: the address of its admin pages; None if it has none.
        is_target: whether it was named on the command line.
    """

    def __init__(self, key: str, admin: Address | None, *, is_target: bool = False) -> None:
        self.key, self.admin, self.is_target = key, admin, is_target
        self.records: dict[tuple[str, str], Endpoint] = {}
        #: The console's ports at the time when the server's address was allowed; None: it was not checked since its
        #: records changed.
        self.passed_with: frozenset[int] | None = None
        self.reader: AdminReader | None = None
        #: `reading` is held while a page is read. `views`: the views that read a page, or wait for their turn.
        self.reading = asyncio.Lock()
        self.views = 0
        #: `page`: the last figures without their methods. `counts`: the counts of the methods.
        self.page: FiguresPage | None = None
        self.counts: dict[MethodKey, MethodCounts] = {}
        #: The services with counted calls: `served` by this server, `called` by it as a client.
        self.served = self.called = frozenset[str]()
        self.endpoints: list[CallerEndpoint] = []
        #: The memory of the page, of the counts and of the endpoints; `most_bytes` limits their sum. `left_out`: the
        #: number of methods and rows that this limit excluded from the last figures.
        self.page_bytes = self.counts_bytes = self.endpoints_bytes = 0
        self.most_bytes = SERVER_BYTES
        self.left_out = 0
        # `_is_cut`: the next figures have to be complete. `_lacks_methods`: a method without counts may have old calls.
        self._is_cut = self._lacks_methods = False
        #: Instants of the fleet's clock. `read_at`: the last figures. `asked_at`: the last poll.
        self.read_at: float | None = None
        self.asked_at = 0.0
        #: Seconds since 1970 at the last figures.
        self.read_time: float | None = None
        #: Instants of the fleet's clock. `due`: the next poll. `endpoints_due`: the next reading of the endpoints.
        #: `shown_until`: the end of the frequent polls for a view.
        self.due = self.endpoints_due = self.shown_until = 0.0
        #: `error`: the reason why the last poll failed; None if it succeeded. `endpoints_error`: the same for the last
        #: reading of the endpoints, which only some polls read.
        self.error: str | None = None
        self.endpoints_error: str | None = None
        self.failures = 0
        self.is_read_now = False
        #: The instant at which the server's last record disappeared; None while it has a record.
        self.gone_at: float | None = None
        self._name_again()

    def put_record(self, service: str, address: str, endpoint: Endpoint) -> None:
        """Note a record of the server in the registry."""
        self.records[service, address] = endpoint
        self._judge_again()

    def drop_record(self, service: str, address: str) -> None:
        """Forget a record of the server."""
        self.records.pop((service, address), None)
        self._judge_again()

    def _judge_again(self) -> None:
        self.passed_with = None
        self._name_again()

    def _name_again(self) -> None:
        """Determine the server's services and name again, from its page and its records."""
        told = [] if self.page is None else [one.name for one in self.page.services]
        #: The names of its services.
        self.services = sorted({*told, *(service for service, _ in self.records)})
        names = [one for one in self.services if not one.startswith(BUILTIN_PREFIX)]
        rest = f" and {len(names) - _NAMED} others" if len(names) > _NAMED else ""
        #: Its name as a caller: its services, or its key.
        self.name = f"{', '.join(names[:_NAMED])}{rest}" or self.key

    @property
    def state(self) -> str:
        """Its state in one word."""
        if self.gone_at is not None:
            return "gone"
        if self.error is not None:
            return "unreadable"
        if self.page is None:
            return "listed"
        return "draining" if self.page.draining else "ready" if self.page.ready else "not ready"

    @property
    def kept_bytes(self) -> int:
        """The memory of its figures."""
        return self.page_bytes + self.counts_bytes + self.endpoints_bytes

    @property
    def figures_path(self) -> str:
        """The path of the figures that the console lacks."""
        is_known = self.page is not None and not self._is_cut
        return (
            f"{WHOLE_PATH}?after={self.page.revision}" if is_known and self.page is not None else WHOLE_PATH
        )

    def cut(self, most_bytes: int) -> None:
        """Drop all counts, and keep at most this many bytes from the next figures on."""
        self.most_bytes = min(self.most_bytes, most_bytes)
        # Set this before the counts are dropped: a thread that finds no counts must also find that they were cut.
        self._is_cut = True
        self._keep_counts({}, 0)
        self.keep_endpoints(self.endpoints)
        if self.page is not None:
            self.page, self.page_bytes, _ = fitting_page(self.page, self.most_bytes // 4)
            self._name_again()

    def _keep_counts(self, counts: dict[MethodKey, MethodCounts], counts_bytes: int) -> None:
        if counts.keys() != self.counts.keys():
            self.served = frozenset(key[0] for key in counts if key[2] == "server")
            self.called = frozenset(key[0] for key in counts if key[2] == "client")
        self.counts, self.counts_bytes = counts, counts_bytes

    def keep_endpoints(self, endpoints: list[CallerEndpoint]) -> None:
        """Store the endpoints that the server calls, as far as they fit."""
        self.endpoints, self.endpoints_bytes = fitting_endpoints(endpoints, self.most_bytes // 4)

    @property
    def in_flight(self) -> int:
        return sum(one.in_flight for key, one in self.counts.items() if key[2] == "server")

    @property
    def calls_others(self) -> bool:
        """Whether it is a client of services."""
        return bool(self.called)

    def count(
        self, page: FiguresPage, name: str, has_figures: Callable[[str], bool], *, is_whole: bool
    ) -> CountedPage:
        """Count the changes since the last figures without changing anything, so this may run in a thread.

        Args:
            name: the server's name as a caller.
            has_figures: whether servers of a service report its figures; the figures of other services come from their
                callers.
            is_whole: whether the page has all methods; otherwise it has the changed ones.
        """
        known, counts_bytes, is_cut = self.counts, self.counts_bytes, self._is_cut
        is_restarted = self.page is not None and self.page.server != page.server
        is_baseline = is_cut or self.read_at is None or (is_restarted and self._is_older(page))
        if is_restarted or is_cut:
            known, counts_bytes = {}, 0
        kept, page_bytes, left_out = fitting_page(page, self.most_bytes // 4)
        counting = _Counting(dict(known), counts_bytes, self.most_bytes - page_bytes - self.endpoints_bytes)
        counting.lacks_methods = self._lacks_methods and not is_restarted and not (is_cut and is_whole)
        changes: dict[SeriesKey, Difference] = {}
        sides: dict[tuple[bool, str], Difference] = {}
        # After a cut, wait for a page of all methods: from the changed methods only, later changes of the other methods
        # could not be determined.
        for row in () if is_cut and not is_whole else page.methods:
            now = _counts_of(row)
            before = counting.keep((row.service, row.method, row.side, row.protocol), now)
            if before is None or is_baseline or (difference := _difference(before, now)) is None:
                continue
            service, is_served = row.service, row.side == "server"
            if is_served or _is_of_callers(service, has_figures):
                _note(changes, ("method", service, row.method), difference)
            _note(sides, (is_served, service), difference)
        for (is_served, service), difference in sides.items():
            for key in self._series_of(service, name, has_figures, is_served=is_served):
                _note(changes, key, difference)
        left_out += counting.left_out
        known, counts_bytes, lacks = counting.counts, counting.bytes, counting.lacks_methods
        return CountedPage(
            kept, known, changes, is_restarted, page_bytes, counts_bytes, left_out, is_whole, lacks
        )

    def _is_older(self, page: FiguresPage) -> bool:
        """Return whether the server of a page was already running at the last reading, so that its counts continue.

        Durations are compared, since the server's clock may differ from the clock here.
        """
        return self.read_at is None or page.time - page.started >= self.asked_at - self.read_at

    def take(self, counted: CountedPage, now: float, history: FigureHistory) -> None:
        """Store figures, and add the changes since the previous figures to the history."""
        began = now if self.read_at is None else self.read_at
        known, self.page = self.page, counted.page
        self.page_bytes, self.left_out = counted.page_bytes, counted.left_out
        if known is None or known.services != counted.page.services:
            self._name_again()
        if self._is_cut and not counted.is_whole:
            # The cut arrived while the page was read: it stays in force until a page has all methods.
            self.cut(self.most_bytes)
        else:
            self._keep_counts(counted.counts, counted.counts_bytes)
            self._is_cut = False
            self._lacks_methods = counted.lacks_methods
        self.read_at, self.read_time = now, time.time()
        history.add(began, now, counted.changes.items(), self.key)

    def _series_of(
        self, service: str, name: str, has_figures: Callable[[str], bool], *, is_served: bool
    ) -> Iterator[SeriesKey]:
        """Yield the series, besides the series of methods, to which calls of a service on one side belong."""
        if is_served:
            yield ("server", self.key)
        elif not service.startswith(BUILTIN_PREFIX):
            yield ("link", name, service)
        if is_served or _is_of_callers(service, has_figures):
            yield ("service", service)


def _is_of_callers(service: str, has_figures: Callable[[str], bool]) -> bool:
    """Return whether the figures of a service are taken from its callers."""
    return not service.startswith(BUILTIN_PREFIX) and not has_figures(service)


class _Counting:
    """The counts of a server, to which a page is being added.

    Args:
        counts: the known methods, which are updated.
        taken: their memory.
        room: the most memory that the methods may need.
    """

    def __init__(self, counts: dict[MethodKey, MethodCounts], taken: int, room: int) -> None:
        self.counts, self.bytes, self._room = counts, taken, room
        #: The number of methods of the page for which there was no room.
        self.left_out = 0
        #: Whether a method without counts may have had no room before, so that its count contains all calls since the
        #: start.
        self.lacks_methods = False

    def keep(self, key: MethodKey, now: MethodCounts) -> MethodCounts | None:
        """Keep the counts of a method if there is room; without room the method has no counts from then on.

        Returns:
            Its previous counts, zeros for a new method; None if unknown.
        """
        last = self.counts.get(key)
        if (
            last is not None
            and len(now.durations) == len(last.durations)
            and len(now.calls) == len(last.calls)
        ):
            self.counts[key] = now
            return last
        whole = method_bytes(key, now.numbers)
        more = whole if last is None else (now.numbers - last.numbers) * NUMBER_BYTES
        is_over = self.bytes + more > self._room or (last is None and len(self.counts) >= MOST_METHODS)
        # A method whose counts do not grow keeps its place, even if other figures leave little room.
        if more > 0 and is_over:
            self.left_out += 1
            self.lacks_methods = True
            if last is not None:
                del self.counts[key]
                self.bytes -= whole - more
            return last
        self.counts[key] = now
        self.bytes += more
        return last if last is not None else None if self.lacks_methods else _NOTHING


def _note(differences: dict[K, Difference], key: K, difference: Difference) -> None:
    """Add a difference to the sum of a key."""
    found = differences.get(key)
    if found is None:
        totals, durations = difference
        differences[key] = totals.copy(), durations.copy()
        return
    known, merged = found
    for field, value in enumerate(difference[0]):
        known[field] += value
    for number, count in difference[1].items():
        merged[number] = merged.get(number, 0) + count


def _counts_of(row: MethodFigures) -> MethodCounts:
    durations: dict[int, int] = {}
    for bound, count in row.buckets:
        number = doubling_of(bound)
        durations[number] = durations[number] + count if number in durations else count
    calls = row.calls
    if not calls.keys() <= _STATUSES:
        calls = {}
        for status, count in row.calls.items():
            known = status if status in _STATUSES else OTHER_STATUS
            calls[known] = calls.get(known, 0) + count
    return MethodCounts(calls, row.in_flight, row.sum_seconds, row.received_bytes + row.sent_bytes, durations)


def _difference(before: MethodCounts, after: MethodCounts) -> Difference | None:
    """Return the calls between two counts, None without any, with the fields of `Totals`.

    A count that fell counts as 0: the slot of a worker may have been freed.
    """
    calls = sum(after.calls.values()) - sum(before.calls.values())
    if calls <= 0:
        return None
    errors = calls - after.calls.get("OK", 0) + before.calls.get("OK", 0)
    seconds, size = after.seconds - before.seconds, after.bytes - before.bytes
    totals = [calls, max(0, errors), seconds if seconds > 0 else 0.0, max(0, size)]
    known = before.durations.get
    durations = {
        number: more for number, count in after.durations.items() if (more := count - known(number, 0)) > 0
    }
    return totals, durations
