"""The fields that a handler gives its answer by HTTP: which may be stored, and for whom."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, Server, current_call

pytestmark = pytest.mark.one_loop


@fastrpc.service("fields")
class Fields:
    @fastrpc.method
    async def unsafe(self, headers: dict[str, str]) -> None:
        current_call().http(headers=headers)

    @fastrpc.method(safe=True)
    async def safe(self, headers: dict[str, str]) -> None:
        current_call().http(headers=headers)

    @fastrpc.method(safe=True)
    async def numbers(self, headers: dict[str, str]) -> AsyncIterator[int]:
        current_call().http(headers=headers)
        yield 1


@pytest.fixture
async def client() -> AsyncIterator[Any]:
    config = fastrpc.ServerConfig(expose_errors=True)
    async with Server(Fields(), config=config) as server:
        async with Client(await server.listen("memory://fields")) as found:
            yield found


@pytest.mark.parametrize("name", ["Cache-Control", "cache-control", "Vary", "VARY"])
async def test_fields_about_stored_answers_are_for_safe_methods(client: Any, name: str) -> None:
    # By another protocol than HTTP, too: the mistake shows wherever the method is tried.
    with pytest.raises(fastrpc.CallError, match=f"{name}.*only safe methods.*fields.unsafe is not safe"):
        await client.call(Fields.unsafe, {name: "a"})
    await client.call(Fields.safe, {name: "a"})
    assert [one async for one in client.stream(Fields.numbers, {name: "a"})] == [1]


@pytest.mark.parametrize("name", ["ETag", "Last-Modified", "Expires", "Link"])
async def test_other_fields_are_for_all_methods(client: Any, name: str) -> None:
    await client.call(Fields.unsafe, {name: "a"})


@pytest.mark.parametrize("value", ["max-age=1\r\nX-A: b", "a\0", " a", "\u20ac"])
async def test_values_that_break_the_head_are_refused(client: Any, value: str) -> None:
    for name in ("Cache-Control", "Vary", "ETag"):
        with pytest.raises(fastrpc.CallError, match=f"the value of {name} has CR, LF"):
            await client.call(Fields.safe, {name: value})
