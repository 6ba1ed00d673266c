"""Safe methods by GET: their arguments stand in the query."""

import contextlib
import datetime
import enum
import ipaddress
import json
import pathlib
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType
from urllib.parse import quote

import msgspec
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
        prices: tuple[float, ...] = (),
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
        ("title=a&tags=[x]&tags=y", {"tags": ["[x]", "y"]}),
        ("title=a&prices=1&prices=2.5", {"prices": [1.0, 2.5]}),
        ("title=a&prices=[1,2.5]", {"prices": [1.0, 2.5]}),
        ("title=a&note=n", {"note": "n"}),
        ("title=a&tags=null", {"tags": ["null"]}),
    ],
)
async def test_arguments_stand_in_the_query(query: str, found: dict[str, Any]) -> None:
    async with serving() as client:
        answer = await client.get(f"/find/books?{query}")
        assert (answer.status, answer.value) == (200, DEFAULTS | found)
        assert answer["cache-control"] == "no-store"


@pytest.mark.parametrize("tag", ["[x]", "[1]", '["x"]', '["x","y"]', "[", "[]"])
async def test_a_single_item_for_a_list_of_texts_is_taken_unparsed(tag: str) -> None:
    async with serving() as client:
        answer = await client.get(f"/find/books?title=a&tags={quote(tag)}")
        assert (answer.status, answer.value) == (200, DEFAULTS | {"tags": [tag]})


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


async def test_a_refusal_names_the_argument_and_the_forms_it_takes() -> None:
    async with serving() as client:
        answer = await client.get("/find/books?title=a&exact=True")
        assert answer.value["detail"] == "find.books: exact: 'True' must be written as true or false"


async def test_a_head_has_no_body() -> None:
    async with serving() as client:
        answer = await client.ask("HEAD", "/find/all")
        assert (answer.status, answer["content-length"]) == (200, "5")
        assert (await client.get("/find/all")).value == [1, 2]


@pytest.mark.parametrize("style", ["numbers", "numbers_in_thread"])
@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream", None])
@pytest.mark.parametrize("interceptors", [(), (pass_on,)], ids=["plain", "intercepted"])
async def test_a_head_of_a_stream_equals_its_get_and_starts_no_handler(
    style: str, accept: str | None, interceptors: tuple[Any, ...]
) -> None:
    find = Find()
    async with serving(find, interceptors) as client:
        got = await client.get(f"/find/{style}?to=2", Accept=accept)
        started = find.started
        asked = await client.ask("HEAD", f"/find/{style}?to=2", Accept=accept)
        assert asked.status == got.status == 200
        assert without_date(asked.fields) == without_date(got.fields)
        # The request has no body, and the connection stays usable.
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


async def test_a_method_that_is_not_safe_refuses_get() -> None:
    async with serving() as client:
        answer = await client.get("/find/write?title=a")
        assert (answer.status, answer["allow"]) == (405, "POST")


@pytest.mark.parametrize("target", ["/find/books?title=a", "/find/numbers?to=2"])
async def test_a_body_is_refused_where_arguments_are_in_the_query(target: str) -> None:
    find = Find()
    async with serving(find) as client:
        for verb, fields in (("GET", {}), ("HEAD", {}), ("GET", {"Content_Encoding": "gzip"})):
            answer = await client.ask(verb, target, b'{"limit": 5}', Content_Length="12", **fields)
            assert answer.status == 400
            told = f"{verb} takes no body: its arguments are in the query"
            assert verb == "HEAD" or told in answer.value["detail"]
        assert (await client.get(target, Content_Length="0")).status == 200
        assert find.started == target.count("numbers")


@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_the_encoding_of_a_missing_body_does_not_concern_a_query(encoding: str) -> None:
    async with serving() as client:
        answer = await client.get("/find/books?title=a", Content_Encoding=encoding)
        assert (answer.status, answer.value) == (200, DEFAULTS)


