"""Keeping endpoints registered."""

import logging

import pytest

from fastrpc import Endpoint, StoreError
from fastrpc.registries.base.kept_record import KeptRecord
from fastrpc.registries.base.lease_keeper import LeaseKeeper
from fastrpc.testing import FakeClock
from tests.support.fake_registry import FakeLease, FakeRetiringLease, away, refused

ENDPOINT = Endpoint("tcp://h:1")


class Driven:
    """A keeper that a test drives step by step."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.keeper = LeaseKeeper(clock=self.clock, uniform=lambda low, high: high)

    def add(self, service: str = "arith", lease: FakeLease | None = None) -> tuple[KeptRecord, FakeLease]:
        lease = lease or FakeLease()
        record = KeptRecord(service, ENDPOINT, lease)
        self.keeper.add(record)
        return record, lease

    def step(self, seconds: float = 0.0) -> float | None:
        self.clock.advance(seconds)
        return self.keeper.step()

    def run(self, seconds: float) -> None:
        """Let time pass; steps are made when the keeper asks for them."""
        until = self.clock() + seconds
        while (pause := self.step()) is not None and self.clock() + pause <= until:
            self.clock.advance(pause + 0.001)
        self.clock.advance(max(0.0, until - self.clock()))


def test_endpoint_is_written_and_then_renewed_in_time() -> None:
    driven = Driven()
    record, lease = driven.add()
    assert driven.step() == pytest.approx(2.0)
    assert record.is_registered
    driven.step(1.0)
    assert lease.actions == ["acquire"]
    driven.step(1.0)
    assert lease.actions == ["acquire", "renew"]


def test_lost_registration_is_written_again_at_once() -> None:
    driven = Driven()
    record, lease = driven.add()
    driven.step()
    lease.is_lost = True
    driven.step(2.0)
    assert lease.actions == ["acquire", "renew", "acquire"]
    assert record.is_registered


def test_registration_follows_within_five_seconds_of_the_return_of_the_registry() -> None:
    driven = Driven()
    record, lease = driven.add()
    driven.step()
    lease.trouble = away()
    driven.run(60.0)
    assert (record.is_registered, str(record.error)) == (False, "connection refused")
    lease.trouble = None
    driven.run(5.0)
    assert (record.is_registered, record.error) == (True, None)
    assert "acquire" in lease.actions[-3:]


def test_unreachable_registry_is_tried_with_one_lease_for_all() -> None:
    driven = Driven()
    pairs = [driven.add(f"service-{n}") for n in range(10)]
    driven.step()
    for _, lease in pairs:
        lease.trouble = away()
        lease.actions.clear()
    driven.step(2.0)
    assert sum(len(lease.actions) for _, lease in pairs) == 1


def test_all_endpoints_are_registered_again_when_the_registry_is_back() -> None:
    driven = Driven()
    pairs = [driven.add(f"service-{n}") for n in range(10)]
    driven.step()
    for _, lease in pairs:
        lease.trouble = away()
    driven.run(30.0)
    for _, lease in pairs:
        lease.trouble = None
        lease.is_lost = True
    driven.run(5.0)
    assert all(record.is_registered for record, _ in pairs)
    assert not any(lease.is_lost for _, lease in pairs)


def test_outage_and_return_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastrpc.registry")
    driven = Driven()
    _, lease = driven.add()
    driven.step()
    lease.trouble = away()
    driven.run(20.0)
    lease.trouble = None
    driven.run(5.0)
    levels = [record.levelname for record in caplog.records]
    assert levels.count("WARNING") == 1
    assert "the registry accepts registrations again" in caplog.text
    assert "arith: tcp://h:1 is registered" in caplog.text


def test_entering_does_not_wait_for_an_unreachable_registry() -> None:
    driven = Driven()
    record, lease = driven.add()
    lease.trouble = away()
    driven.step()
    assert record.entered.result(0) is None
    assert not record.is_registered


def test_entering_while_others_wait_for_the_registry_does_not_wait() -> None:
    driven = Driven()
    _, lease = driven.add()
    lease.trouble = away()
    driven.step()
    late, late_lease = driven.add("late")
    driven.step()
    assert late.entered.result(0) is None
    assert late_lease.actions == []
    lease.trouble = None
    driven.run(5.0)
    assert late.is_registered


def test_registration_that_is_refused_is_an_error_on_entering() -> None:
    driven = Driven()
    record, lease = driven.add()
    lease.trouble = refused()
    driven.step()
    with pytest.raises(StoreError, match="no such permission"):
        record.entered.result(0)


def test_refusal_of_one_registration_does_not_delay_others() -> None:
    driven = Driven()
    _, lease = driven.add()
    lease.trouble = refused()
    other, _ = driven.add("other")
    driven.step()
    assert other.is_registered


def test_defect_of_a_backend_does_not_end_the_keeper(caplog: pytest.LogCaptureFixture) -> None:
    driven = Driven()
    record, lease = driven.add()
    driven.step()
    lease.trouble = ZeroDivisionError("oops")
    driven.step(2.0)
    lease.trouble = None
    driven.run(5.0)
    assert record.is_registered
    assert caplog.records[0].exc_info is not None


def test_a_retired_registration_is_marked_kept_and_then_taken_out() -> None:
    driven = Driven()
    record, lease = driven.add(lease=FakeRetiringLease())
    driven.step()
    outcome = driven.keeper.retire(record)
    assert driven.step() == pytest.approx(2.0)
    assert outcome.result(0)
    assert driven.keeper.retire(record) is outcome
    driven.step(2.0)
    driven.keeper.remove(record)
    driven.step()
    assert lease.actions == ["acquire", "retire", "renew", "release"]


@pytest.mark.parametrize(
    "trouble", [away(), refused(), ValueError("a defect")], ids=lambda error: error.args[0]
)
def test_a_registration_that_cannot_be_marked_is_reported_as_such(trouble: Exception) -> None:
    driven = Driven()
    record, lease = driven.add(lease=FakeRetiringLease())
    driven.step()
    lease.trouble = trouble
    outcome = driven.keeper.retire(record)
    driven.step()
    assert not outcome.result(0)
    driven.keeper.remove(record)
    driven.step()
    # One attempt to leave is enough while the registry is away.
    assert lease.actions == ["acquire", "retire"]
    assert record.left.done()


def test_only_records_of_ours_in_a_registry_with_marks_are_marked() -> None:
    driven = Driven()
    plain, lease = driven.add()
    taken, theirs = driven.add(lease=FakeRetiringLease())
    never, unwritten = driven.add(lease=FakeRetiringLease())
    unwritten.trouble = refused()
    assert isinstance(theirs, FakeRetiringLease)
    theirs.is_taken_over = True
    driven.step()
    outcomes = [driven.keeper.retire(one) for one in (plain, taken, never)]
    driven.step()
    assert [one.result(0) for one in outcomes] == [False] * 3
    assert (lease.actions, theirs.actions, unwritten.actions) == (
        ["acquire"],
        ["acquire", "retire"],
        ["acquire"],
    )


def test_leaving_ends_the_wait_for_a_mark() -> None:
    driven = Driven()
    record, lease = driven.add(lease=FakeRetiringLease())
    driven.step()
    outcome = driven.keeper.retire(record)
    driven.keeper.remove(record)
    driven.step()
    assert not outcome.result(0)
    assert lease.actions == ["acquire", "release"]


def test_leaving_takes_the_endpoint_out() -> None:
    driven = Driven()
    record, lease = driven.add()
    driven.step()
    driven.keeper.remove(record)
    assert driven.step() is None
    assert lease.actions[-1] == "release"
    assert record.left.done()


def test_leaving_does_not_wait_for_an_unreachable_registry() -> None:
    driven = Driven()
    pairs = [driven.add(f"service-{n}") for n in range(10)]
    driven.step()
    for record, lease in pairs:
        lease.trouble = away()
        lease.actions.clear()
        driven.keeper.remove(record)
    driven.step()
    assert all(record.left.done() for record, _ in pairs)
    assert sum(len(lease.actions) for _, lease in pairs) == 1


def test_withdrawal_reaches_a_recovered_registry_first() -> None:
    driven = Driven()
    pairs = [driven.add(f"service-{n}") for n in range(3)]
    driven.step()
    for _, lease in pairs:
        lease.trouble = away()
    driven.run(30.0)
    for record, lease in pairs:
        lease.trouble = None
        lease.actions.clear()
        driven.keeper.remove(record)
    driven.step()
    assert [lease.actions for _, lease in pairs] == [["release"]] * 3


def test_attempt_that_was_lost_on_the_way_is_taken_back_as_well() -> None:
    driven = Driven()
    record, lease = driven.add()
    lease.trouble = away()
    driven.step()
    lease.trouble = None
    driven.clock.advance(5.0)
    driven.keeper.remove(record)
    driven.step()
    assert lease.actions == ["acquire", "release"]


def test_attempt_that_was_refused_is_not_taken_back() -> None:
    driven = Driven()
    record, lease = driven.add()
    lease.trouble = refused()
    driven.step()
    driven.keeper.remove(record)
    driven.step()
    assert lease.actions == ["acquire"]


def test_closing_takes_everything_out_and_ends_the_thread() -> None:
    driven = Driven()
    _, lease = driven.add()
    driven.step()
    driven.keeper.close()
    driven.keeper.run()
    assert lease.actions[-1] == "release"
    with pytest.raises(RuntimeError, match="closed"):
        driven.add()


def test_registration_is_entered_once() -> None:
    driven = Driven()
    record, _ = driven.add()
    with pytest.raises(RuntimeError, match="twice"):
        driven.keeper.add(record)


def test_texts_of_a_registry_are_logged_on_one_line_without_control_characters(
    caplog: pytest.LogCaptureFixture,
) -> None:
    driven = Driven()
    record, lease = driven.add()
    driven.step()
    lease.trouble = StoreError("\x1b[2J\x9b31m\r\n\u202e\u2066evil\u200b")
    driven.step(2.0)
    driven.keeper.remove(record)
    driven.step(60.0)
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(texts) == 2
    assert all(text.isprintable() and "evil" in text for text in texts)
