"""Values that msgspec quotes in its errors: hidden from callers, shown in local errors; words of programs stay."""

import collections
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Literal

import msgspec
import pytest

import fastrpc
from fastrpc import CallError, DecodeError
from fastrpc._core.payload.marshal import Marshal
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.service import service_definition

CODECS: dict[str, Any] = {"json": msgspec.json, "msgpack": msgspec.msgpack}


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


@dataclass
class Price:
    currency: str

    def __post_init__(self) -> None:
        raise ValueError(self.currency)


class Money:
    """Is registered, so that msgspec calls a hook for it."""


def money(plain: Any) -> Money:
    raise ValueError(plain)


fastrpc.types.register(Money, encode=str, decode=money)


def marshal_of(kind: Any, codec: str) -> Marshal:
    """Return the marshal of a method with an argument, a stream and a result of a type."""

    async def take(self: Any, value: Any, messages: AsyncIterator[Any]) -> Any: ...

    take.__annotations__ |= {"value": kind, "messages": AsyncIterator[kind], "return": kind}
    service = fastrpc.service("one")(type("One", (), {"take": fastrpc.method(take)}))
    return marshal_for(service_definition(service).methods["take"], codec, depth=64, items=1_000)


QUOTED = [
    (Color, "a secret", "invalid enum value", "'a secret'"),
    (Color, "it's - at `$.x`\n", "invalid enum value", '"it\'s - at `$.x`\\n"'),
    (Level, -5, "invalid enum value", "-5"),
    (Literal["fast"], "a secret", "invalid enum value", "'a secret'"),
    (Literal[1, 2], 7, "invalid enum value", "7"),
    (collections.deque[Color], ["a secret"], "invalid enum value", "'a secret'"),
    (Cat | Dog, {"type": "a\nsecret"}, "invalid value", "'a\nsecret'"),
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("kind", "value", "words", "quoted"), QUOTED)
def test_a_value_of_a_caller_is_left_out(codec: str, kind: Any, value: Any, words: str, quoted: str) -> None:
    marshal, encode = marshal_of(kind, codec), CODECS[codec].encode
    for decode, payload in ((marshal.decode_arguments, [value]), (marshal.decode_message, value)):
        with pytest.raises(CallError) as caught:
            decode(encode(payload))
        assert caught.value.message.endswith(f": {words}")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("kind", "value", "words", "quoted"), QUOTED)
def test_a_value_of_an_answer_is_reported(codec: str, kind: Any, value: Any, words: str, quoted: str) -> None:
    with pytest.raises(DecodeError) as caught:
        marshal_of(kind, codec).decode_result(CODECS[codec].encode(value))
    assert caught.value.message.endswith(f": {words} {quoted}")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "words",
    [
        "invalid value for currency; use ISO 4217",
        "invalid enum value, as for the currency",
        "invalid value 'euro'",
        "invalid enum value 7",
    ],
)
def test_words_of_a_program_are_unchanged(codec: str, words: str) -> None:
    encode = CODECS[codec].encode
    said = words[0].upper() + words[1:]
    for kind, value in ((Price, {"currency": said}), (Money, said), (list[Money], [said])):
        with pytest.raises(CallError) as caught:
            marshal_of(kind, codec).decode_arguments(encode([value]))
        assert caught.value.message.endswith(f": {words}")