async def test_a_stream_is_got_as_events() -> None:
    async with serving() as client:
        answer = await client.get("/find/numbers?to=2", Accept="text/event-stream")
        assert answer["content-type"] == "text/event-stream"
        assert answer["cache-control"] == "no-store"
        assert answer.body.startswith(b"data: 0\n\ndata: 1\n\n")


class Color(enum.Enum):
    RED = "red"
    NULL = "null"
    SEVEN = "7"


class Level(enum.IntEnum):
    LOW = 1


class Tagged(msgspec.Struct, tag=True):
    name: str


ShelfID = NewType("ShelfID", uuid.UUID)
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")
WHEN = datetime.datetime(2026, 1, 31, 12, 30, tzinfo=datetime.UTC)
Price = Annotated[Decimal, msgspec.Meta(title="a price")]
Either = int | str
Any_id = uuid.UUID | None
Union = int | uuid.UUID | None
Several = list[int] | str | None
Mixed = Literal["a", 1, "2", None]

#: Types, the text of a value in the query, and the value that arrives.
TEXTS: list[tuple[Any, str, Any]] = [
    (uuid.UUID, str(ID), ID),
    (ShelfID, str(ID), ID),
    (Any_id, str(ID), ID),
    (Any_id, "null", None),
    (datetime.date, "2026-01-31", datetime.date(2026, 1, 31)),
    (datetime.datetime, "2026-01-31T12:30:00Z", WHEN),
    (datetime.time, "12:30:00", datetime.time(12, 30)),
    (datetime.timedelta, "PT90S", datetime.timedelta(seconds=90)),
    (Decimal, "1.50", Decimal("1.50")),
    (Decimal, "1e3", Decimal(1000)),
    (Price, "12", Decimal(12)),
    (Color, "red", Color.RED),
    (Color, "null", Color.NULL),
    (Color, "7", Color.SEVEN),
    (Literal["a", "null"], "null", "null"),
    (Level, "1", Level.LOW),
    (bytes, "AAE=", b"\0\1"),
    (bytes, "1234", b"\xd7m\xf8"),
    (bytes, "null", b"\x9e\xe9e"),
    (bytes | None, "null", None),
    (pathlib.PurePosixPath, "/srv/a b", pathlib.PurePosixPath("/srv/a b")),
    (ipaddress.IPv4Address, "127.0.0.1", ipaddress.IPv4Address("127.0.0.1")),
    (Either, "7", 7),
    (Either, "seven", "seven"),
    (Either, "true", "true"),
    (Either, "[1]", "[1]"),
    (Either, '"7"', "7"),
    (Union, "7", 7),
    (Union, str(ID), ID),
    (Union, "null", None),
    (Several, "[1,2]", [1, 2]),
    (Several, "[1,x]", "[1,x]"),
    (Several, '["a"]', '["a"]'),
    (Mixed, "a", "a"),
    (Mixed, "1", 1),
    (Mixed, "2", "2"),
    (Mixed, "null", None),
    (float | bool, "2.5", 2.5),
    (Tagged | str, '{"type":"Tagged","name":"x"}', Tagged("x")),
    (Tagged | str, '{"title":"x"}', '{"title":"x"}'),
    (str | None, "null", "null"),
    (int | None, "null", None),
]

#: The same with quotes around the text, as in earlier versions.
QUOTED = [
    (kind, json.dumps(text), value)
    for kind, text, value in TEXTS
    if not isinstance(value, int | float | str | list | Tagged | None) and kind is not Mixed
]

REFUSED: list[tuple[Any, str]] = [
    (uuid.UUID, "7"),
    (uuid.UUID, "null"),
    (uuid.UUID, '"x"'),
    (datetime.date, "31.1.2026"),
    (Color, "blue"),
    (Color, ""),
    (Decimal, "x"),
    (bytes, "A"),
    (Level, "low"),
    (int | None, "x"),
    (float | bool, "yes"),
    (int, "1} , {"),
    (Tagged, "x"),
    (Mixed, "b"),
]


