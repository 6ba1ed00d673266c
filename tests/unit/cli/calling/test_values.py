"""Arguments as they are typed."""

from typing import Any

import pytest

from fastrpc.cli.calling.values import (
    needs_types,
    read_arguments,
    read_message,
    read_metadata,
    refuse_options,
)
from fastrpc.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("6", 6),
        ("-5", -5),
        ("-0.5e3", -500.0),
        ("true", True),
        ("null", None),
        ('"6"', "6"),
        ('{"a": [1, 2]}', {"a": [1, 2]}),
        ("Ada", "Ada"),
        ("two words", "two words"),
        ("", ""),
        ("[1, 2", "[1, 2"),
        ("NaN", "NaN"),
        ("1=2", "1=2"),
        ('"b=7"', "b=7"),
    ],
)
def test_value_is_json_or_else_text(text: str, value: Any) -> None:
    assert read_arguments([text]) == ([value], {})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("b=7", {"b": 7}),
        ("name=Ada", {"name": "Ada"}),
        ("name=", {"name": ""}),
        ("filter=a=b", {"filter": "a=b"}),
        ("lines=a\nb", {"lines": "a\nb"}),
    ],
)
def test_name_before_the_first_sign_names_the_argument(text: str, named: dict[str, Any]) -> None:
    assert read_arguments([text]) == ([], named)


def test_positions_and_names_may_be_mixed() -> None:
    assert read_arguments(["c=3", "1", "2"]) == ([1, 2], {"c": 3})


def test_raw_codec_takes_the_bytes_of_the_text() -> None:
    assert read_arguments(["6", "b=ä"], codec="raw") == ([b"6"], {"b": "ä".encode()})


TYPED = [
    ("str", "123", "123"),
    ("str", "null", "null"),
    ("Decimal", "0.10", "0.10"),
    ("Decimal | None", "79228162514264337593543950335", "79228162514264337593543950335"),
    ("Decimal | None", "null", None),
    ("str", '"6"', '"6"'),
    ("str", "[1]", "[1]"),
    ("str", "-5", "-5"),
    ("str | None", "123", "123"),
    ("str | None", "null", None),
    ("None | str", "true", "true"),
    ("int | str", "123", 123),
    ("int | str", "1.5", "1.5"),
    ("float | str", "123", 123),
    ("str | list[str]", '["1"]', ["1"]),
    ("str | list[str]", "1", "1"),
    ("str | int", '"1"', "1"),
    ("dict[str, int] | str", '{"a": 1}', {"a": 1}),
    ("Literal['1', 'a']", "1", "1"),
    ("Literal[1, 'a']", "1", 1),
    ("Literal['null'] | None", "null", "null"),
    ("list[str]", '["1", "2"]', ["1", "2"]),
    ("int", "123", 123),
    ("int", "six", "six"),
    ("bool", "True", True),
    ("bool | None", "None", None),
    ("int", "True", "True"),
    ("str | bool", "True", "True"),
    ("Any", "123", 123),
    ("Any", "True", "True"),
    ("User", '{"name": "Ada"}', {"name": "Ada"}),
    # What a server writes there need not be a type.
    ("str |", "123", 123),
    ("(" * 900, "123", 123),
    ("x" + ".x" * 490, "123", 123),
    ("str" + " | int" * 1000, "123", 123),
    ("\0", "123", 123),
    ("__import__('os').abort()", "123", 123),
]


@pytest.mark.parametrize(("kind", "text", "value"), TYPED, ids=[f"{one[0]:.30}-{one[1]}" for one in TYPED])
def test_arguments_are_read_by_the_type_of_a_known_parameter(kind: str, text: str, value: Any) -> None:
    assert read_arguments([text], types={"a": kind}) == ([value], {})
    assert read_arguments([f"a={text}"], types={"a": kind}) == ([], {"a": value})


def test_types_go_by_position_and_by_name() -> None:
    types = {"a": "str", "b": "int", "c": "str"}
    assert read_arguments(["1", "2", "3", "4"], types=types) == (["1", 2, "3", 4], {})
    assert read_arguments(["c=1", "2", "b=3", "d=4"], types=types) == (["2"], {"c": "1", "b": 3, "d": 4})


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_arguments(["a=\udcff"])


def test_text_that_begins_with_a_dash_is_given_by_name() -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_options(["-x"], ["--timeout"])
    assert (
        caught.value.hint == "a text that begins with a dash is given by the name of its parameter: name=-x"
    )
    assert read_arguments(["name=-x"]) == ([], {"name": "-x"})


def test_name_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="'a' is given twice"):
        read_arguments(["a=1", "a=2"])


def test_misspelt_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_options(["1", "--timeuot"], ["--timeout", "--json"])
    assert caught.value.hint == "did you mean --timeout?"


@pytest.mark.parametrize("text", ["-5", "-0.5", "-1e9", "a--b", "-", "-.x"])
def test_texts_that_are_not_options_pass(text: str) -> None:
    refuse_options([text], ["--timeout"])


def test_metadata_needs_a_key() -> None:
    assert read_metadata(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    with pytest.raises(ConfigError, match="'a' has no key"):
        read_metadata(["a"])


@pytest.mark.parametrize("text", ["X=1", "frpc-a=1", "a-bin=1"])
def test_metadata_that_cannot_travel_is_a_matter_of_usage(text: str) -> None:
    with pytest.raises(ConfigError, match=text.partition("=")[0]):
        read_metadata([text])


@pytest.mark.parametrize(
    ("text", "codec", "kind", "message"),
    [
        ("1", None, "int", 1),
        ("1", None, "str", "1"),
        ("1", None, "", 1),
        ('{"a": [1]}', None, "Point", {"a": [1]}),
        ("a b", None, "", "a b"),
        ("1", "raw", "bytes", b"1"),
    ],
)
def test_message_is_read_like_an_argument(text: str, codec: str | None, kind: str, message: object) -> None:
    assert read_message(text, codec, kind) == message


def test_types_are_fetched_only_if_values_depend_on_them() -> None:
    assert not needs_types(["Ada", "name=Bob", "", "tags=[a"])
    assert needs_types(["Ada", "name=1"])
    assert needs_types(["null"])
    assert not needs_types(["1"], codec="raw")
