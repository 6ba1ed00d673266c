"""Services that cannot be served."""

from pathlib import Path
from typing import Any, Protocol

import fastrpc
from fastrpc import Server, ServerConfig
from tests.support.mistakes.shop import NOWHERE, Item, Place, Raisers, Shop, added_to, started

__all__ = ["RAISERS"]

RAISERS: Raisers = []
raises = added_to(RAISERS)


@raises
def a_parameter_without_annotation(_: Path) -> None:
    @fastrpc.service("a")
    class Service:
        @fastrpc.method
        async def one(self, *values) -> int:  # type: ignore[no-untyped-def]
            return 1

    Server(Service)


@raises
async def a_class_without_service(_: Path) -> None:
    class Service:
        @fastrpc.method
        async def one(self) -> int:
            return 1

    await started(Service())


@raises
async def a_service_without_methods(_: Path) -> None:
    @fastrpc.service("a")
    class Service:
        async def one(self) -> int:
            return 1

    await started(Service)


@raises
async def two_services_of_one_name(_: Path) -> None:
    await started(Shop, Shop)


@raises
async def a_union_of_dataclasses(_: Path) -> None:
    @fastrpc.service("a")
    class Service:
        @fastrpc.method
        async def one(self, item: Item | Place) -> int:
            return 1

    await started(Service)


@raises
async def an_address_as_a_source(_: Path) -> None:
    await started(NOWHERE)


@raises
def a_contract_that_is_not_kept(_: Path) -> None:
    @fastrpc.service("a")
    class Contract(Protocol):
        @fastrpc.method
        async def one(self, number: int) -> int: ...

    @fastrpc.service("a", implements=Contract)
    class Service:
        @fastrpc.method
        async def one(self, number: str) -> int:
            return 1


@raises
def a_get_route_that_is_not_safe(_: Path) -> None:
    @fastrpc.method(http="GET /items/{id}")
    async def get(self: Any, id: int) -> int:
        return id


@raises
async def two_routes_of_one_path(_: Path) -> None:
    @fastrpc.service("a")
    class Service:
        @fastrpc.method(safe=True, http="GET /items/{id}")
        async def one(self, id: int) -> int:
            return id

        @fastrpc.method(safe=True, http="GET /items/{name}")
        async def two(self, name: str) -> int:
            return 1

    await started(Service, config=ServerConfig(protocols=("http",)))