@contextlib.asynccontextmanager
async def taking(kind: Any) -> AsyncIterator[tuple[HttpClient, list[Any]]]:
    """Serve `GET /texts/take?value=…` for a type, and yield the arrived values."""
    taken: list[Any] = []

    @fastrpc.service("texts")
    class Texts:
        @fastrpc.method(safe=True)
        async def take(self, value: kind) -> None:
            taken.append(value)

        @fastrpc.method(safe=True)
        async def take_all(self, values: list[kind]) -> None:
            taken.extend(values)

    async with Server(Texts(), config=ServerConfig(protocols=("http",))) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            yield client, taken


@pytest.mark.parametrize(("kind", "text", "value"), [*TEXTS, *QUOTED])
async def test_a_text_needs_no_quotes(kind: Any, text: str, value: Any) -> None:
    async with taking(kind) as (client, taken):
        answer = await client.get(f"/texts/take?value={quote(text)}")
        assert (answer.status, taken) == (200, [value])
        assert type(taken[0]) is type(value)
        if not text.startswith("["):
            await client.get(f"/texts/take_all?values={quote(text)}&values={quote(text)}")
            assert taken == [value] * 3


@pytest.mark.parametrize(("kind", "text"), REFUSED)
async def test_a_text_that_is_no_value_is_refused(kind: Any, text: str) -> None:
    async with taking(kind) as (client, taken):
        answer = await client.get(f"/texts/take?value={quote(text)}")
        assert (answer.status, answer.value["code"], taken) == (400, "INVALID_ARGUMENT", [])


async def test_places_of_a_tuple_have_separate_types() -> None:
    async with taking(tuple[int, str, uuid.UUID]) as (client, taken):
        answer = await client.get(f"/texts/take?value=1&value=2&value={ID}")
        assert (answer.status, taken) == (200, [(1, "2", ID)])


#: Types of a parameter in a path, the path's text, and the value that arrives.
IN_PATHS: list[tuple[Any, str, Any]] = [
    (bytes, "AAE=", b"\0\1"),
    (float, str(2**64), float(2**64)),
    (float, "7", 7.0),
    (int, str(2**64 - 1), 2**64 - 1),
    (int, f'"{2**60}"', 2**60),
    (str, "null", "null"),
    (bool, "true", True),
    (uuid.UUID, str(ID), ID),
    (datetime.date, "2026-01-31", datetime.date(2026, 1, 31)),
    (datetime.datetime, "2026-01-31T14:30:00+02:00", WHEN),
    (Decimal, "1.50", Decimal("1.50")),
    (Color, "7", Color.SEVEN),
    (Level, "1", Level.LOW),
    (Either, "seven", "seven"),
    (ipaddress.IPv4Address, "127.0.0.1", ipaddress.IPv4Address("127.0.0.1")),
]


@pytest.mark.parametrize(("kind", "text", "value"), IN_PATHS)
async def test_a_text_in_a_path_is_the_same_value_with_any_body(kind: Any, text: str, value: Any) -> None:
    taken: list[Any] = []

    @fastrpc.service("texts")
    class Texts:
        @fastrpc.method(http="PUT /texts/{value}")
        async def put(self, value: kind, count: int) -> None:
            taken.append(value)

    path, arguments = f"/texts/{quote(text)}", {"count": 1}
    async with Server(Texts(), config=ServerConfig(protocols=("http",))) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            for codec, encode in (("json", msgspec.json.encode), ("msgpack", msgspec.msgpack.encode)):
                body, content_type = encode(arguments), f"application/{codec}"
                answer = await client.ask(
                    "PUT", path, body, Content_Type=content_type, Content_Length=str(len(body))
                )
                assert answer.status == 200
    assert [repr(one) for one in taken] == [repr(taken[0])] * 2
    assert (taken, type(taken[0])) == ([value] * 2, type(value))
