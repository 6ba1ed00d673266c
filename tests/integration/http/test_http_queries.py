"""Safe methods by GET: their arguments stand in the query."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

import fastrpc
from fastrpc import Server, ServerConfig
from fastrpc.rpc.interceptor import Proceed
from tests.support.http_talk import HttpClient, request

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

    started = 0

    @fastrpc.method(safe=True)
    async def numbers(self, to: int) -> AsyncIterator[int]:
        self.started += 1
        for number in range(to):
            yield number

    @fastrpc.method(safe=True)
    def numbers_in_thread(self, to: int) -> Iterator[int]:
        self.started += 1
        yield from range(to)

    @fastrpc.method
    async def write(self, title: str) -> str:
        return title


async def pass_on(call: Any, proceed: Proceed) -> Any:
    return await proceed(call)


def without_date(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [one for one in fields if one[0] != "date"]


@contextlib.asynccontextmanager
async def serving(find: Find | None = None, interceptors: Sequence[Any] = ()) -> AsyncIterator[HttpClient]:
    config = ServerConfig(protocols=("http",))
    async with Server(find or Find(), config=config, interceptors=interceptors) as server:
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


@pytest.mark.parametrize("style", ["numbers", "numbers_in_thread"])
@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream", None])
@pytest.mark.parametrize("interceptors", [(), (pass_on,)], ids=["plain", "intercepted"])
async def test_a_head_of_a_stream_is_that_of_its_get_and_starts_no_handler(
    style: str, accept: str | None, interceptors: tuple[Any, ...]
) -> None:
    find = Find()
    async with serving(find, interceptors) as client:
        got = await client.get(f"/find/{style}?to=2", Accept=accept)
        started = find.started
        asked = await client.ask("HEAD", f"/find/{style}?to=2", Accept=accept)
        assert asked.status == got.status == 200
        assert without_date(asked.fields) == without_date(got.fields)
        # It has no body, and the connection goes on.
        assert (await client.get("/find/all")).value == [1, 2]
        assert find.started == started == 1


@pytest.mark.parametrize(
    ("target", "accept", "status"),
    [
        ("/find/numbers", None, 400),
        ("/find/numbers?to=a", None, 400),
        ("/find/numbers?to=2", "text/html", 406),
        ("/find/write", None, 405),
    ],
)
async def test_a_head_of_a_stream_fails_as_its_get_does(target: str, accept: str | None, status: int) -> None:
    async with serving() as client:
        for verb in ("GET", "HEAD"):
            assert (await client.ask(verb, target, Accept=accept)).status == status
        assert (await client.get("/find/all")).value == [1, 2]


async def test_an_old_client_gets_the_head_of_a_stream() -> None:
    async with serving() as client:
        client.send(request("HEAD", "/find/numbers?to=2", version="1.0"))
        answer = await client.response(has_body=False)
        assert (answer.status, answer["content-type"]) == (200, "application/x-ndjson")
        assert await client.is_closed()


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
