"""The scoreboard: the records of a process outlive it, killed at any time."""

import os
import signal
import threading

import pytest

from fastrpc.handlers.method_limits import EDGE_REASONS
from fastrpc.workers.monitoring.scoreboard import PREFIX_BYTES, Kind, Role, Scoreboard
from tests.support.forking import fork

pytestmark = pytest.mark.one_loop


@pytest.fixture
def board() -> Scoreboard:
    return Scoreboard(3)


def test_records_of_places_and_kinds_are_separate(board: Scoreboard) -> None:
    for place in board.places:
        assert place.read(Kind.COUNTED) == place.read(Kind.ANSWER) == b""
        place.write(Kind.COUNTED, b"counted %d" % place.index)
        place.write(Kind.ANSWER, b"answer %d" % place.index)
    for place in board.places:
        assert place.read(Kind.COUNTED) == b"counted %d" % place.index
        assert place.read(Kind.ANSWER) == b"answer %d" % place.index
    board.close()


@pytest.mark.parametrize("sizes", [[10, 100_000, 3, 0, 7], [5_000_000, 1]])
def test_the_last_record_of_any_size_is_read(board: Scoreboard, sizes: list[int]) -> None:
    place = board.places[1]
    for size in sizes:
        record = os.urandom(size)
        place.write(Kind.COUNTED, record)
        assert place.read(Kind.COUNTED) == record
    board.close()


def test_a_record_that_does_not_fit_is_refused(board: Scoreboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastrpc.workers.monitoring.scoreboard.RECORD_BYTES", PREFIX_BYTES + 10)
    place, neighbour = board.places[:2]
    neighbour.write(Kind.COUNTED, b"n" * 10)
    place.write(Kind.COUNTED, b"p" * 10)
    with pytest.raises(ValueError, match="the record has 11 bytes, the limit is 10"):
        place.write(Kind.COUNTED, b"p" * 11)
    assert place.read(Kind.COUNTED) == b"p" * 10
    assert neighbour.read(Kind.COUNTED) == b"n" * 10
    board.close()


def test_a_child_writes_for_its_parent(board: Scoreboard) -> None:
    place = board.free_place()
    place.prepare(Role.WORKER)
    child = fork()
    if child == 0:
        place.give(os.getpid())
        place.set_ready(True)
        place.set_connections(7, 3)
        place.write(Kind.COUNTED, b"from the child")
        os._exit(0)
    os.waitpid(child, 0)
    assert (place.process, place.is_ready, place.read(Kind.COUNTED)) == (child, True, b"from the child")
    # Two more are on their way.
    assert place.connections(9) == 5
    assert board.living() == [place]
    place.take_back()
    assert board.living() == []
    assert place.read(Kind.COUNTED) == b"from the child"
    board.close()


def test_a_process_that_is_killed_while_it_writes_leaves_a_whole_record(board: Scoreboard) -> None:
    place = board.places[0]
    records = {bytes([letter]) * 200_000 for letter in b"ab"}
    for _ in range(20):
        child = fork()
        if child == 0:
            while True:
                for record in sorted(records):
                    place.write(Kind.COUNTED, record)
        while place.read(Kind.COUNTED) == b"":
            pass
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert place.read(Kind.COUNTED) in records
    board.close()


def test_readers_get_whole_records_during_a_write(board: Scoreboard) -> None:
    place = board.places[0]
    place.write(Kind.COUNTED, b"a" * 50_000)
    is_over = threading.Event()

    def write() -> None:
        for number in range(300):
            place.write(Kind.COUNTED, b"ab"[number % 2 : number % 2 + 1] * 50_000)
        is_over.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not is_over.is_set():
        # No record if it was written anew at each look.
        assert len(set(place.read(Kind.COUNTED))) <= 1
    writer.join()
    board.close()


def test_a_sign_of_life_ages(board: Scoreboard) -> None:
    place = board.places[0]
    place.prepare(Role.ANNOUNCER)
    assert 0 <= place.silent_seconds < 60
    assert place.role == Role.ANNOUNCER
    board.close()


def test_refusals_come_after_all_places(board: Scoreboard) -> None:
    for place in board.places:
        place.prepare(Role.WORKER)
        place.set_connections(2**32 - 1, 2**32 - 1)
    assert board.refused() == dict.fromkeys(EDGE_REASONS, 0)
    for reason in (*EDGE_REASONS, "address"):
        board.count_refused(reason)
    assert board.refused() == dict.fromkeys(EDGE_REASONS, 1) | {"address": 2}
    assert all(place.connections(2**32 - 1) == 2**32 - 1 for place in board.places)
    board.close()
