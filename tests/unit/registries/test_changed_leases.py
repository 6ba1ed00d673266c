"""A record that changes while it is kept: written over the one before, kept over outages, refused, left meanwhile."""

import asyncio
import logging
from concurrent.futures import Future

import pytest

from fastrpc import ConfigError, Endpoint, StoreError
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.kept_record import KeptRecord
from fastrpc.registries.base.lease_keeper import LeaseKeeper
from fastrpc.testing import FakeClock
from tests.support.fake_registry import FakeBackend, FakeChangingLease, FakeLease, away, refused

LIGHT, HEAVY, OUT = (Endpoint("tcp://h:1", weight=weight) for weight in (1, 5, 0))


class Kept:
    """One registration, whose keeper a test drives step by step."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.keeper = LeaseKeeper(clock=self.clock, uniform=lambda low, high: high)
        self.lease = FakeChangingLease(LIGHT)
        self.record = KeptRecord("arith", LIGHT, self.lease)
        self.keeper.add(self.record)
        self.step()

    def step(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        self.keeper.step()

    def change(self, endpoint: Endpoint) -> Future[None]:
        return self.keeper.change(self.record, endpoint, FakeChangingLease(endpoint))


def test_a_change_is_written_over_the_held_record() -> None:
    kept = Kept()
    changed = kept.change(HEAVY)
    assert not changed.done()
    kept.step()
    assert changed.result(0) is None
    assert (kept.lease.actions, kept.lease.written) == (["acquire", "rewrite"], [1, 5])
    assert (kept.record.endpoint, kept.record.is_registered) == (HEAVY, True)
    kept.step(2.0)
    assert kept.lease.actions[-1] == "renew"


def test_a_change_does_not_wait_for_the_next_renewal() -> None:
    kept = Kept()
    changed = kept.change(HEAVY)
    # The pause after the change is made, up to the next renewal.
    assert kept.keeper.step() == pytest.approx(2.0)
    assert changed.done()


def test_the_last_of_several_changes_counts_and_all_are_reported() -> None:
    kept = Kept()
    changes = [kept.change(endpoint) for endpoint in (HEAVY, OUT)]
    kept.step()
    assert [one.result(0) for one in changes] == [None, None]
    assert kept.lease.written == [1, 0]


def test_a_record_that_the_registry_has_lost_is_registered_with_its_change() -> None:
    kept = Kept()
    kept.lease.is_lost = True
    kept.change(HEAVY)
    kept.step()
    assert (kept.lease.actions, kept.lease.written) == (["acquire", "rewrite", "acquire"], [1, 5])
    assert kept.record.is_registered


def test_a_change_during_an_outage_is_told_at_once_and_written_once_the_registry_is_back() -> None:
    kept = Kept()
    kept.lease.trouble = away()
    kept.step(2.0)
    changed = kept.change(HEAVY)
    kept.step()
    # Without another attempt.
    assert kept.lease.actions == ["acquire", "renew"]
    assert changed.result(0) is None
    assert (kept.record.endpoint, kept.record.is_registered) == (HEAVY, False)
    kept.lease.trouble = None
    kept.step(5.0)
    assert kept.lease.written == [1, 5]
    assert kept.record.is_registered


def test_a_change_that_was_lost_on_the_way_is_written_again() -> None:
    kept = Kept()
    kept.lease.trouble = away()
    changed = kept.change(HEAVY)
    kept.step()
    assert (changed.result(0), kept.record.is_registered) == (None, False)
    kept.lease.trouble = None
    kept.step(5.0)
    assert kept.lease.actions == ["acquire", "rewrite", "acquire"]
    assert kept.lease.written == [1, 5]


@pytest.mark.parametrize("trouble", [refused(), ValueError("a defect")], ids=["refused", "defect"])
def test_a_change_that_is_refused_leaves_the_record_before_and_its_renewals(trouble: Exception) -> None:
    kept = Kept()

    def rewrite() -> bool:
        raise trouble

    kept.lease.rewrite = rewrite  # type: ignore[method-assign]
    changed = kept.change(HEAVY)
    kept.step()
    with pytest.raises(type(trouble), match=str(trouble.args[0])):
        changed.result(0)
    assert (kept.record.endpoint, kept.lease.record) == (LIGHT, 1)
    assert (kept.record.is_registered, kept.lease.actions) == (True, ["acquire", "renew"])


def test_leaving_ends_a_change_that_is_not_made() -> None:
    kept = Kept()
    changed = kept.change(HEAVY)
    kept.keeper.remove(kept.record)
    late = kept.change(OUT)
    kept.step()
    assert (changed.result(0), late.result(0)) == (None, None)
    assert kept.lease.actions == ["acquire", "release"]
    with pytest.raises(RuntimeError, match="is not entered"):
        kept.change(HEAVY)


def test_leaving_after_an_unanswered_change_takes_the_record_out() -> None:
    kept = Kept()
    kept.lease.trouble = away()
    kept.change(HEAVY)
    kept.step()
    kept.lease.trouble = None
    kept.keeper.remove(kept.record)
    kept.step(5.0)
    assert kept.lease.actions == ["acquire", "rewrite", "release"]


def test_the_mark_of_a_leaving_server_stays_over_a_change() -> None:
    kept = Kept()
    before = kept.change(HEAVY)
    marked = kept.keeper.retire(kept.record)
    behind = kept.change(OUT)
    kept.step()
    kept.step()
    assert (before.result(0), marked.result(0), behind.result(0)) == (None, True, None)
    assert (kept.lease.actions, kept.lease.record) == (["acquire", "retire"], 5)


def test_a_lease_without_changes_is_replaced_and_not_released() -> None:
    clock = FakeClock()
    keeper = LeaseKeeper(clock=clock, uniform=lambda low, high: high)
    first, second = FakeLease(), FakeLease()
    record = KeptRecord("arith", LIGHT, first)
    keeper.add(record)
    keeper.step()
    changed = keeper.change(record, HEAVY, second)
    keeper.step()
    assert (changed.result(0), record.is_registered) == (None, True)
    keeper.remove(record)
    keeper.step()
    assert (first.actions, second.actions) == (["acquire"], ["acquire", "release"])


def test_a_lease_without_changes_stays_if_its_successor_is_refused() -> None:
    keeper = LeaseKeeper(clock=FakeClock(), uniform=lambda low, high: high)
    first, second = FakeLease(), FakeLease()
    second.trouble = refused()
    record = KeptRecord("arith", LIGHT, first)
    keeper.add(record)
    keeper.step()
    changed = keeper.change(record, HEAVY, second)
    keeper.step()
    with pytest.raises(StoreError, match="no such permission"):
        changed.result(0)
    assert (record.endpoint, record.is_registered) == (LIGHT, True)


def test_a_change_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastrpc.registry")
    kept = Kept()
    kept.change(HEAVY)
    kept.step()
    assert [one.getMessage() for one in caplog.records] == ["arith: the record of tcp://h:1 has changed"]


@pytest.mark.one_loop
def test_another_address_and_a_record_that_does_not_fit_are_refused_before_anything_is_written() -> None:
    async def refusals() -> None:
        backend = FakeBackend(FakeChangingLease(LIGHT))
        with BackedRegistry(backend, "fake://registry") as registry:
            async with registry.register("arith", LIGHT) as registration:
                with pytest.raises(ConfigError, match=r"tcp://h:1 cannot be changed into tcp://h:2"):
                    await registration.change(Endpoint("tcp://h:2"))
                backend.lease = ConfigError("the record is too long")
                with pytest.raises(ConfigError, match="too long"):
                    await registration.change(HEAVY)
                assert (registration.endpoint, registration.is_registered) == (LIGHT, True)
            with pytest.raises(ConfigError, match="too long"):
                await registration.change(HEAVY)

    asyncio.run(refusals())
