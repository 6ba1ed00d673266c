"""The threads of a registry object: they start on first use, a start may fail, and a collection may end them."""

import itertools
import queue
import threading
from types import FrameType
from typing import Any

import pytest

from fastrpc import ConfigError, Endpoint
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.backend import Listing
from fastrpc.registries.base.watch import Watch
from tests.support.fake_registry import FakeLease, FakeLookup, entries


class FakeBackend:
    """Has one endpoint, at another port for each lookup, and records closed objects."""

    def __init__(self) -> None:
        self.lease = FakeLease()
        self.lookup_kind = FakeLookup
        self._ports = itertools.count(1)
        self.is_closed = False

    def open_lookup(self, service: str) -> Any:
        return self.lookup_kind(entries(next(self._ports)))

    def open_lease(self, service: str, endpoint: Endpoint) -> Any:
        return self.lease

    def list_services(self) -> list[str]:
        return ["b", "", "a\x1b[2J", "a"]

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the beginnings of the names of threads whose next start fails."""
    names: list[str] = []
    start = threading.Thread.start

    def start_or_fail(thread: threading.Thread) -> None:
        for name in names:
            if thread.name.startswith(name):
                names.remove(name)
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_fail)
    return names


def test_names_that_nobody_may_watch_are_no_services() -> None:
    with BackedRegistry(FakeBackend(), "fake://registry") as registry:
        assert registry.services() == ["a", "b"]


def test_watch_whose_thread_could_not_start_leaks_nothing(failing: list[str]) -> None:
    backend = FakeBackend()
    with BackedRegistry(backend, "fake://registry") as registry:
        failing.append("fastrpc registry watch of s")
        with pytest.raises(RuntimeError, match="can't start new thread"):
            registry.watch("s")
        with registry.watch("s") as watch:
            assert watch.wait(20) is not None
        # Closing ends only threads that run.
        failing.append("fastrpc registry watch of other")
        with pytest.raises(RuntimeError, match="can't start new thread"):
            registry.watch("other")
    assert backend.is_closed


def test_registration_whose_thread_could_not_start_leaks_nothing(failing: list[str]) -> None:
    backend = FakeBackend()
    registry = BackedRegistry(backend, "fake://registry")
    failing.append("fastrpc registry leases")
    with pytest.raises(RuntimeError, match="can't start new thread"):
        registry.register("s", Endpoint("tcp://h:1"))

    def enter() -> None:
        with registry.register("s", Endpoint("tcp://h:1")):
            pass

    # In a separate thread: a registration that nobody serves would wait for ever.
    entering = threading.Thread(target=enter, daemon=True)
    entering.start()
    entering.join(20)
    assert not entering.is_alive()
    assert backend.lease.actions == ["acquire", "release"]
    registry.close()
    assert backend.is_closed


def test_registry_closes_after_a_thread_could_not_start(failing: list[str]) -> None:
    backend = FakeBackend()
    with BackedRegistry(backend, "fake://registry") as registry:
        failing.append("fastrpc registry leases")
        with pytest.raises(RuntimeError, match="can't start new thread"):
            registry.register("s", Endpoint("tcp://h:1"))
    assert backend.is_closed


def test_watch_may_be_collected_in_the_wait_of_its_own_polling_thread() -> None:
    may_fetch: queue.SimpleQueue[None] = queue.SimpleQueue()
    lines = 0
    held: list[Watch] = []

    class HeldLookup(FakeLookup):
        def fetch(self, wait_seconds: float) -> Listing:
            may_fetch.get()
            return super().fetch(wait_seconds)

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        if frame.f_code.co_name != "wait":
            return None
        lines += event == "line"
        if lines == 2:
            # On the first line of `threading.Event.wait`, its lock is not held yet.
            held.clear()
        return trace

    backend = FakeBackend()
    backend.lookup_kind = HeldLookup
    with BackedRegistry(backend, "fake://registry") as registry:
        before = threading.gettrace()
        threading.settrace(trace)
        held.append(registry.watch("s"))
        threading.settrace(before)  # type: ignore[arg-type]
        thread = registry._followers.threads()[0]
        may_fetch.put(None)
        thread.join(20)
        assert not thread.is_alive()
        assert registry._followed == {}


def test_watch_that_is_collected_while_another_one_begins_ends_nothing() -> None:
    class Collecting(dict[str, Any]):
        def get(self, service: str, default: Any = None) -> Any:
            found = super().get(service, default)
            held.clear()
            return found

    with BackedRegistry(FakeBackend(), "fake://registry") as registry:
        held = [registry.watch("s")]
        registry._followed = Collecting(registry._followed)
        with registry.watch("s") as watch:
            found = watch.wait(20)
            assert found is not None
            # The first watch has had port 1.
            assert found.endpoints[0].address.port == 2


def test_a_registry_that_deletes_no_records_says_so() -> None:
    with (
        BackedRegistry(FakeBackend(), "fake://registry") as registry,
        pytest.raises(ConfigError, match="fake://registry> deletes no records"),
    ):
        registry.remove("arith", "tcp://127.0.0.1:1001")
