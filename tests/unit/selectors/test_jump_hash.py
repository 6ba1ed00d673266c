"""Keys as rpcx makes them: scalars are written as Go writes them."""

import pytest

from fastrpc.selectors.jump_hash import go_text, rpcx_key


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (-7, "-7"),
        ("grün", "grün"),
        (True, "true"),
        (False, "false"),
        (0.1, "0.1"),
        (1.0, "1"),
        (-0.0, "-0"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (123456.789, "123456.789"),
        (1.5e300, "1.5e+300"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
        (b"a", None),
        (None, None),
        ([1], None),
    ],
)
def test_scalars_are_written_as_go_does(value: object, text: str | None) -> None:
    assert go_text(value) == text


def test_arguments_that_go_writes_otherwise_make_no_key() -> None:
    assert rpcx_key("Arith.Mul", (1, 2)) is None
    assert rpcx_key("Arith.Mul", ({"A": 1},)) is None
    assert rpcx_key("shop.v1.Arith.Mul", (1,)) == "/shop.v1.Arith/Mul/1"
