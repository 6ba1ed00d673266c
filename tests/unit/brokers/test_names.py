"""Names of topics and groups, and patterns of topics."""

import itertools

import pytest

from fastrpc.brokers.base.names import (
    NAME_CHARACTERS,
    TopicPattern,
    check_group,
    check_name,
)
from fastrpc.errors import ConfigError

PATTERNS = [
    ".".join(words) for count in (1, 2, 3) for words in itertools.product(("a", "b", "*"), repeat=count)
]
PATTERNS += ["**", *(f"{pattern}.**" for pattern in PATTERNS if pattern.count(".") < 2)]
NAMES = [".".join(words) for count in (1, 2, 3, 4) for words in itertools.product("abc", repeat=count)]


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("orders.new", "orders.new", True),
        ("orders.new", "orders.old", False),
        ("orders.*", "orders.new", True),
        ("orders.*", "orders.new.paid", False),
        ("orders.*", "orders", False),
        ("*.new", "orders.new", True),
        ("orders.**", "orders.new.paid", True),
        ("orders.**", "orders", False),
        ("**", "orders", True),
        ("a.*.**", "a.b", False),
        ("a.*.**", "a.b.c.d", True),
    ],
)
def test_a_pattern_covers_names(pattern: str, name: str, fits: bool) -> None:
    assert TopicPattern(pattern).matches(name) is fits


def test_patterns_relate_as_the_sets_of_their_names() -> None:
    patterns = [TopicPattern(text) for text in PATTERNS]
    names = [frozenset(filter(pattern.matches, NAMES)) for pattern in patterns]
    for (one, held), (other, its) in itertools.product(zip(patterns, names, strict=True), repeat=2):
        assert one.overlaps(other) is bool(held & its), (one.text, other.text)
        assert one.is_below(other) is (held <= its), (one.text, other.text)


@pytest.mark.parametrize("text", ["orders.new", "*.b", "a.**"])
def test_a_pattern_without_wildcards_is_a_name(text: str) -> None:
    assert TopicPattern(text).is_name is ("*" not in text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty word"),
        ("orders.", "empty word"),
        ("orders..new", "empty word"),
        ("orders.new paid", "blank"),
        ("orders.\tnew", "blank"),
        ("orders.\u2028", "blank"),
        ("orders.n*", "mark of patterns"),
        ("**.new", "mark of patterns"),
        ("orders.>", "mark of patterns"),
        ("x" * (NAME_CHARACTERS + 1), "the limit is 255"),
    ],
)
def test_a_malformed_topic_says_its_fault(text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as caught:
        TopicPattern(text)
    assert caught.value.hint
    with pytest.raises(ConfigError, match=fault) as caught:
        check_group(text)
    assert caught.value.hint


def test_messages_are_published_to_names() -> None:
    check_name("orders.new")
    with pytest.raises(ConfigError, match="is a pattern"):
        check_name("orders.*")


@pytest.mark.parametrize("check", [check_name, check_group, TopicPattern])
def test_a_name_is_text(check: object) -> None:
    with pytest.raises(TypeError, match="must be text"):
        check(b"a")  # type: ignore[operator]
