"""The callers of a name that wait: one gives way, one is next."""

from typing import Any

import pytest

from fastrpc.relay.refusals import RefusalReason, RelayRefusedError
from fastrpc.relay.waiting import MOST_WAITING, WaitingCallers
from fastrpc.testing import FakeClock


class Caller:
    def __init__(self, callers: WaitingCallers, network: str) -> None:
        self.network = network.encode()
        self.refused: RefusalReason | None = None
        self._callers = callers

    def refuse(self, reason: RefusalReason) -> None:
        self.refused = reason
        self._callers.discard(self)  # type: ignore[arg-type]


def come(callers: WaitingCallers, network: str) -> Any:
    """Have a caller of an address come, and wait."""
    callers.note_call(network.encode())
    caller: Any = Caller(callers, network)
    callers.add(caller)
    return caller


def test_callers_are_served_in_their_order() -> None:
    callers = WaitingCallers()
    came = [come(callers, name) for name in "abc"]
    assert [callers.take() for _ in range(4)] == [*came, None]


def test_a_rare_address_is_served_before_a_frequent_address() -> None:
    callers = WaitingCallers()
    many = [come(callers, "a") for _ in range(3)]
    one = come(callers, "b")
    assert [callers.take() for _ in range(4)] == [one, *many]


def test_a_caller_of_the_address_with_most_of_them_gives_way() -> None:
    callers = WaitingCallers()
    others = [come(callers, f"other-{number}") for number in range(MOST_WAITING - 2)]
    first, second = come(callers, "a"), come(callers, "a")
    come(callers, "b")
    assert (first.refused, second.refused) == (RefusalReason.CALLER_FULL, None)
    come(callers, "a")
    assert second.refused is RefusalReason.CALLER_FULL
    assert not any(one.refused for one in others)


def test_64_addresses_take_no_place_of_another_one() -> None:
    callers = WaitingCallers()
    honest = come(callers, "honest")
    flood = [come(callers, f"flood-{number % 64}") for number in range(20 * 64)]
    late = come(callers, "late")
    assert len(callers) == MOST_WAITING
    assert (honest.refused, late.refused) == (None, None)
    assert {one.refused for one in flood} == {None, RefusalReason.CALLER_FULL}
    assert [callers.take(), callers.take()] == [honest, late]


def test_among_addresses_with_one_caller_each_one_that_comes_again_gives_way() -> None:
    callers = WaitingCallers()
    others = [come(callers, str(number)) for number in range(MOST_WAITING)]
    late = come(callers, "late")
    assert [one.refused for one in others[:2]] == [RefusalReason.SLOW, None]
    for _ in range(3):
        with pytest.raises(RelayRefusedError):
            come(callers, "0")
    assert late.refused is None
    assert not any(one.refused for one in others[1:])


def test_calls_count_for_some_seconds() -> None:
    clock = FakeClock()
    callers = WaitingCallers(clock)
    for _ in range(3):
        callers.note_call(b"a")
    clock.advance(5.0)
    first, second = come(callers, "a"), come(callers, "b")
    assert [callers.take(), callers.take()] == [first, second]


def test_the_calls_that_are_counted_are_bounded() -> None:
    callers = WaitingCallers()
    for number in range(10_000):
        callers.note_call(str(number).encode())
    assert len(callers._calls) == sum(callers._calls_of.values()) <= 4_096
