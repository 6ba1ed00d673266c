"""Values of parameters as texts of a URL: with or without the quotes of JSON."""

import datetime
import enum
import pathlib
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from fastrpc.rpc.schema.text_values import TextForm, TextValue


@dataclass
class Node:
    name: str
    inner: "Node | None" = None


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Open(enum.Enum):
    """An enum that takes further values."""

    RED = "red"

    @classmethod
    def _missing_(cls, value: object) -> "Open":
        return cls.RED


class Bits(enum.Flag):
    ONE = 1
    TWO = 2


class Own:
    """A class that does not travel."""


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (str, TextForm.AS_IS),
        (str | None, TextForm.AS_IS),
        (uuid.UUID, TextForm.TEXT),
        (uuid.UUID | None, TextForm.TEXT),
        (int | uuid.UUID, TextForm.EITHER),
        (Node | str, TextForm.EITHER),
        (int, TextForm.JSON),
        (None, TextForm.JSON),
        (bool | None, TextForm.JSON),
        (list[str], TextForm.JSON),
        (Node, TextForm.JSON),
        (Node | None, TextForm.JSON),
        (Any, TextForm.JSON),
        (Own, TextForm.JSON),
    ],
)
def test_the_form_follows_from_the_type(kind: Any, form: TextForm) -> None:
    assert TextValue(kind).form is form


@pytest.mark.parametrize(
    ("kind", "text", "json"),
    [
        (str, "null", b'"null"'),
        (str, '"a"', b'"\\"a\\""'),
        (uuid.UUID, "x", b'"x"'),
        (uuid.UUID, '"x"', b'"x"'),
        (uuid.UUID, "null", b'"null"'),
        (uuid.UUID | None, "null", b"null"),
        (int | str, "7", b"7"),
        (int | str, "7,8", b'"7,8"'),
        (int | str, "9" * 30, b"9" * 30),
        (float | str, "1e5", b"1e5"),
        (int, "7", b"7"),
        (int, '"7"', b'"7"'),
        (dict[str, int], '{"a":1}', b'{"a":1}'),
    ],
)
def test_a_text_becomes_json(kind: Any, text: str, json: bytes) -> None:
    assert TextValue(kind).json(text) == json


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (bytes, "AAE=", b"\0\1"),
        (bytes, "A", "A"),
        (float, str(2**64), 2.0**64),
        (int, f'"{2**60}"', 2**60),
        (int, '"7"', "7"),
        (uuid.UUID, "x", "x"),
        (datetime.datetime, "2026-01-31T10:00:00+02:00", "2026-01-31T10:00:00+02:00"),
        (pathlib.PurePosixPath, "a/b", "a/b"),
        (Level, "2", 2),
    ],
)
def test_a_text_becomes_msgpack(kind: Any, text: str, value: Any) -> None:
    assert msgspec.msgpack.decode(TextValue(kind).msgpack(text)) == value


def test_an_integer_that_msgpack_has_not_is_an_error() -> None:
    assert msgspec.msgpack.decode(TextValue(int).msgpack(str(2**64 - 1))) == 2**64 - 1
    with pytest.raises(ValueError, match="msgpack has no integer so large"):
        TextValue(int).msgpack(str(2**64))


@pytest.mark.parametrize("text", ["", "x", "1 2", "{", "[" * 5_000, "1}", "01"])
def test_a_text_that_has_to_be_json_is_checked(text: str) -> None:
    with pytest.raises(ValueError, match="must be written as a whole number"):
        TextValue(int).json(text)


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        (bool, "True", "must be written as true or false"),
        (bool, "1", "must be written as true or false"),
        (bool | None, "yes", "must be written as true or false"),
        (float, "x", "must be written as a number"),
        (dict[str, int], "x", "must be written as JSON"),
        (Color, "RED", "is not one of red, blue"),
        (Color | None, "green", "is not one of red, blue"),
        (Color, "7", "is not one of red, blue"),
        (Level, "LOW", r"is not one of 1 \(LOW\), 2 \(HIGH\)"),
        (Level, "3", r"is not one of 1 \(LOW\), 2 \(HIGH\)"),
        (Level, "[1]", r"is not one of 1 \(LOW\), 2 \(HIGH\)"),
        (datetime.datetime, "2026-01-31T10:00:00 02:00", "write a plus as %2B"),
        (bytes, "YQ a", "write a plus as %2B"),
    ],
)
def test_an_error_says_which_forms_are_taken(kind: Any, text: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^(is invalid; .*)?{told}$"):
        TextValue(kind).json(text)


@pytest.mark.parametrize(
    ("kind", "text", "json"),
    [
        (bool | None, "null", b"null"),
        (Color | None, "null", b"null"),
        (Color, '"red"', b'"red"'),
        (Level, "2", b"2"),
        (Open, "green", b'"green"'),
        (Bits, "3", b"3"),
        (datetime.datetime, "2026-01-31T10:00:00+02:00", b'"2026-01-31T10:00:00+02:00"'),
        (pathlib.PurePosixPath, "a b", b'"a b"'),
    ],
)
def test_a_value_that_fits_is_no_error(kind: Any, text: str, json: bytes) -> None:
    assert TextValue(kind).json(text) == json


def test_a_deep_text_of_a_union_stays_a_text() -> None:
    text = "[" * 5_000 + "]" * 5_000
    assert TextValue(int | str).json(text) == f'"{text}"'.encode()
