"""Log records as JSON, one object a line."""

import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from fastrpc import Status
from fastrpc.cli.json_lines import JSONLines


def line(message: str = "it %s", *args: Any, **fields: Any) -> str:
    values = {"name": "mine", "levelname": "INFO", "msg": message, "args": args or ("works",), **fields}
    text = JSONLines().format(logging.makeLogRecord(values))
    assert len(text.splitlines()) == 1
    return text


def read(text: str) -> Mapping[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    found: Mapping[str, Any] = json.loads(text, parse_constant=refuse)
    return found


def test_a_record_is_an_object_with_its_message_level_logger_and_process() -> None:
    found = read(line(process=7))
    assert list(found) == ["time", "level", "logger", "message", "process"]
    assert (found["level"], found["logger"], found["message"], found["process"]) == (
        "INFO",
        "mine",
        "it works",
        7,
    )


@pytest.mark.parametrize(
    ("created", "shown"),
    [(0.0, "1970-01-01T00:00:00.000000Z"), (1_795_276_800.25, "2026-11-21T16:00:00.250000Z")],
)
def test_its_time_is_in_utc_as_rfc_3339_writes_it(
    created: float, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert read(line(created=created))["time"] == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (2**70, 2**70),
        (0.5, 0.5),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ("text", "text"),
        (b"bytes", "b'bytes'"),
        (Status.NOT_FOUND, "NOT_FOUND"),
        ({"a": {1: (2, 3)}}, {"a": {"1": [2, 3]}}),
        ({"b", "a"}, ["a", "b"]),
        (object, "<class 'object'>"),
    ],
)
def test_each_field_of_extra_is_in_the_object(value: Any, shown: Any) -> None:
    assert read(line(mine=value))["mine"] == shown


def test_a_value_that_has_no_text_and_one_that_holds_itself_are_written_all_the_same() -> None:
    class Wordless:
        def __str__(self) -> str:
            raise RuntimeError

    around: list[Any] = []
    around.append(around)
    assert read(line(mine=Wordless()))["mine"] == "<Wordless: RuntimeError in its text>"
    assert "[...]" in json.dumps(read(line(mine=around))["mine"])


@pytest.mark.parametrize("name", ["time", "level", "logger", "exception"])
def test_no_field_of_extra_replaces_a_field_of_every_object(name: str) -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        before = read(line(exc_info=sys.exc_info()))
        found = read(line(exc_info=sys.exc_info(), **{name: "forged"}))
    assert found[f"{name}_"] == "forged"
    assert found[name] != "forged"
    assert type(found[name]) is type(before[name])


def test_exceptions_and_stacks_are_fields() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        found = read(line(exc_info=sys.exc_info(), stack_info="Stack (most recent call last):\n  here"))
    assert re.match(
        r"Traceback \(most recent call last\):\n.*ValueError: two\nlines$", found["exception"], re.DOTALL
    )
    assert found["stack"].endswith("here")


@pytest.mark.parametrize(
    "hidden", ["\n", "\r\n", "\x1b[31m", "\x9b", "\u202e", "\u2028", "\x85", "\x7f", "\ud800"]
)
def test_a_hidden_character_is_escaped_and_comes_back(hidden: str) -> None:
    text = line("before%safter", hidden, mine=hidden, also={hidden: 1})
    assert text.isprintable()
    assert text.encode()
    found = read(text)
    assert (found["message"], found["mine"], found["also"]) == (f"before{hidden}after", hidden, {hidden: 1})


def test_letters_of_any_language_are_written_unescaped() -> None:
    assert "grüße 世界" in line("grüße %s", "世界")
