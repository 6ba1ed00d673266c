"""The pauses between dials: only calls that ask for a connection make a pause binding for later calls."""

import pytest

from fastrpc.client.dial_pauses import LONG_SECONDS, DialPauses
from fastrpc.config import Backoff

BACKOFF = Backoff(first=0.1, factor=2, longest=30)


class Dials:
    """The dials of one client at a dead server, with time and calls that the test gives; no pause has jitter."""

    def __init__(self) -> None:
        self.pauses = DialPauses(BACKOFF, lambda low, high: 1.0)
        self.now = 0.0
        self.count = 0

    def dial(self, *, is_awaited: bool = False) -> float:
        """Fail the next dial, and return the pause after it."""
        self.now = max(self.now, self.pauses.due)
        self.count += 1
        self.pauses.fail(self.now, is_awaited=is_awaited)
        return self.pauses.left(self.now)

    def call(self) -> bool:
        """Ask for a connection; return whether that led to a dial, which failed for the call."""
        is_dialled = self.pauses.ask(self.now)
        if is_dialled:
            self.dial(is_awaited=True)
        return is_dialled

    def pass_by(self, until: float, calls_every: float | None = None) -> None:
        """Let time pass: dials are made when they are due, and calls in between."""
        next_call = float("inf") if calls_every is None else self.now + calls_every
        while min(next_call, self.pauses.due) <= until:
            if self.pauses.due <= next_call:
                self.dial()
            else:
                self.now = next_call
                next_call += calls_every or 0.0
                self.call()
        self.now = until


@pytest.fixture
def dials() -> Dials:
    return Dials()


def test_a_dial_that_no_call_asked_for_leaves_a_pause_that_the_next_call_ends(dials: Dials) -> None:
    for _ in range(5):
        dials.dial()
    assert dials.pauses.left(dials.now) == pytest.approx(1.6)
    assert dials.pauses.ask(dials.now)
    assert dials.pauses.left(dials.now) == 0


def test_a_pause_ends_for_one_call_only(dials: Dials) -> None:
    dials.dial()
    assert dials.call()
    assert not dials.call()
    assert not dials.call()


def test_a_call_that_waited_for_a_dial_has_no_pause_end_for_the_next_one(dials: Dials) -> None:
    dials.dial(is_awaited=True)
    assert not dials.call()


def test_the_first_dial_that_a_call_asks_for_starts_the_pauses_again(dials: Dials) -> None:
    for _ in range(8):
        dials.dial()
    dials.call()
    assert dials.pauses.left(dials.now) == pytest.approx(0.1)
    assert dials.dial(is_awaited=True) == pytest.approx(0.2)


def test_a_call_during_a_dial_that_nobody_asked_for_starts_the_pauses_anew_too(dials: Dials) -> None:
    for _ in range(8):
        dials.dial()
    dials.now = dials.pauses.due
    assert not dials.pauses.ask(dials.now)
    assert dials.dial(is_awaited=True) == pytest.approx(0.1)


def test_a_dial_that_ends_a_short_pause_takes_the_place_of_the_next_one(dials: Dials) -> None:
    for _ in range(5):
        dials.dial()
    due = dials.pauses.due
    assert dials.call()
    # It counts as made when the pause was over.
    assert dials.pauses.due == pytest.approx(due + 3.2)
    assert not dials.call()


def test_a_later_long_pause_of_an_outage_starts_the_pauses_anew_though_a_short_one_was_ended(
    dials: Dials,
) -> None:
    dials.dial()
    dials.call()
    for _ in range(7):
        dials.dial()
    assert dials.pauses.left(dials.now) > LONG_SECONDS
    dials.call()
    assert dials.pauses.left(dials.now) == pytest.approx(0.1)


def test_once_nobody_calls_the_pauses_go_on_with_their_former_length(dials: Dials) -> None:
    for _ in range(8):
        dials.dial()
    dials.call()
    assert dials.dial() == pytest.approx(25.6)


def test_each_pause_that_nobody_asked_for_ends_for_a_call(dials: Dials) -> None:
    dials.dial()
    for _ in range(5):
        assert dials.call()
        dials.dial()


