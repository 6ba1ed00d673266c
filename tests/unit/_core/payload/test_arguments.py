"""The arguments of a method, and the names at their positions."""

from itertools import product
from random import Random

import pytest

from fastrpc import ConfigError
from fastrpc._core.payload.arguments import ArgumentShape, BoundArguments, ParameterNames
from tests.support.marshal_factory import refuse
from tests.support.wire_names import names_refuse, names_told

TRANSFER = ("source", "target", "cents")


def test_the_numbers_match_the_reference() -> None:
    names = ParameterNames(TRANSFER)
    for count in range(len(TRANSFER) + 1):
        assert names.number(count) == names_told(TRANSFER[:count])


def test_the_number_of_one_name_is_the_published_hash() -> None:
    # FNV-1a-64 of "a\n", by hand: two rounds of (hash ^ byte) * prime.
    value = 0xCBF29CE484222325
    for byte in b"a\n":
        value = (value ^ byte) * 0x100000001B3 % 2**64
    assert ParameterNames(("a",)).number(1) == (value & ~0xFF) | 1


@pytest.mark.parametrize("seed", range(20))
def test_any_names_give_the_numbers_of_the_reference(seed: int) -> None:
    random = Random(seed)
    letters = "abc_\N{LATIN SMALL LETTER SHARP S}\N{GREEK SMALL LETTER OMEGA}\N{CJK UNIFIED IDEOGRAPH-4E2D}"
    names = tuple(
        "".join(random.choices(letters, k=random.randint(1, 30))) for _ in range(random.randint(1, 40))
    )
    told = ParameterNames(names)
    assert [told.number(count) for count in range(len(names) + 1)] == [
        names_told(names[:count]) for count in range(len(names) + 1)
    ]


def test_names_are_hashed_separately_and_not_joined() -> None:
    assert ParameterNames(("ab", "c")).number(2) != ParameterNames(("a", "bc")).number(2)


def test_more_positions_than_a_byte_counts_are_not_sent() -> None:
    names = ParameterNames(tuple(f"p{number}" for number in range(300)))
    assert names.number(255) & 0xFF == 255
    assert names.number(256) == names.number(300) == 0


def test_a_count_beyond_the_names_is_an_error() -> None:
    for count in (-1, 4):
        with pytest.raises(ValueError, match=f"there are 3 names, not {count}"):
            ParameterNames(TRANSFER).number(count)


def test_only_prefixes_of_the_names_are_accepted() -> None:
    names = ParameterNames(TRANSFER)
    for count in range(len(TRANSFER) + 1):
        assert names.takes(names_told(TRANSFER[:count]))
    for others in (("target",), ("target", "source"), ("target", "source", "cents"), (*TRANSFER, "note")):
        assert not names.takes(names_told(others))
        assert names_refuse(names_told(others), TRANSFER)


@pytest.mark.parametrize("told", [0, 0x1234_5678_9ABC_DE00])
def test_hashes_of_no_positions_are_not_checked(told: int) -> None:
    assert ParameterNames(TRANSFER).takes(told)
    assert ParameterNames(()).takes(told)


def test_every_mixture_of_old_and_present_names_is_taken() -> None:
    spelling = ({"source", "src"}, {"target", "to", "dst"}, {"cents"})
    names = ParameterNames(TRANSFER, (spelling,))
    for mixture in product(*spelling):
        for count in range(1, 4):
            assert names.takes(names_told(mixture[:count]))
    assert not names.takes(names_told(("to", "src", "cents")))
    assert not names.takes(names_told(("source", "src")))


def test_two_spellings_are_not_mixed_with_each_other() -> None:
    names = ParameterNames(("a", "b"), (({"a"}, {"b"}), ({"x"}, {"y"})))
    assert names.takes(names_told(("x", "y")))
    assert not names.takes(names_told(("a", "y")))


def test_a_method_with_many_parameters_states_its_old_names() -> None:
    own = tuple(f"p{number}" for number in range(300))
    spelling = [{name, f"old_{name}"} if number < 4 else {name} for number, name in enumerate(own)]
    names = ParameterNames(own, (spelling,))
    assert names.takes(names_told(("old_p0", "p1", "old_p2", *own[3:255])))
    assert not names.takes(names_told(("old_p0", "p1", "old_p3", *own[3:255])))


def test_mixtures_without_number_are_a_config_error() -> None:
    names = tuple(f"p{number}" for number in range(40))
    spelling = [{name, f"old_{name}"} for name in names]
    assert ParameterNames(names, (spelling[:6],)).takes(names_told(("old_p0", "p1", "p2", "old_p3")))
    with pytest.raises(ConfigError, match="first 7 parameters, old ones included, have 128 combinations"):
        ParameterNames(names, (spelling,))


def test_parts_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="contradict"):
        ArgumentShape(("a",), (), refuse, positional=1)
    with pytest.raises(ValueError, match="contradict"):
        ArgumentShape(("a",), (True,), refuse, positional=2)
    with pytest.raises(ValueError, match="contradict"):
        ArgumentShape(("a",), (True,), refuse, positional=1, positional_only=2)


@pytest.mark.parametrize(
    ("names", "required", "text"),
    [
        ((), (), "takes 0 arguments, got 3"),
        (("a",), (True,), "takes 1 argument (a), got 3"),
        (("a", "b"), (True, False), "takes 1 to 2 arguments (a, b), got 3"),
    ],
)
def test_a_shape_tells_how_many_arguments_it_takes(
    names: tuple[str, ...], required: tuple[bool, ...], text: str
) -> None:
    assert ArgumentShape(names, required, refuse, positional=len(names)).arity_text(3) == text


def test_the_shortest_row_ends_with_the_last_required_parameter() -> None:
    assert ArgumentShape(("a", "b", "c"), (True, True, False), refuse, positional=3).shortest == 2
    assert ArgumentShape(("a", "b"), (False, True), refuse, positional=1).shortest == 2


def test_bound_arguments_compare_by_value() -> None:
    assert BoundArguments((1,), {}) == BoundArguments((1,), {})
    assert BoundArguments((1,), {}) != BoundArguments((1,), {"a": 1})
    assert BoundArguments((1,), {}) != (1,)
    assert repr(BoundArguments((1,), {"a": 2})) == "BoundArguments((1,), {'a': 2})"
