"""The call table, example by example and against a dict."""

import gc
import math
import statistics
import sys
import time
import weakref
from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fastrpc.errors import LocalProtocolError
from fastrpc_harness import hot_loops
from fastrpc_harness.reached_table import ReachedTable


def ids_at_home_in(table: ReachedTable, slot: int, capacity: int, count: int) -> list[int]:
    """Make odd ids whose search begins in one slot of a table that grows to `capacity` slots."""
    inverse = pow(table.table.multiplier, -1, 2**64)
    ids: list[int] = []
    low_bits = 1
    while len(ids) < count:
        key = (slot * (2**64 // capacity) + low_bits) * inverse % 2**64
        if key < 2**62:
            ids.append(2 * key + 1)
        low_bits += 1
    return ids


class Entry:
    """Something that can be referred to weakly."""


def test_entry_is_found_under_its_id() -> None:
    table = ReachedTable()
    entry = Entry()
    table[7] = entry
    assert table[7] is entry
    assert 7 in table
    assert len(table) == table.table.size == 1


@pytest.mark.parametrize("size", [0, 1, 100])
def test_unknown_id_is_not_found(size: int) -> None:
    table = ReachedTable()
    for number in range(size):
        table[2 * number + 1] = number
    assert 999 not in table
    with pytest.raises(KeyError):
        table[999]
    with pytest.raises(KeyError):
        table.pop(999)


def test_taken_entry_is_gone() -> None:
    table = ReachedTable()
    table[7] = "entry"
    assert table.pop(7) == "entry"
    assert 7 not in table
    assert len(table) == 0


def test_id_in_use_is_refused_and_keeps_its_entry() -> None:
    table = ReachedTable()
    table[7] = "first"
    with pytest.raises(LocalProtocolError, match="call id 7 is in use"):
        table[7] = "second"
    assert table[7] == "first"
    assert len(table) == 1


@pytest.mark.parametrize("identifier", [0, 1, 2, 2**63 - 1, 2**64 - 1])
def test_any_64_bit_number_is_an_id(identifier: int) -> None:
    table = ReachedTable()
    table[identifier] = "entry"
    assert table.pop(identifier) == "entry"


def test_ids_of_both_parities_do_not_mix() -> None:
    table = ReachedTable()
    table[6] = "even"
    table[7] = "odd"
    assert (table[6], table[7]) == ("even", "odd")


def test_table_grows_without_losing_entries() -> None:
    table = ReachedTable()
    ids = range(1, 20_001, 2)
    for identifier in ids:
        table[identifier] = identifier
    assert all(table[identifier] == identifier for identifier in ids)
    assert sorted(table.values()) == list(ids)


def test_entries_that_stay_are_found_while_other_entries_come_and_go() -> None:
    table = ReachedTable()
    for identifier in range(1, 2_001, 2):
        table[identifier] = identifier
    for identifier in range(2_001, 60_001, 2):
        table[identifier] = identifier
        if identifier >= 2_101:
            assert table.pop(identifier - 100) == identifier - 100
    assert all(table[identifier] == identifier for identifier in range(1, 2_001, 2))


def test_memory_of_a_burst_is_given_back() -> None:
    table = ReachedTable()
    empty = sys.getsizeof(table.table)
    for identifier in range(1, 20_001, 2):
        table[identifier] = None
    assert sys.getsizeof(table.table) > 10_000 * 16
    for identifier in range(1, 20_001, 2):
        table.pop(identifier)
    assert sys.getsizeof(table.table) == empty
    table[20_001] = "usable again"
    assert table[20_001] == "usable again"


def test_table_holds_one_reference_to_each_entry() -> None:
    table = ReachedTable()
    entry = Entry()
    base = sys.getrefcount(entry)
    table[1] = entry
    table[3] = entry
    assert sys.getrefcount(entry) == base + 2
    table.pop(1)
    assert sys.getrefcount(entry) == base + 1
    table.values()
    assert sys.getrefcount(entry) == base + 1
    del table
    assert sys.getrefcount(entry) == base


def test_refused_entry_is_not_referred_to() -> None:
    table = ReachedTable()
    entry = Entry()
    table[1] = "first"
    base = sys.getrefcount(entry)
    with pytest.raises(LocalProtocolError):
        table[1] = entry
    assert sys.getrefcount(entry) == base


def test_collector_sees_the_entries() -> None:
    table = ReachedTable()
    entry = Entry()
    table[1] = entry
    assert gc.is_tracked(table.table)
    assert any(found is entry for found in gc.get_referents(table.table))


def test_cycle_through_the_table_is_collected() -> None:
    table = ReachedTable()
    entry = Entry()
    entry.table = table  # type: ignore[attr-defined]
    table[1] = entry
    gone = weakref.ref(entry)
    del table, entry
    gc.collect()
    assert gone() is None


def test_cycle_that_only_the_table_can_break_is_broken() -> None:
    witness = object()
    base = sys.getrefcount(witness)
    table = ReachedTable()
    table[1] = (table.table, witness)
    del table
    gc.collect()
    assert sys.getrefcount(witness) == base


def test_cycle_that_is_still_used_survives_a_collection() -> None:
    table = ReachedTable()
    entry = Entry()
    entry.table = table  # type: ignore[attr-defined]
    table[1] = entry
    del entry
    gc.collect()
    assert isinstance(table[1], Entry)


def test_finalizer_in_a_dying_cycle_can_still_use_the_table() -> None:
    found: list[str] = []

    class Parting:
        def __init__(self, table: ReachedTable) -> None:
            self.table = table

        def __del__(self) -> None:
            found.append(self.table.pop(3))

    table = ReachedTable()
    table[1] = Parting(table)
    table[3] = "entry"
    del table
    gc.collect()
    assert found == ["entry"]


def slots_searched(table: ReachedTable, ids: Iterable[int]) -> int:
    """Return the number of slots that all searches for these ids visit, once all are in the table."""
    ids = list(ids)
    for identifier in ids:
        table[identifier] = None
    return sum(table.slots_searched(identifier) for identifier in ids)


def test_ids_chosen_to_meet_in_one_table_do_not_meet_in_another() -> None:
    known = ReachedTable()
    crowded = ids_at_home_in(known, 0, 2**15, 400)
    assert slots_searched(known, crowded) > 10_000
    # One table in a hundred multiplies by a number that is bad for them, too.
    assert statistics.median(slots_searched(ReachedTable(), crowded) for _ in range(9)) < 4_000


def test_no_two_tables_multiply_by_the_same_number() -> None:
    multipliers = [ReachedTable().table.multiplier for _ in range(1_000)]
    assert len(set(multipliers)) == 1_000
    assert all(multiplier % 2 for multiplier in multipliers)


@pytest.mark.parametrize("step", [2, 4, 6, 10])
def test_consecutive_ids_do_not_collide_with_any_multiplier(step: int) -> None:
    for _ in range(200):
        assert slots_searched(ReachedTable(), range(1, 1 + 500 * step, step)) <= 3 * 500


def nanoseconds_per_call(in_flight: int) -> float:
    """Measure one add and one take, at best, while `in_flight` calls are open."""
    table = ReachedTable()
    best = math.inf
    for repetition in range(9):
        begin = time.perf_counter_ns()
        hot_loops.add_and_take(table.table, 100_000, 2 * repetition + 1, in_flight, None)
        best = min(best, time.perf_counter_ns() - begin)
    return best / (100_000 + in_flight)


@pytest.mark.measures
def test_add_and_take_cost_at_most_60_nanoseconds() -> None:
    assert nanoseconds_per_call(in_flight=64) <= 60


@pytest.mark.measures
def test_cost_does_not_grow_with_the_calls_in_flight() -> None:
    assert nanoseconds_per_call(in_flight=8_000) <= 10 * nanoseconds_per_call(in_flight=64)


class TableAgainstDict(RuleBasedStateMachine):
    """Rising ids as a connection makes them, and crowded ones as nobody should."""

    @initialize()
    def start(self) -> None:
        self.table = ReachedTable()
        self.model: dict[int, object] = {}
        self.next_id = 1
        # They fall on top of each other, at both ends of the slots and in their middle.
        self.crowded = [
            identifier
            for slot in (0, 1, 500, 1022, 1023)
            for identifier in ids_at_home_in(self.table, slot, 1024, 12)
        ]

    def add(self, identifier: int) -> None:
        entry = object()
        self.table[identifier] = entry
        self.model[identifier] = entry

    @rule(count=st.integers(1, 60), step=st.sampled_from([2, 2, 2, 4, 64, 2**20]))
    def open_calls(self, count: int, step: int) -> None:
        for _ in range(count):
            if self.next_id not in self.model:
                self.add(self.next_id)
            self.next_id += step

    @rule(number=st.integers(0, 59))
    def add_crowded(self, number: int) -> None:
        identifier = self.crowded[number]
        if identifier in self.model:
            with pytest.raises(LocalProtocolError):
                self.table[identifier] = None
        else:
            self.add(identifier)

    @rule(number=st.integers(0, 59))
    def take_crowded(self, number: int) -> None:
        identifier = self.crowded[number]
        if identifier in self.model:
            assert self.table.pop(identifier) is self.model.pop(identifier)
        else:
            with pytest.raises(KeyError):
                self.table.pop(identifier)

    @rule(data=st.data(), count=st.integers(1, 40))
    def answer_some(self, data: st.DataObject, count: int) -> None:
        for _ in range(min(count, len(self.model))):
            identifier = list(self.model)[data.draw(st.integers(0, len(self.model) - 1))]
            assert self.table.pop(identifier) is self.model.pop(identifier)

    @rule()
    def answer_all(self) -> None:
        for identifier in list(self.model):
            assert self.table.pop(identifier) is self.model.pop(identifier)

    @invariant()
    def agree(self) -> None:
        assert len(self.table) == len(self.model)
        assert all(self.table[identifier] is entry for identifier, entry in self.model.items())
        assert set(map(id, self.table.values())) == set(map(id, self.model.values()))


TestTableAgainstDict = TableAgainstDict.TestCase
TestTableAgainstDict.settings = settings(
    max_examples=settings().max_examples, stateful_step_count=40, deadline=None
)
