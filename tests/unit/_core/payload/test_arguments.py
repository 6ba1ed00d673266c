"""The arguments of a method: how many it takes, and what a handler is called with."""

import pytest

from fastrpc._core.payload.arguments import ArgumentShape, BoundArguments
from tests.support.marshal_factory import refuse


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
