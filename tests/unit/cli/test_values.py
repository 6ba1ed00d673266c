"""Arguments as they are typed."""

from typing import Any

import pytest

from fastrpc.cli.values import read_arguments, read_metadata, refuse_options
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


def test_name_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="'a' is given twice"):
        read_arguments(["a=1", "a=2"])


def test_misspelt_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_options(["1", "--timeuot"], ["--timeout", "--json"])
    assert caught.value.hint == "did you mean --timeout?"


@pytest.mark.parametrize("text", ["-5", "-0.5", "-1e9", "a--b", "-", "-.x"])
def test_what_is_no_option_passes(text: str) -> None:
    refuse_options([text], ["--timeout"])


def test_metadata_needs_a_key() -> None:
    assert read_metadata(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    with pytest.raises(ConfigError, match="'a' has no key"):
        read_metadata(["a"])


@pytest.mark.parametrize("text", ["X=1", "frpc-a=1", "a-bin=1"])
def test_metadata_that_cannot_travel_is_a_matter_of_usage(text: str) -> None:
    with pytest.raises(ConfigError, match=text.partition("=")[0]):
        read_metadata([text])
