"""The keys of limits: each has its word, spent words stay, memory is bounded."""

import os

import pytest

from fastrpc._core.limiting.key_table import KeyTable
from tests.support.forking import fork

MOST = 10_000
#: Above what the tests call idle.
SPENT = 100


def names(count: int, start: int = 0) -> list[bytes]:
    return [b"key %d" % number for number in range(start, start + count)]


def filled(table: KeyTable, count: int = MOST) -> dict[bytes, int | None]:
    """Give each of so many names a spent word; return their places."""
    places = {}
    for name in names(count):
        places[name] = table.place_of(name)
        table.set_word(places[name], SPENT)
    return places


def test_ten_thousand_keys_have_words_of_their_own() -> None:
    table = KeyTable()
    places = filled(table)
    assert None not in places.values()
    assert len(set(places.values())) == table.taken == MOST
    assert {name: table.place_of(name) for name in places} == places


def test_a_new_key_at_a_full_table_shares_the_overflow() -> None:
    table = KeyTable()
    places = filled(table)
    assert {table.place_of(name) for name in names(1_000, start=MOST)} == {None}
    assert {name: table.place_of(name) for name in places} == places


def test_a_million_new_keys_take_no_spent_place() -> None:
    table = KeyTable()
    places = filled(table)
    assert all(table.place_of(name) is None for name in names(1_000_000, start=MOST))
    assert {name: table.place_of(name) for name in places} == places
    assert table.taken == MOST


def test_a_single_idle_place_of_a_full_table_goes_to_the_next_new_key() -> None:
    table = KeyTable()
    places = filled(table)
    table.set_word(places[b"key 77"], SPENT // 2)
    assert table.place_of(b"refused") is None
    assert table.place_of(b"new", SPENT // 2) is not None
    assert table.place_of(b"newer", SPENT // 2) is None
    assert table.place_of(b"key 77", SPENT // 2) is None
    assert {name: table.place_of(name) for name in places if name != b"key 77"} == {
        name: place for name, place in places.items() if name != b"key 77"
    }


def test_keys_that_are_all_idle_make_room_for_as_many_others() -> None:
    table = KeyTable()
    filled(table)
    others = {table.place_of(name, SPENT) for name in names(MOST, start=MOST)}
    assert None not in others
    assert table.taken <= MOST


def test_a_forked_process_shares_words_and_keys() -> None:
    table = KeyTable()
    ours = table.place_of(b"ours")
    reader, writer = os.pipe()
    process = fork()
    if process == 0:
        theirs = table.place_of(b"theirs")
        table.set_word(theirs, SPENT)
        os.write(writer, f"{theirs} {table.place_of(b'ours') == ours}".encode())
        os._exit(0)
    os.waitpid(process, 0)
    told = os.read(reader, 100).decode().split()
    os.close(reader)
    os.close(writer)
    assert told == [str(table.place_of(b"theirs")), "True"]
    assert table.taken == 2


@pytest.mark.parametrize("place", [-1, 32_769])
def test_there_are_no_words_beyond_the_places(place: int) -> None:
    with pytest.raises(IndexError):
        KeyTable().set_word(place, 1)


def test_names_are_bytes() -> None:
    with pytest.raises(TypeError):
        KeyTable().place_of("text")  # type: ignore[arg-type]
