"""A registry that does the steps of a test, at once and in the test's thread."""

from collections.abc import Sequence

from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, StoreError
from fastrpc.registries.base.backend import Entry, Listing
from fastrpc.registries.base.record import RecordError
from fastrpc.status import Status

__all__ = [
    "FakeBackend",
    "FakeChangingLease",
    "FakeLease",
    "FakeLookup",
    "FakeRetiringLease",
    "away",
    "entries",
    "refused",
]


def away() -> StoreError:
    return StoreError("connection refused")


def refused() -> StoreError:
    return StoreError("no such permission", status=Status.PERMISSION_DENIED)


def entries(*ports: int, bad: str | None = None) -> list[Entry]:
    """Return entries of good endpoints, and of one bad record."""
    found: list[Entry] = [(f"id-{port}", Endpoint(f"tcp://10.0.0.1:{port}")) for port in ports]
    return found if bad is None else [*found, ("id-bad", RecordError(bad))]


class FakeBackend:
    """Has no endpoint, and one lease, or an error in its place; with neither, servers do not register here."""

    def __init__(self, lease: "FakeLease | ConfigError | None" = None) -> None:
        self.lease = lease
        self.names: list[str] | Exception = ["arith"]

    def open_lookup(self, service: str) -> "FakeLookup":
        return FakeLookup(entries())

    def open_lease(self, service: str, endpoint: Endpoint) -> "FakeLease":
        if self.lease is None:
            raise ConfigError("servers do not register here", status=Status.UNIMPLEMENTED)
        if isinstance(self.lease, ConfigError):
            raise self.lease
        return self.lease

    def list_services(self) -> list[str]:
        if isinstance(self.names, Exception):
            raise self.names
        return self.names

    def close(self) -> None:
        """Nothing is open."""


class FakeLookup:
    """Returns `answers` in order, the last one for ever."""

    def __init__(self, *answers: Sequence[Entry] | Listing | Exception) -> None:
        self.answers = list(answers)
        #: The longest wait of each question.
        self.waits: list[float] = []

    def fetch(self, wait_seconds: float) -> Listing:
        self.waits.append(wait_seconds)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Listing) else Listing(answer)

    def close(self) -> None:
        """Nothing is open."""


class FakeLease:
    """Records its requests; `trouble` is raised while it is set, `is_lost` makes one renewal fail."""

    renew_seconds = 2.0

    def __init__(self) -> None:
        self.actions: list[str] = []
        self.trouble: Exception | None = None
        self.is_lost = False

    def _do(self, action: str) -> None:
        self.actions.append(action)
        if self.trouble is not None:
            raise self.trouble

    def acquire(self) -> None:
        self._do("acquire")
        self.is_lost = False

    def renew(self) -> bool:
        self._do("renew")
        return not self.is_lost

    def release(self) -> None:
        self._do("release")


class FakeRetiringLease(FakeLease):
    """A lease of a registry that can mark the records of servers that leave; `is_taken_over` has another server's."""

    is_taken_over = False

    def retire(self) -> bool:
        self._do("retire")
        return not self.is_taken_over


class FakeChangingLease(FakeRetiringLease):
    """One whose record can change; `written` has each weight that was written."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__()
        self.record = endpoint.weight
        self.written: list[int] = []

    def acquire(self) -> None:
        super().acquire()
        self.written.append(self.record)

    def rewrite(self) -> bool:
        self._do("rewrite")
        if not self.is_lost:
            self.written.append(self.record)
        return not self.is_lost
