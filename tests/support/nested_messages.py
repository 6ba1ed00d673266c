"""Nested classes: messages and enums that are nested in protobuf."""

import dataclasses
import enum
from typing import Annotated

import fastrpc
from fastrpc import Field
from fastrpc.grpc import proto

__all__ = ["Holder", "Later", "Money", "Outer", "Place", "Places", "Plain"]


@proto(name="google.type.Money", file="google/type/money.proto")
@dataclasses.dataclass
class Money:
    @dataclasses.dataclass
    class Part:
        units: int = 0

    part: Part | None = None


@proto(prefix="", reserved=(7, range(9, 1 << 31), "OLD"))
class Plain(enum.IntEnum):
    None_ = 0
    one = 1
    uno = 1


@proto(reserved=(8, range(10, 20), "foo"))
@dataclasses.dataclass
class Outer:
    class Size(enum.IntEnum):
        UNSPECIFIED = 0
        SMALL = 1

    @dataclasses.dataclass
    class Inner:
        """Inside of it."""

        @dataclasses.dataclass
        class Deep:
            size: "Annotated[Outer.Size, Field(2)]" = dataclasses.field(
                default_factory=lambda: Outer.Size.UNSPECIFIED
            )

        deep: Deep | None = None

    from_: Annotated[str, Field(1, name="from")] = ""
    inner: Inner | None = None
    size: Size = Size.UNSPECIFIED
    plain: Plain = Plain.None_
    price: Money | None = None
    parts: dict[str, Money.Part] = dataclasses.field(default_factory=dict)
    later: "Later.Kind | None" = None


@dataclasses.dataclass
class Later:
    class Kind(enum.IntEnum):
        GOOD = 1


@dataclasses.dataclass
class Place:
    """Holds another one, and a list of lists, which has no form."""

    @dataclasses.dataclass
    class Held:
        number: int = 0

    rows: list[list[int]] = dataclasses.field(default_factory=list)


@fastrpc.service("shop.v1.holder", grpc="pascal")
class Holder:
    @fastrpc.method(safe=True)
    async def get(self, request: Outer) -> Outer.Inner:
        raise NotImplementedError

    @fastrpc.method(idempotent=True)
    async def only(self, request: Outer.Inner.Deep) -> None: ...


@fastrpc.service("shop.v1.places")
class Places:
    @fastrpc.method
    async def get(self, request: Place.Held) -> Place.Held:
        raise NotImplementedError
