"""The ledger of messages finds each broken promise that is planted in it."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.messages.ledger import Event, EventLog, Unhandled, problems


def events(text: str) -> list[Event]:
    """Return events of `kind id` words; the id is the key with the number."""
    words = text.split()
    return [
        Event(instant, kind, id, id[0], int(id[1:]))
        for instant, (kind, id) in enumerate(zip(words[::2], words[1::2], strict=True))
    ]


SOUND = "sent a0 kept a0 start a0 done a0 acked a0 sent a1 kept a1 start a1 done a1 acked a1 sent b0"


@pytest.mark.parametrize(
    ("history", "problem"),
    [
        (SOUND, ""),
        ("sent a0 start a0 done a0 start a0 done a0 acked a0", ""),
        ("sent a0 start a0 sent a1 kept a1 start b0", "b0: it was delivered and never published"),
        ("sent a0 kept a0 start a0", "a0: the broker kept it, and it was never handled"),
        (f"{SOUND} start a0", "a0: it was delivered again behind an ack that the broker kept"),
    ],
)
def test_each_broken_promise_is_found(history: str, problem: str) -> None:
    found = problems(events(history))
    assert (problem in found) if problem else (found == [])


def test_a_later_message_of_a_key_that_starts_early_is_found() -> None:
    history = events("sent a0 kept a0 start a0 sent a1 kept a1 start a1 done a0 done a1")
    assert problems(history) == []
    assert problems(history, is_ordered=True) == ["a: a1 started before a0 was handled"]
    others = events("sent a0 kept a0 start a0 sent b1 kept b1 start b1 done a0 done b1")
    assert problems(others, is_ordered=True) == []


def test_a_dead_letter_counts_as_handled_and_frees_its_key() -> None:
    history = events("sent a0 kept a0 start a0 sent a1 kept a1 start a1 done a1")
    assert problems(history, dead=["a0"], is_ordered=True) == []


def test_messages_that_no_subscriber_handled_are_unhandled(tmp_path: Path) -> None:
    log, unhandled = EventLog(tmp_path, "p0"), Unhandled(tmp_path)
    for kind, expected in (("sent", set()), ("kept", {"a0"}), ("start", {"a0"}), ("done", set())):
        log.note(kind, "a0", "a", 0)  # type: ignore[arg-type]
        assert unhandled.now() == expected


def test_a_repeat_is_no_problem_where_the_broker_may_have_lost_the_ack() -> None:
    history = events("sent a0 kept a0 start a0 done a0 acked a0 start a0 done a0 acked a0")
    again = "a0: it was delivered again behind an ack that the broker kept"
    assert problems(history, lost_acks_at=[(3, 3), (6, 6)]) == [again]
    assert (
        problems([replace(event, instant=2 * event.instant) for event in history], lost_acks_at=[(9, 9)])
        == []
    )
