"""Integers beyond 2⁵³ as text: where a type says integer, and nowhere else."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec
import pytest
from msgspec import Meta

from fastrpc.rpc.schema import wide_integers
from fastrpc.rpc.schema.conversion import hooks_for
from fastrpc.rpc.schema.wide_integers import may_hold_wide_integers, wide_integer_decoder, wide_integer_passer

WIDE = 2**53 + 1
TEXT = str(WIDE)


@dataclass
class Leaf:
    id: int
    name: str = ""
    inner: "list[Leaf] | None" = None


class Renamed(msgspec.Struct, rename="camel"):
    user_id: int


class Dog(msgspec.Struct, tag=True):
    id: int


class Cat(msgspec.Struct, tag=True):
    id: str


class Row(msgspec.Struct, array_like=True):
    name: str
    id: int


class First(msgspec.Struct, array_like=True, tag=True):
    id: int


class Second(msgspec.Struct, array_like=True, tag=True):
    name: str


class Pair(NamedTuple):
    name: str
    id: int


@dataclass
class Queue:
    ids: deque[int]
    inner: "deque[Queue]" = field(default_factory=deque)


T = TypeVar("T")


class Box(msgspec.Struct, Generic[T]):
    items: deque[T]
    inner: "deque[Box[T]] | None" = None


class Numbers(Box[int]):
    pass


def decoded(kind: Any, value: Any) -> Any:
    payload = value if isinstance(value, bytes) else msgspec.json.encode(value)
    hooks = hooks_for("json", kind)
    decoder = msgspec.json.Decoder(kind, dec_hook=None if hooks is None else hooks.dec_hook)
    return wide_integer_decoder(decoder.decode, kind)(msgspec.Raw(payload))


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (int, TEXT, WIDE),
        (int, f"-{TEXT}", -WIDE),
        (Annotated[int, Meta(ge=0)], TEXT, WIDE),
        (int | None, TEXT, WIDE),
        (list[int], [1, TEXT, 2], [1, WIDE, 2]),
        (tuple[str, int], [TEXT, TEXT], (TEXT, WIDE)),
        (dict[str, int], {"a": TEXT}, {"a": WIDE}),
        (
            Leaf,
            {"id": TEXT, "name": TEXT, "inner": [{"id": TEXT}]},
            Leaf(WIDE, TEXT, [Leaf(WIDE)]),
        ),
        (Renamed, {"userId": TEXT}, Renamed(WIDE)),
        (Dog | Cat, {"type": "Dog", "id": TEXT}, Dog(WIDE)),
        (Dog | Cat | int, TEXT, WIDE),
        (Row, [TEXT, TEXT], Row(TEXT, WIDE)),
        (Pair, [TEXT, TEXT], Pair(TEXT, WIDE)),
        (list[Leaf | int], [{"id": TEXT}, TEXT], [Leaf(WIDE), WIDE]),
        (First | Second, ["First", TEXT], First(WIDE)),
        (First | Second, ["Second", TEXT], Second(TEXT)),
        (Row | None, [TEXT, TEXT], Row(TEXT, WIDE)),
        (deque[int], [1, TEXT], deque([1, WIDE])),
        (dict[str, deque[int | None]], {"a": [TEXT, None]}, {"a": deque([WIDE, None])}),
        (Counter[str], {TEXT: TEXT}, Counter({TEXT: WIDE})),
        (
            Queue,
            {"ids": [TEXT], "inner": [{"ids": [TEXT]}]},
            Queue(deque([WIDE]), deque([Queue(deque([WIDE]))])),
        ),
        (
            Box[int],
            {"items": [TEXT], "inner": [{"items": [TEXT]}]},
            Box(deque([WIDE]), deque([Box(deque([WIDE]))])),
        ),
        (Box[str], {"items": [TEXT]}, Box(deque([TEXT]))),
        (Numbers, {"items": [TEXT]}, Numbers(deque([WIDE]))),
        (int | str, TEXT, TEXT),
        (Any, [TEXT], [TEXT]),
        (
            tuple[int, Any],
            f'["{TEXT}", {{"a": 1.10, "b": "{TEXT}"}}]'.encode(),
            (WIDE, {"a": 1.1, "b": TEXT}),
        ),
    ],
)
def test_text_is_taken_for_an_integer_beyond_the_numbers_of_javascript(
    kind: Any, given: Any, expected: Any
) -> None:
    assert decoded(kind, given) == expected


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (int, "7"),
        (int, str(2**53)),
        (int, f"+{TEXT}"),
        (int, f"0{TEXT}"),
        (int, f" {TEXT}"),
        (int, f"{TEXT}.0"),
        (int, "1" * 41),
        (list[int], [TEXT, "7"]),
        (float, TEXT),
        (bool, TEXT),
        (Annotated[int, Meta(ge=0, le=100)], TEXT),
        (Annotated[int, Meta(le=2**60)], str(2**61)),
        (Leaf, {"id": TEXT, "name": 7}),
        (Literal[1, 2], TEXT),
        (Leaf, [TEXT]),
        (list[int], {"a": TEXT}),
        (Dog | Cat, {"type": [1], "id": TEXT}),
        (Dog | Cat, {"id": TEXT}),
        (First | Second, [TEXT, TEXT]),
        (First | Second, []),
        (deque[int], ["7"]),
        # Too much to look through: many values, and many bytes at each depth.
        (list[int], [TEXT] * 10_001),
        (dict[str, list[int]], {str(number): [TEXT] for number in range(6_000)}),
        (Leaf, b'{"id":1,"inner":[' * 30 + b"1 ," * 30_000 + f'"{TEXT}"'.encode() + b"]}" * 30),
    ],
)
def test_any_other_text_stays_an_error(kind: Any, given: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        decoded(kind, given)


@pytest.mark.parametrize(
    "kind", [str, float, Any, list[str], deque[str], deque, Cat, Annotated[int, Meta(ge=0, le=255)]]
)
def test_types_without_such_integers_keep_their_decoder(kind: Any) -> None:
    decode = msgspec.json.Decoder(kind).decode
    assert not may_hold_wide_integers(kind)
    assert wide_integer_decoder(decode, kind) is decode


def test_fitting_values_are_decoded_once() -> None:
    seen = []

    def decode(payload: Any) -> int:
        seen.append(payload)
        return 7

    assert wide_integer_decoder(decode, int)(b"7") == 7
    assert seen == [b"7"]


def test_a_payload_without_such_a_text_is_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(wide_integers, "_Bounds")
    with pytest.raises(msgspec.ValidationError):
        decoded(list[int], [WIDE, "x"])


def test_many_such_texts_are_taken() -> None:
    assert decoded(list[int], [TEXT] * 9_999) == [WIDE] * 9_999


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (int, TEXT, WIDE),
        (
            list[Leaf],
            [{"id": TEXT, "name": TEXT}, 5, {"id": "x"}],
            [{"id": WIDE, "name": TEXT}, 5, {"id": "x"}],
        ),
        (Dog | Cat, {"type": "Cat", "id": TEXT}, {"type": "Cat", "id": TEXT}),
        (dict[str, int], {"a": "7", "b": TEXT, "c": [TEXT]}, {"a": "7", "b": WIDE, "c": [TEXT]}),
    ],
)
def test_values_that_are_passed_on_have_numbers_for_such_texts(kind: Any, given: Any, expected: Any) -> None:
    passed = wide_integer_passer(msgspec.json.Decoder(msgspec.Raw).decode, kind)
    assert msgspec.json.decode(passed(msgspec.json.encode(given))) == expected


def test_values_that_are_passed_on_keep_their_form_without_such_texts() -> None:
    passed = wide_integer_passer(bytes, list[int])
    assert passed(b' [1,  "x"] ') == b' [1,  "x"] '
    assert passed(b"[" * 100 + TEXT.encode()) == b"[" * 100 + TEXT.encode()
    many = msgspec.json.encode([TEXT] * 10_001)
    assert passed(many) == many
    assert wide_integer_passer(bytes, str) is bytes
