"""The comparison of instruction counts with their record."""

from pathlib import Path

import pytest

from bench.guard import __main__ as guard
from bench.guard.__main__ import RECORD
from bench.guard.paths import CALL_PATHS, CORE_PATHS
from bench.guard.record import BESIDE, Record, faults
from bench.guard.tape import Tape


@pytest.mark.parametrize("now", [951.0, 1_000.0, 1_049.0])
def test_count_near_its_record_passes(now: float) -> None:
    assert faults({"echo": 1_000.0}, {"echo": now}) == []


def test_growing_count_is_a_fault() -> None:
    assert faults({"echo": 1_000.0, "mul": 5.0}, {"echo": 1_051.0, "mul": 5.0}) == [
        "echo grew by 5.1%: 1,000.0 → 1,051.0 instructions a call"
    ]


def test_falling_count_wants_to_be_recorded() -> None:
    [fault] = faults({"echo": 1_000.0}, {"echo": 900.0})
    assert "fell by 10.0%" in fault


def test_paths_and_record_name_the_same() -> None:
    assert faults({"gone": 1.0}, {"new": 1.0}) == [
        "gone is recorded and was not counted",
        "new is not recorded",
    ]


def test_a_path_that_costs_more_than_its_share_of_another_path_is_a_fault() -> None:
    [(name, (without, share))] = BESIDE.items()
    assert share == 0.01
    counts = {without: 1_000.0, name: 1_011.0}
    assert faults(counts, counts) == [f"{name} takes 1.1% more than {without}, the most are 1%"]
    assert faults(counts, counts | {name: 1_010.0}) == []


def test_record_is_written_and_read(tmp_path: Path) -> None:
    record = Record({"python": "3"}, {"echo": 12.5})
    record.write(tmp_path / "counts.json")
    assert Record.read(tmp_path / "counts.json") == record


def test_record_in_the_tree_names_every_path() -> None:
    sides = {f"server: {name}" for name in CALL_PATHS}
    called = {name for name, path in CALL_PATHS.items() if path.operation is not None and not path.has_pages}
    sides |= {f"client: {name}" for name in called}
    assert Record.read(RECORD).counts.keys() == sides | CORE_PATHS.keys()


def test_another_environment_alone_builds_no_old_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(commit: str) -> dict[str, float]:
        asked.append(commit)
        return {"echo": 7.0}

    asked: list[str] = []
    record = Record({"msgspec": "0.22.0"}, {"echo": 1_000.0})
    monkeypatch.setattr(Record, "read", lambda path: record)
    monkeypatch.setattr(guard, "environment", lambda: {"msgspec": "0.23.0"})
    monkeypatch.setattr(guard, "last_commit_of", lambda path: "abc")
    monkeypatch.setattr(guard, "count_commit", count)
    assert guard.recorded_counts({"echo": 1_040.0}) == {"echo": 1_000.0}
    assert asked == []
    assert guard.recorded_counts({"echo": 1_060.0}) == {"echo": 7.0}
    assert asked == ["abc"]


def test_beginning_of_a_tape_ends_with_the_answers_to_its_last_request() -> None:
    tape = Tape()
    for number in b"123":
        tape.note_request(b"request %c" % number)
        tape.note_answer(b"answer %c" % number)
    beginning = tape.beginning(2)
    assert beginning.requests == [b"request 1", b"request 2"]
    assert beginning.answers == [[], [b"answer 1"], [b"answer 2"]]
