"""Safe methods by GET: their arguments stand in the query."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Server, ServerConfig
from tests.support.http_talk import HttpClient

pytestmark = pytest.mark.one_loop


@fastrpc.service("find")
class Find:
    @fastrpc.method(safe=True)
    async def books(
        self,
        title: str,
        limit: int = 10,
        tags: list[str] | None = None,
        prices: list[float] = [],  # noqa: B006 - a default of the wire
        exact: bool = False,
        note: str | None = None,
    ) -> dict[str, Any]:
        return {"title": title, "limit": limit, "tags": tags, "prices": prices, "exact": exact, "note": note}

    @fastrpc.method(safe=True)
    async def all(self) -> list[int]:
        return [1, 2]

    @fastrpc.method(safe=True)
    async def numbers(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @fastrpc.method
    async def write(self, title: str) -> str:
        return title


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[HttpClient]:
    async with Server(Find(), config=ServerConfig(protocols=("http",))) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            yield client


DEFAULTS = {"title": "a", "limit": 10, "tags": None, "prices": [], "exact": False, "note": None}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("title=a", {}),
        ("title=5", {"title": "5"}),
        ("title=null", {"title": "null"}),
        ("title=%22a%22", {"title": '"a"'}),
        ("title=a+b%20c%2Bd%C3%A4", {"title": "a b c+dä"}),
        ("title=", {"title": ""}),
        ("title=a&limit=3", {"limit": 3}),
        ("limit=3&title=a&", {"limit": 3}),
        ("title=a&exact=true", {"exact": True}),
        ("title=a&tags=x", {"tags": ["x"]}),
        ("title=a&tags=x&tags=7", {"tags": ["x", "7"]}),
        ('title=a&tags=["x","y"]', {"tags": ["x", "y"]}),
        ("title=a&prices=1&prices=2.5", {"prices": [1.0, 2.5]}),
        ("title=a&note=n", {"note": "n"}),
        ("title=a&tags=null", {"tags": ["null"]}),
    ],
)
async def test_arguments_stand_in_the_query(query: str, found: dict[str, Any]) -> None:
    async with serving() as client:
        answer = await client.get(f"/find/books?{query}")
        assert (answer.status, answer.value) == (200, DEFAULTS | found)
        assert answer["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "limit=3",
        "title=a&limit=x",
        "title=a&limit=",
        'title=a&limit="3"',
        "title=a&limit=1,2",
        "title=a&limit=3&limit=4",
        "title=a&title=b",
        "title=a&other=1",
        "title=a&exact=yes",
        "title=%ff",
        "title=a&prices=x",
        "title=a&limit=3}",
    ],
)
async def test_queries_that_do_not_fit_are_refused(query: str) -> None:
    async with serving() as client:
        answer = await client.get(f"/find/books?{query}")
        assert (answer.status, answer.value["code"]) == (400, "INVALID_ARGUMENT")
        assert (await client.get("/find/all")).value == [1, 2]


async def test_a_head_has_no_body() -> None:
    async with serving() as client:
        answer = await client.ask("HEAD", "/find/all")
        assert (answer.status, answer["content-length"]) == (200, "5")
        assert (await client.get("/find/all")).value == [1, 2]


async def test_a_safe_method_is_posted_as_well() -> None:
    async with serving() as client:
        assert (await client.post("/find/books", {"title": "a"})).value == DEFAULTS
        answer = await client.ask("PUT", "/find/books")
        assert (answer.status, answer["allow"]) == (405, "GET, HEAD, POST")


async def test_a_method_that_is_not_safe_is_not_got() -> None:
    async with serving() as client:
        answer = await client.get("/find/write?title=a")
        assert (answer.status, answer["allow"]) == (405, "POST")


async def test_a_stream_is_got_as_events() -> None:
    async with serving() as client:
        answer = await client.get("/find/numbers?to=2", Accept="text/event-stream")
        assert answer["content-type"] == "text/event-stream"
        assert answer.body.startswith(b"data: 0\n\ndata: 1\n\n")
