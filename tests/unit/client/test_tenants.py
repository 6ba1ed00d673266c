"""The clients of services: made once, and dropped when their services are not called for long."""

import gc
import sys
import weakref
from typing import Any

from fastrpc import SyncServices
from fastrpc._core.base.histogram import CallTotals
from fastrpc.client.services.tenants import DROPPED_AFTER, Tenants

IDLE_SECONDS = 10.0
LONG = DROPPED_AFTER * IDLE_SECONDS


class Pool:
    def __init__(self) -> None:
        self.totals = CallTotals()
        self.is_watching = False


class FakeClient:
    def __init__(self, service: str) -> None:
        self.service = service
        self._pool = Pool()

    def call(self) -> None:
        self._pool.totals.connections += 1
        self._pool.is_watching = True


class Driven:
    """Clients that a test checks at instants of its own."""

    def __init__(self, idle_seconds: float | None = IDLE_SECONDS) -> None:
        self.made = 0
        self.tenants: Tenants[Any] = Tenants(self._make, idle_seconds)

    def _make(self, service: str) -> FakeClient:
        self.made += 1
        return FakeClient(service)

    def check(self, now: float) -> int:
        """Have idle services rest; return the number of clients that are left."""
        for pool in self.tenants.idle(now):
            pool.is_watching = False
        gc.collect()
        return len(self.tenants.clients)


def test_the_clients_of_names_that_are_called_once_are_dropped() -> None:
    driven = Driven()
    for number in range(1_000):
        driven.tenants.client(f"of-a-user.{number}").call()
    assert driven.check(0.0) == 1_000
    assert driven.check(LONG - 1) == 1_000
    assert driven.check(LONG) == 0
    driven.check(LONG)
    assert driven.tenants._tenants == {}
    assert driven.tenants.snapshot()["connections"] == 1_000


def test_a_client_that_the_program_holds_stays_the_client_of_its_service() -> None:
    driven = Driven()
    held = driven.tenants.client("a")
    held.call()
    driven.check(0.0)
    assert driven.check(LONG) == 1
    assert driven.tenants.client("a") is held
    del held
    assert driven.check(LONG + 1) == 0
    driven.tenants.client("a")
    assert driven.made == 2


def test_a_client_that_was_collected_is_made_again_and_its_totals_stay() -> None:
    driven = Driven()
    driven.tenants.client("a").call()
    driven.check(0.0)
    driven.check(LONG)
    driven.tenants.client("a").call()
    assert driven.tenants.snapshot()["connections"] == 2
    assert len(driven.tenants._tenants) == 1


def test_a_client_that_follows_its_service_is_kept() -> None:
    driven = Driven()
    driven.tenants.client("a").call()
    driven.check(0.0)
    for _ in driven.tenants.idle(LONG):
        # A call waits for a server: it may not rest.
        pass
    assert driven.check(0.0) == 1


def test_without_a_time_every_client_is_kept() -> None:
    driven = Driven(None)
    driven.tenants.client("a").call()
    assert driven.check(0.0) == driven.check(1e9) == 1


def test_views_and_methods_release_dropped_clients() -> None:
    driven = Driven()
    client = driven.tenants.client("a")
    view = Pool()
    driven.tenants.views[view] = {"a": (client, client)}
    driven.tenants.calls["a.method"] = client.call
    del client
    driven.check(0.0)
    assert driven.check(LONG) == 0
    assert view not in driven.tenants.views
    assert not driven.tenants.calls


def test_views_are_made_and_used_while_clients_are_dropped() -> None:
    with SyncServices("static://127.0.0.1:1", idle_seconds=IDLE_SECONDS) as services:
        views: list[SyncServices] = []

        def use_another(*_: Any) -> None:
            views.append(services.with_options(timeout=1))
            views[-1]["b"]

        tenants = services._tenants
        views += (services.with_options(timeout=1) for _ in range(2))
        for view in views:
            view["a"]
        dropped = weakref.ref(services["a"])
        list(tenants.idle(0.0))
        # Another thread or a signal handler comes in at each step.
        sys.setprofile(use_another)
        try:
            list(tenants.idle(LONG))
        finally:
            sys.setprofile(None)
        gc.collect()
        assert len(views) > 2
        assert dropped() is None
