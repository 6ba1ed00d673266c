"""The ledger of messages finds each broken promise that is planted in it."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.messages.ledger import Event, EventLog, Losses, Unhandled, problems


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


REPEATED = "sent a0 kept a0 start a0 done a0 acked a0 start a0 done a0 acked a0"
AGAIN = "a0: it was delivered again behind an ack that the broker kept"


@pytest.mark.parametrize(
    ("seconds", "kill", "found"),
    [
        # The kill took the acknowledgement at 4 s, before the delivery at 5 s; the earlier one was at 2 s.
        (1.0, (4.5, 4.6), []),
        (1.0, (3.5, 4.5), []),
        (0.0, (4.5, 4.6), [AGAIN]),
        (0.4, (4.5, 4.6), [AGAIN]),
        (1.0, (2.5, 3.5), []),
        (1.0, (3.1, 3.5), [AGAIN]),
        (1.0, (5.5, 5.6), [AGAIN]),
    ],
)
def test_a_repeat_is_no_problem_where_a_kill_took_its_ack(
    seconds: float, kill: tuple[float, float], found: list[str]
) -> None:
    history = [replace(event, instant=event.instant * 10**9) for event in events(REPEATED)]
    losses = Losses(ack_seconds=seconds, kills=[tuple(round(at * 1e9) for at in kill)])  # type: ignore[list-item]
    assert problems(history, losses=losses) == found


def test_each_repeat_needs_a_kill_of_the_ack_before_it() -> None:
    history = [replace(event, instant=event.instant * 10**9) for event in events(f"{REPEATED} start a0")]
    losses = Losses(ack_seconds=1.0, kills=[(4 * 10**9, 5 * 10**9)])
    assert problems(history, losses=losses) == [AGAIN]
    losses.kills.append((7 * 10**9, 8 * 10**9))
    assert problems(history, losses=losses) == []


@pytest.mark.parametrize(
    ("seconds", "absent", "killed", "is_found"),
    [
        (2.0, {"a0"}, 2, False),
        (2.0, set(), 2, True),
        (2.0, {"a0"}, 4, True),
        (0.5, {"a0"}, 2, True),
    ],
)
def test_a_message_may_be_lost_where_the_broker_lacks_it_and_a_kill_followed_soon(
    seconds: float, absent: set[str], killed: int, is_found: bool
) -> None:
    history = [replace(event, instant=event.instant * 10**9) for event in events("sent a0 kept a0")]
    losses = Losses(message_seconds=seconds, kills=[(killed * 10**9, (killed + 1) * 10**9)], absent=absent)
    found = problems(history, losses=losses)
    assert found == ["a0: the broker kept it, and it was never handled"] * is_found
