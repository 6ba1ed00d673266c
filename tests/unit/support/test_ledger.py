"""The ledger finds each kind of broken promise, and nothing in a sound run."""

import asyncio
from pathlib import Path

import pytest

from tests.support.ledger import Journal, Ledger, differences


class FailedCallError(Exception):
    """An error that states its knowledge about the handler."""

    def __init__(self, processed: str) -> None:
        super().__init__(processed)
        self.processed = processed


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_healthy_calls_leave_no_problem() -> None:
    ledger, journal = Ledger(), Journal()
    entry = ledger.begin(timeout=1)
    with journal.handling(entry.nonce, entry.expected):
        pass
    ledger.succeeded(entry, entry.nonce)
    refused, lost = ledger.begin(), ledger.begin()
    ledger.failed(refused, FailedCallError("no"))
    journal.started(lost.nonce)
    ledger.failed(lost, FailedCallError("unknown"))
    assert ledger.problems(journal) == []
    assert journal.running() == [lost.nonce]


@pytest.mark.parametrize("ends", [0, 2])
def test_call_that_does_not_end_once_breaks_l1(ends: int) -> None:
    ledger = Ledger()
    entry = ledger.begin()
    for _ in range(ends):
        ledger.failed(entry, FailedCallError("no"))
    assert "L1" in ledger.problems()[0]


def test_end_long_after_the_deadline_breaks_l1() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    late, timely = ledger.begin(timeout=1), ledger.begin(timeout=1)
    clock.now += 1.1
    ledger.failed(timely, FailedCallError("unknown"))
    clock.now += 0.001
    ledger.failed(late, FailedCallError("unknown"))
    assert ["L1" in line for line in ledger.problems()] == [True]


def test_answer_of_another_call_breaks_l2() -> None:
    ledger, journal = Ledger(), Journal()
    first, second = ledger.begin(), ledger.begin()
    for entry in (first, second):
        journal.started(entry.nonce)
        journal.ended(entry.nonce, entry.nonce)
    ledger.succeeded(first, second.nonce)
    ledger.succeeded(second, second.nonce)
    assert all("L2" in line for line in ledger.problems(journal))
    assert len(ledger.problems(journal)) == 2


def test_success_without_a_finished_handler_breaks_l2() -> None:
    ledger, journal = Ledger(), Journal()
    entry = ledger.begin()
    journal.started(entry.nonce)
    ledger.succeeded(entry, entry.nonce)
    assert "L2" in ledger.problems(journal)[0]


def test_handler_for_no_call_breaks_l2() -> None:
    journal = Journal()
    journal.started(b"stray")
    assert "L2" in Ledger().problems(journal)[0]


@pytest.mark.parametrize(("idempotent", "broken"), [(True, 0), (False, 1)])
def test_second_start_breaks_l3_unless_idempotent(idempotent: bool, broken: int) -> None:
    ledger, first, second = Ledger(), Journal(), Journal()
    entry = ledger.begin(idempotent=idempotent)
    first.started(entry.nonce)
    second.started(entry.nonce)
    second.ended(entry.nonce, entry.nonce)
    ledger.succeeded(entry, entry.nonce)
    assert ["L3" in line for line in ledger.problems(first, second)] == [True] * broken


def test_start_of_a_call_that_says_no_breaks_l4() -> None:
    ledger, journal = Ledger(), Journal()
    entry = ledger.begin()
    journal.started(entry.nonce)
    ledger.failed(entry, FailedCallError("no"))
    assert "L4" in ledger.problems(journal)[0]


def test_claim_without_a_start_breaks_l5() -> None:
    ledger = Ledger()
    ledger.failed(ledger.begin(), FailedCallError("yes"))
    assert "L5" in ledger.problems(Journal())[0]


def test_counts_away_from_their_base_break_l6() -> None:
    base = {"live": {"calls": 0, "timers": 1}, "credit": 5}
    assert differences(base, {"live": {"calls": 0, "timers": 1}, "credit": 5}) == []
    assert differences(base, {"live": {"calls": 2, "timers": 1}, "credit": 5}) == [
        "L6 live.calls: 0 before, 2 after"
    ]


def test_run_notes_answers_errors_and_cancellation() -> None:
    async def answer(content: bytes) -> bytes:
        return content

    async def fail() -> bytes:
        raise FailedCallError("no")

    async def cancel() -> bytes:
        raise asyncio.CancelledError

    async def scenario(ledger: Ledger, journal: Journal) -> None:
        good, bad, cancelled = ledger.begin(), ledger.begin(), ledger.begin()
        with journal.handling(good.nonce, good.nonce):
            assert await ledger.run(good, answer(good.nonce)) == good.nonce
        assert isinstance(await ledger.run(bad, fail()), FailedCallError)
        with pytest.raises(asyncio.CancelledError):
            await ledger.run(cancelled, cancel())

    ledger, journal = Ledger(), Journal()
    asyncio.run(scenario(ledger, journal))
    assert ledger.problems(journal) == []
    assert ledger.run_blocking(ledger.begin(), lambda: b"x") == b"x"


def test_journal_in_a_file_is_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    writers = [Journal(path), Journal(path)]
    for number, writer in enumerate(writers):
        writer.started(bytes([number]))
        writer.ended(bytes([number]), b"answer")
        writer.close()
    journal = Journal.read(path)
    assert journal.starts() == {b"\0": 1, b"\1": 1}
    assert set(journal.answers()) == {b"\0", b"\1"}


def test_handler_that_raises_gives_no_answer() -> None:
    journal = Journal()
    with pytest.raises(ValueError), journal.handling(b"n", b"answer"):
        raise ValueError
    assert journal.starts() == {b"n": 1}
    assert journal.answers() == {}
    assert journal.running() == []