def test_an_answer_makes_the_next_outage_a_new_one(dials: Dials) -> None:
    for _ in range(8):
        dials.dial()
    dials.call()
    dials.pauses.answer()
    assert dials.dial() == pytest.approx(0.1)
    for _ in range(7):
        dials.dial()
    assert dials.call()
    assert dials.pauses.left(dials.now) == pytest.approx(0.1)


def test_pauses_grow_while_an_idle_client_is_refused(dials: Dials) -> None:
    def refused(*, is_awaited: bool = False) -> float:
        # The server answers before it refuses the credentials.
        dials.now = max(dials.now, dials.pauses.due)
        dials.pauses.answer()
        dials.pauses.fail(dials.now, is_awaited=is_awaited, is_refused=True)
        return dials.pauses.left(dials.now)

    assert [refused() for _ in range(5)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])
    # A call ends such a pause. Later calls wait only for a short one, as the credentials may be other ones by then.
    assert dials.pauses.ask(dials.now)
    assert refused(is_awaited=True) == pytest.approx(0.1)
    assert refused() == pytest.approx(3.2)
    dials.pauses.last()
    assert refused() == pytest.approx(0.1)


def test_a_dial_that_is_put_off_has_no_pause_end(dials: Dials) -> None:
    dials.pauses.put_off(dials.now)
    assert not dials.pauses.ask(dials.now)
    assert dials.pauses.left(dials.now) == pytest.approx(0.1)


@pytest.mark.parametrize("asks", ["before", "waits", "used"])
def test_a_connection_that_a_call_wanted_leaves_a_pause_that_is_kept(dials: Dials, asks: str) -> None:
    if asks == "before":
        dials.pauses.ask(dials.now)
    dials.pauses.answer(is_awaited=asks == "waits")
    if asks == "used":
        dials.pauses.use()
    dials.pauses.end_early(dials.now)
    assert not dials.pauses.ask(dials.now)
    assert dials.pauses.left(dials.now) == pytest.approx(0.1)


def test_connections_that_no_call_wanted_leave_one_pause_that_a_call_ends_until_one_lasts(
    dials: Dials,
) -> None:
    for _ in range(2):
        dials.pauses.answer()
        dials.pauses.end_early(dials.now)
        assert dials.pauses.ask(dials.now)
        dials.pauses.answer()
        dials.pauses.end_early(dials.now)
        assert not dials.pauses.ask(dials.now)
        dials.pauses.answer()
        dials.pauses.last()


def of_a_client_without_calls(seconds: float) -> int:
    dials = Dials()
    dials.pass_by(seconds)
    return dials.count


@pytest.mark.parametrize("seconds", [1, 3, 10, 20, 60, 600])
@pytest.mark.parametrize("calls_every", [0.005, 0.04, 0.3, 1.0, 2.0, 3.0, 7.0])
def test_a_client_that_calls_a_dead_server_dials_it_no_more_often(seconds: float, calls_every: float) -> None:
    dials = Dials()
    dials.pass_by(seconds, calls_every)
    if calls_every < LONG_SECONDS:
        # The last one may stand for the dial after the pause that it has ended.
        assert dials.count <= of_a_client_without_calls(seconds) + 1
        assert dials.count <= of_a_client_without_calls(seconds + LONG_SECONDS)
    else:
        # A long pause that a call ends starts the pauses anew: two dials, and one more when the next call ends another.
        assert dials.count <= of_a_client_without_calls(seconds) + 3


@pytest.mark.parametrize("idle_seconds", [10, 60, 600])
def test_a_client_that_was_idle_dials_a_dead_server_hardly_more_often(idle_seconds: float) -> None:
    dials = Dials()
    dials.pass_by(idle_seconds)
    dials.pass_by(idle_seconds + 60, 2.0)
    assert dials.count <= of_a_client_without_calls(idle_seconds + 60) + 3


@pytest.mark.parametrize("calls_every", [0.005, 1.0, 7.0])
def test_a_client_that_calls_a_dead_server_for_long_dials_it_after_each_longest_pause(
    calls_every: float,
) -> None:
    dials = Dials()
    dials.pass_by(600, calls_every)
    before = dials.count
    dials.pass_by(900, calls_every)
    assert dials.count - before == 10
