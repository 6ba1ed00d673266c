"""Marshals for tests: made from msgspec alone, without a service around them."""

from collections.abc import Callable
from string import ascii_lowercase
from typing import Any

import msgspec
import pytest

from fastrpc._core.payload.arguments import ArgumentShape
from fastrpc._core.payload.coders import PayloadCoders, PayloadScan
from fastrpc._core.payload.marshal import Marshal
from fastrpc.errors import CallError

__all__ = ["Point", "encode", "marshal_of", "nested", "refuse", "refused", "single", "untyped"]

encode = msgspec.msgpack.Encoder().encode


class Point(msgspec.Struct):
    x: int
    tags: list[str] = []


def refuse(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Stands for the function that raises the TypeError of a local call."""
    raise TypeError(f"{args} {kwargs} do not fit")


def marshal_of(
    *kinds: Any,
    defaults: str = "",
    positional: int | None = None,
    positional_only: int = 0,
    codec: str = "msgpack",
    result: Any = int,
    scan: bool = False,
) -> Marshal:
    """Return the marshal of a method with parameters of `kinds` called a, b, c, …"""
    library: Any = msgspec.json if codec == "json" else msgspec.msgpack

    def decoder(kind: Any) -> Callable[[Any], Any]:
        decode: Callable[[Any], Any] = library.Decoder(kind).decode
        return decode

    chosen = tuple(ascii_lowercase[: len(kinds)])
    shape = ArgumentShape(
        chosen,
        tuple(name not in defaults for name in chosen),
        refuse,
        positional=len(kinds) if positional is None else positional,
        positional_only=positional_only,
    )
    exact = tuple(
        decoder(tuple[kinds[:count]]) if count >= shape.shortest else None  # type: ignore[misc]
        for count in range(shape.positional + 1)
    )
    chosen_scan = PayloadScan(2 if codec == "json" else 1) if scan else None
    is_exact_json = shape.shortest == shape.positional == len(kinds)
    coders = PayloadCoders(
        codec,
        2 if codec == "json" else 1,
        encode=(library.Encoder().encode,) * 3,
        decode=(decoder(result), decoder(int)),
        exact=None if codec == "json" and not is_exact_json else exact,
        open=decoder(list[msgspec.Raw] | dict[str | int, msgspec.Raw]),
        items=tuple(decoder(kind) for kind in kinds),
        scan=(chosen_scan, chosen_scan, chosen_scan),
    )
    return Marshal("arith.mul", shape, coders, depth=10, items=100)


def single(codec: str, wire_id: int, *, decode: Any = bytes, names: tuple[str, ...] = ("data",)) -> Marshal:
    """Return the marshal of a method whose payload is its only argument."""
    shape = ArgumentShape(names, (True,) * len(names), refuse, positional=len(names))
    coders = PayloadCoders(
        codec,
        wire_id,
        encode=(lambda value: value.SerializeToString(),) * 3,
        decode=(decode, decode),
        exact=None,
        open=decode,
        items=(decode,) * len(names),
        scan=(None, None, None),
    )
    return Marshal("files.put", shape, coders, depth=10, items=10)


def refused(marshal: Marshal, payload: Any) -> CallError:
    """Return the error that decoding these arguments must end with."""
    with pytest.raises(CallError) as raised:
        marshal.decode_arguments(payload)
    assert raised.value.processed == "no"
    assert not raised.value.retryable
    return raised.value


def nested(depth: int) -> Any:
    """Return lists within each other."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def untyped(codec: str = "msgpack") -> Marshal:
    """Return the marshal of a method known only by its name."""
    library: Any = msgspec.json if codec == "json" else msgspec.msgpack
    scan = PayloadScan(2 if codec == "json" else 1)
    coders = PayloadCoders(
        codec,
        scan.codec_id,
        encode=(library.encode,) * 3,
        decode=(library.decode, library.decode),
        exact=None,
        open=library.decode,
        items=(),
        scan=(scan, scan, scan),
    )
    return Marshal("arith.mul", None, coders, depth=10, items=100)
