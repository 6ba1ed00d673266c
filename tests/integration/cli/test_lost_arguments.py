"""Parts of arguments that the new version lacks: `contract --check` describes how its server treats a value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import msgspec
import pytest

import fastrpc
from fastrpc import CallError, Status
from fastrpc.cli.contracts.check import changes
from fastrpc.rpc.described_services import ServiceDescription
from fastrpc.rpc.description import describe
from fastrpc.testing import connected

pytestmark = pytest.mark.one_loop


@dataclass
class OldData:
    a: int
    b: int = 2


@dataclass
class NewData:
    a: int


class OldTyped(TypedDict):
    a: int
    b: int


class NewTyped(TypedDict):
    a: int


class OldStruct(msgspec.Struct):
    a: int
    b: int = 2


class NewStruct(msgspec.Struct):
    a: int


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    a: int


class OldRow(msgspec.Struct, array_like=True):
    a: int
    b: int = 2


class NewRow(msgspec.Struct, array_like=True):
    a: int


class StrictRow(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    a: int


class OldTuple(NamedTuple):
    a: int
    b: int = 2


class NewTuple(NamedTuple):
    a: int


def taking(kind: Any) -> type[Any]:
    """Return a service whose method takes a value of a class."""

    @fastrpc.service("taker")
    class Taker:
        @fastrpc.method
        async def take(self, value: kind) -> int:  # type: ignore[valid-type]
            return 1

    return Taker


def described(service: type[Any]) -> Sequence[ServiceDescription]:
    return msgspec.convert(
        msgspec.json.decode(msgspec.json.encode([describe(service)])), list[ServiceDescription]
    )


CASES = {
    "dataclass": (OldData, NewData, OldData(1), "ignored"),
    "typed dict": (OldTyped, NewTyped, {"a": 1, "b": 2}, "ignored"),
    "struct": (OldStruct, NewStruct, OldStruct(1), "ignored"),
    "struct that forbids": (OldStruct, Strict, OldStruct(1), "refused"),
    "row": (OldRow, NewRow, OldRow(1), "ignored"),
    "row that forbids": (OldRow, StrictRow, OldRow(1), "refused"),
    "named tuple": (OldTuple, NewTuple, OldTuple(1), "refused"),
}


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize("case", CASES)
async def test_a_removed_field_has_the_effect_that_the_check_describes(case: str, codec: str) -> None:
    old, new, value, effect = CASES[case]
    before, after = taking(old), taking(new)
    told = [one.text for one in changes(described(before), described(after)) if not one.is_compatible]
    assert told == [f"parameter 'value' takes less: {old.__name__}.b is gone: its value is {effect}"]
    async with connected(after) as client:
        call = client.with_options(codec=codec).call("taker.take", value)
        if effect == "ignored":
            assert await call == 1
        else:
            with pytest.raises(CallError) as refused:
                await call
            assert refused.value.status is Status.INVALID_ARGUMENT


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_a_removed_parameter_has_the_effect_that_the_check_describes(codec: str) -> None:
    @fastrpc.service("taker")
    class Before:
        @fastrpc.method
        async def take(self, a: int, b: int = 2) -> int:
            return a + b

    @fastrpc.service("taker")
    class After:
        @fastrpc.method
        async def take(self, a: int) -> int:
            return a

    told = [one.text for one in changes(described(Before), described(After))]
    assert told == ["parameter 'b' is gone: calls that give it are refused"]
    async with connected(After) as client:
        view = client.with_options(codec=codec)
        assert await view.call(Before.take, 1) == 1
        for arguments, named in (((1, 2), {}), ((1,), {"b": 2})):
            with pytest.raises(CallError) as refused:
                await view.call(Before.take, *arguments, **named)
            assert refused.value.status is Status.INVALID_ARGUMENT
