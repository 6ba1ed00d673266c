"""Values of parameters as texts of a URL: with or without the quotes of JSON."""

import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from fastrpc.rpc.text_values import TextForm, TextValue


@dataclass
class Node:
    name: str
    inner: "Node | None" = None


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


@pytest.mark.parametrize("text", ["", "x", "1 2", "{", "[" * 5_000, "1}", "01"])
def test_a_text_that_has_to_be_json_is_checked(text: str) -> None:
    with pytest.raises(ValueError, match="it must be written as JSON"):
        TextValue(int).json(text)


def test_a_deep_text_of_a_union_stays_a_text() -> None:
    text = "[" * 5_000 + "]" * 5_000
    assert TextValue(int | str).json(text) == f'"{text}"'.encode()
