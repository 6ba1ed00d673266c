"""The grammar of method patterns, which limits and policies share; `test_policy.py` tests the patterns of keys."""

import pytest

from fastrpc import ConfigError
from fastrpc.patterns import MethodPattern, method_patterns

METHODS = [
    "shop.pay",
    "shop.pay2",
    "shop.orders.list",
    "shop.orders.old.list",
    "shopping.pay",
    "bank.pay",
    "fastrpc.health.check",
    "fastrpc.reflection.list",
]


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("shop.pay", ["shop.pay"]),
        ("shop.*", ["shop.pay", "shop.pay2"]),
        ("shop.**", ["shop.pay", "shop.pay2", "shop.orders.list", "shop.orders.old.list"]),
        ("shop.orders.*", ["shop.orders.list"]),
        ("**", METHODS[:6]),
        ("fastrpc.**", METHODS[6:]),
        ("fastrpc.health.*", ["fastrpc.health.check"]),
        ("fastrpc.*", []),
        ("SHOP.*", []),
    ],
)
def test_pattern_fits_only_these_methods(pattern: str, fits: list[str]) -> None:
    assert [method for method in METHODS if MethodPattern(pattern).matches(method)] == fits


def test_a_bare_function_is_named_with_its_dot() -> None:
    pattern = MethodPattern(".add")
    assert pattern.is_exact
    assert [name for name in (".add", "add", "a.add", ".addition") if pattern.matches(name)] == [".add"]
    assert MethodPattern("**").matches(".add")


@pytest.mark.parametrize("text", [".", "..add", ".a.b", ".*", ".**", "add"])
def test_a_service_without_a_name_is_no_pattern(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a pattern of methods"):
        MethodPattern(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "***",
        "shop",
        "shop.",
        "shop.p*",
        "*.pay",
        "shop.*.**",
        "**.pay",
        "shop.*.pay",
        "shop..pay",
        "shop pay",
        "shop.pay ",
        "shop.*\n",
        "shop.***",
        "fastrpc.health/check",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a pattern of methods"):
        MethodPattern(text)


def test_patterns_are_one_text_or_several() -> None:
    assert [pattern.text for pattern in method_patterns("shop.*")] == ["shop.*"]
    assert [pattern.text for pattern in method_patterns(["shop.*", "bank.pay"])] == ["shop.*", "bank.pay"]


@pytest.mark.parametrize("given", [(), [], None, 7, [7], {"shop.*"}])
def test_a_value_that_is_no_list_of_patterns_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match="methods is"):
        method_patterns(given)


@pytest.mark.parametrize(
    ("pattern", "missing"),
    [("shop.pay", None), ("shop.buy", "shop"), ("**", None), ("lost.*", "lost"), ("shop.**", None)],
)
def test_pattern_that_no_method_fits_names_its_service(pattern: str, missing: str | None) -> None:
    assert MethodPattern(pattern).missing_in(METHODS) == missing
