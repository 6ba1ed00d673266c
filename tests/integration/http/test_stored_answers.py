"""Answers that caches may store: their fields, and requests of clients that have one (RFC 9110 and 9111)."""

import base64
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import pytest

import fastrpc
from fastrpc import HTTP, CallError, Server, ServerConfig, Status, current_call
from tests.support.http2_client import http2_client
from tests.support.http_talk import HttpClient, Response, request

pytestmark = pytest.mark.one_loop

TAG = '"7"'
CHANGED = "Sun, 06 Nov 1994 08:49:37 GMT"
BOTH = {"ETag": TAG, "Last-Modified": CHANGED, "Cache-Control": "max-age=60"}


@fastrpc.service("shop.pages", grpc="pascal")
class Pages:
    """Answers with the fields that a test has left."""

    def __init__(self, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.status: int | None = None
        self.calls = 0

    def _told(self) -> None:
        self.calls += 1
        current_call().http(status=self.status, headers=self.headers)

    @fastrpc.method(safe=True)
    async def own(self, size: int = 5, fails: bool = False) -> str:
        self._told()
        if fails:
            raise CallError(Status.NOT_FOUND, "nothing")
        return "a" * size

    @fastrpc.method(safe=True, public=True)
    async def everybodys(self) -> str:
        self._told()
        return "aaaaa"

    @fastrpc.method(safe=True)
    def in_a_thread(self) -> str:
        self._told()
        return "aaaaa"

    @fastrpc.method(safe=True)
    async def numbers(self) -> AsyncIterator[int]:
        self._told()
        yield 1
        yield 2

    @fastrpc.method(safe=True, http="GET /pages/{name}")
    async def routed(self, name: str) -> str:
        self._told()
        return name

    @fastrpc.method
    async def change(self) -> None:
        self._told()


class Asking:
    """Asks for pages by one way."""

    def __init__(self, client: Any, way: str) -> None:
        self._client = client
        self._way = way

    def target(self, method: str, arguments: dict[str, Any]) -> str:
        if self._way == "json":
            return f"/shop.pages/{method}?" + "&".join(f"{k}={json.dumps(v)}" for k, v in arguments.items())
        name = "".join(part.title() for part in method.split("_"))
        return f"/shop.Pages/{name}?connect=v1&encoding=json&message=" + quote(json.dumps(arguments))

    async def get(self, method: str = "own", **fields: Any) -> Response:
        arguments = {name: fields.pop(name) for name in ("size", "fails") if name in fields}
        found: Response = await self._client.get(self.target(method, arguments), **fields)
        return found


@contextlib.asynccontextmanager
async def serving(pages: Pages, way: str = "json", **http: Any) -> AsyncIterator[Asking]:
    """Serve the pages, and ask for them by JSON, or by Connect over a version of HTTP."""
    is_second = way == "connect by HTTP/2"
    config = ServerConfig(
        protocols=("native", "grpc" if is_second else "http"), http=HTTP(connect=way != "json", **http)
    )
    async with Server(pages, config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with http2_client(address) if is_second else await HttpClient.to(address) as client:
            yield Asking(client, way)


ways = pytest.mark.parametrize("way", ["json", "connect", "connect by HTTP/2"])


def field(answer: Response, name: str) -> str | None:
    """Return the value of a field that comes at most once; None without it."""
    return dict(answer.fields).get(name)


# Fields


@ways
@pytest.mark.parametrize(
    ("given", "own", "everybodys"),
    [
        ("max-age=60", "private, max-age=60", "max-age=60"),
        ("public, max-age=60", "public, max-age=60", "public, max-age=60"),
        ("Private", "Private", "Private"),
        ('private="x-a", max-age=1', 'private="x-a", max-age=1', 'private="x-a", max-age=1'),
        ("s-maxage=5", "s-maxage=5", "s-maxage=5"),
        ("no-store", "no-store", "no-store"),
        ("no-cache", "private, no-cache", "no-cache"),
        ('x="public", max-age=1', 'private, x="public", max-age=1', 'x="public", max-age=1'),
        ("publicly", "private, publicly", "publicly"),
        ("", "private", ""),
    ],
)
async def test_a_safe_method_sets_who_may_store_its_answer(
    way: str, given: str, own: str, everybodys: str
) -> None:
    async with serving(Pages(Cache_Control=given), way) as asking:
        assert (await asking.get("own"))["cache-control"] == own
        assert (await asking.get("everybodys"))["cache-control"] == everybodys
        assert (await asking.get("in_a_thread"))["cache-control"] == own


@ways
@pytest.mark.parametrize("headers", [{}, {"ETag": TAG}, {"Vary": "Accept-Language"}, {"Expires": CHANGED}])
async def test_an_answer_without_cache_control_is_stored_nowhere(way: str, headers: dict[str, str]) -> None:
    async with serving(Pages(**headers), way) as asking:
        assert (await asking.get())["cache-control"] == "no-store"


@ways
async def test_an_error_is_stored_nowhere(way: str) -> None:
    async with serving(Pages(**BOTH, Vary="Accept-Language"), way) as asking:
        answer = await asking.get(fails=True, If_None_Match=TAG)
        assert (answer.status, answer["cache-control"]) == (404, "no-store")
        assert [name for name in ("etag", "last-modified", "vary") if name in answer] == []
        # The answer after it is complete.
        assert (await asking.get(If_None_Match=TAG)).status == 304


async def test_a_method_that_is_not_safe_sets_neither_field() -> None:
    for name in ("Cache-Control", "VARY"):
        config = ServerConfig(protocols=("http",), expose_errors=True)
        async with Server(Pages(**{name: "a"}), config=config) as server:
            async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
                answer = await client.post("/shop.pages/change", {})
        assert answer.status == 500
        text = f"ValueError: headers has {name!r}, which only safe methods may set: shop.pages.change is not safe"
        assert text in answer.value["detail"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("Accept-Language", "Origin, Accept-Encoding, Accept-Language"),
        ("accept-encoding,  X-A ,, X-A", "Origin, Accept-Encoding, X-A"),
        ("*", "*"),
        ("X-A, *", "*"),
        ("", "Origin, Accept-Encoding"),
    ],
)
async def test_the_fields_that_answers_vary_by_are_one_list(given: str, told: str) -> None:
    origin = "https://front.example"
    pages = Pages(Vary=given, Cache_Control="max-age=60")
    async with serving(pages, compress=True, cors_origins=(origin,)) as asking:
        # A stored answer to a program must not be used for a page, so it varies as well.
        for fields in ({"Origin": origin}, {}):
            for tags in ({}, {"If_None_Match": "*"}):
                answer = await asking.get(**fields, **tags)
                assert (answer.status, answer["vary"]) == (304 if tags else 200, told)
                assert ("access-control-allow-origin" in answer) == bool(fields)


async def test_an_answer_varies_by_nothing_of_ours_where_it_does_not() -> None:
    async with serving(Pages(Vary="X-A", Cache_Control="max-age=60")) as asking:
        assert (await asking.get())["vary"] == "X-A"
    async with serving(Pages(Cache_Control="max-age=60")) as asking:
        assert "vary" not in await asking.get()


async def test_a_post_of_a_safe_method_is_answered_in_full() -> None:
    async with serving(Pages(**BOTH)) as asking:
        answer = await asking._client.post("/shop.pages/own", {}, If_None_Match=TAG)
        assert (answer.status, answer.value, answer["etag"]) == (200, "aaaaa", TAG)


# Conditions


@ways
@pytest.mark.parametrize(
    ("given", "status"),
    [
        (TAG, 304),
        ('W/"7"', 304),
        ('"6", "7"', 304),
        ('"6" ,W/"7" ,', 304),
        ("*", 304),
        (', ,"7"', 304),
        ('"6"', 200),
        ("7", 200),
        ('"7', 200),
        ('7"', 200),
        ('"7" "6"', 200),
        ('"7", 6', 200),
        ('w/"7"', 200),
        ('*, "7"', 200),
        ('"*"', 200),
        ('"6, "7"', 200),
        ('"a,"7","', 200),
        ("", 200),
        ("\xe4", 200),
        (", " * 2_000 + TAG, 304),
        (",".join(f'"{number}"' for number in range(1_000)), 304),
    ],
)
async def test_a_client_that_has_the_answer_gets_304(way: str, given: str, status: int) -> None:
    pages = Pages(**BOTH)
    async with serving(pages, way) as asking:
        for calls in (1, 2):
            answer = await asking.get(If_None_Match=given)
            assert (answer.status, answer["etag"]) == (status, TAG)
            assert pages.calls == calls
            assert (b"aaaaa" in answer.body, answer.body == b"") == (status == 200, status == 304)


@pytest.mark.parametrize("own", ['W/"7"', '"a,b"', '"\xe4"', '""', '"W/"'])
async def test_tags_of_each_form_are_compared_without_their_weakness(own: str) -> None:
    async with serving(Pages(ETag=own)) as asking:
        strong = own.removeprefix("W/")
        for given in (strong, f"W/{strong}", f'"x", {strong}'):
            assert (await asking.get(If_None_Match=given)).status == 304
        assert (await asking.get(If_None_Match='"x"')).status == 200


@pytest.mark.parametrize("own", ["7", '"7', '"a b"', "*", ""])
async def test_a_tag_of_no_form_matches_nothing(own: str) -> None:
    async with serving(Pages(ETag=own)) as asking:
        for given in (own, f'"{own}"', "7"):
            assert (await asking.get(If_None_Match=given)).status == (304 if given == "*" else 200)


async def test_several_fields_are_one_list() -> None:
    async with serving(Pages(**BOTH)) as asking:
        for fields, status in (
            (('"6"', TAG), 304),
            (('"6"', '"5"'), 200),
            (("*", TAG), 200),
            (("", TAG), 304),
            (('"6', '"7"'), 200),
        ):
            lines = "".join(f"If-None-Match: {one}\r\n" for one in fields)
            asking._client.send(f"GET /shop.pages/own HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode())
            assert (await asking._client.response()).status == status, fields


@ways
@pytest.mark.parametrize(
    ("given", "status"),
    [
        (CHANGED, 304),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 304),
        ("Sun Nov  6 08:49:37 1994", 304),
        ("Sun, 06 Nov 1994 08:49:38 GMT", 304),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 304),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 200),
        ("Sun Nov  6 08:49:36 1994", 200),
        ("Sun, 31 Nov 1995 08:49:37 GMT", 200),
        ("Sun, 06 Nov 1995 24:00:00 GMT", 200),
        ("Sun, 06 Nov 1994 08:49:37", 200),
        ("Sun, 06 Nov 1994 08:49:37 +0000", 200),
        ("1994-11-06T08:49:37Z", 200),
        ("784111777", 200),
        ("", 200),
    ],
)
async def test_a_date_counts_in_each_of_its_three_forms(way: str, given: str, status: int) -> None:
    async with serving(Pages(Last_Modified=CHANGED), way) as asking:
        answer = await asking.get(If_Modified_Since=given)
        assert (answer.status, answer["last-modified"]) == (status, CHANGED)


@ways
async def test_tags_win_over_dates(way: str) -> None:
    async with serving(Pages(**BOTH), way) as asking:
        for tag, date, status in (
            ('"6"', CHANGED, 200),
            ("", CHANGED, 200),
            ("wrong", CHANGED, 200),
            (TAG, "Sun, 06 Nov 1994 08:49:36 GMT", 304),
            (TAG, "wrong", 304),
        ):
            assert (await asking.get(If_None_Match=tag, If_Modified_Since=date)).status == status


async def test_several_dates_are_ignored() -> None:
    async with serving(Pages(Last_Modified=CHANGED)) as asking:
        line = f"If-Modified-Since: {CHANGED}\r\n"
        asking._client.send(f"GET /shop.pages/own HTTP/1.1\r\nHost: 127.0.0.1\r\n{line}{line}\r\n".encode())
        assert (await asking._client.response()).status == 200


async def test_a_future_change_counts_as_a_change_now() -> None:
    async with serving(Pages(Last_Modified="Fri, 31 Dec 9999 23:59:59 GMT")) as asking:
        answer = await asking.get()
        changed, sent = (parsedate_to_datetime(answer[name]) for name in ("last-modified", "date"))
        assert changed <= sent
        # Even if the clock is set back, no client keeps its answer for a day.
        assert (await asking.get(If_Modified_Since=CHANGED)).status == 200


async def test_dates_without_a_last_change_and_tags_without_a_tag_say_nothing() -> None:
    async with serving(Pages(Cache_Control="max-age=60")) as asking:
        assert (await asking.get(If_Modified_Since=CHANGED)).status == 200
        assert (await asking.get(If_None_Match=TAG)).status == 200
        assert (await asking.get(If_None_Match="*")).status == 304


@pytest.mark.parametrize("status", [201, 203, 206, 302])
async def test_other_answers_than_200_are_sent_to_all(status: int) -> None:
    pages = Pages(**BOTH, Location="/x")
    pages.status = status
    async with serving(pages) as asking:
        assert (await asking.get(If_None_Match=TAG)).status == status


# The answer 304


@ways
async def test_a_304_has_only_the_fields_that_a_cache_renews(way: str) -> None:
    pages = Pages(**BOTH, Vary="X-A", Expires=CHANGED, Link="</a>", Content_Language="de", X_Own="1")
    async with serving(pages, way) as asking:
        full = await asking.get()
        answer = await asking.get(If_None_Match=TAG)
    assert (answer.status, answer.body) == (304, b"")
    for name in ("etag", "cache-control", "vary", "expires"):
        assert answer[name] == full[name]
    names = {name for name, _ in answer.fields}
    assert {name for name in names if name.startswith("content-")} == set()
    assert names <= {"etag", "cache-control", "vary", "expires", "date", ":status"}


async def test_a_304_without_a_tag_has_the_date() -> None:
    async with serving(Pages(Last_Modified=CHANGED)) as asking:
        assert (await asking.get(If_Modified_Since=CHANGED))["last-modified"] == CHANGED


@ways
async def test_the_connection_continues_after_a_304(way: str) -> None:
    async with serving(Pages(**BOTH), way) as asking:
        for _ in range(3):
            assert (await asking.get(If_None_Match=TAG)).status == 304
            assert b"aaaaa" in (await asking.get()).body


async def test_pipelined_requests_and_old_clients_get_a_304_without_a_body() -> None:
    async with serving(Pages(**BOTH)) as asking:
        client = asking._client
        conditional = request("GET", "/shop.pages/own", If_None_Match=TAG)
        client.send(conditional + request("GET", "/shop.pages/own") + conditional)
        assert [(await client.response()).status for _ in range(3)] == [304, 200, 304]
        client.send(
            request("GET", "/shop.pages/own", version="1.0", If_None_Match=TAG, Connection="keep-alive")
        )
        answer = await client.response()
        assert (answer.status, answer["connection"]) == (304, "keep-alive")
        client.send(request("GET", "/shop.pages/own", version="1.0", If_None_Match=TAG))
        assert (await client.response())["connection"] == "close"
        assert await client.is_closed()


async def test_head_is_answered_as_get() -> None:
    async with serving(Pages(**BOTH)) as asking:
        for fields, status, length in (({}, 200, "7"), ({"If_None_Match": TAG}, 304, None)):
            answer = await asking._client.ask("HEAD", "/shop.pages/own", **fields)
            assert (answer.status, answer["etag"], field(answer, "content-length")) == (status, TAG, length)
            assert answer["cache-control"] == "private, max-age=60"


async def test_a_route_is_answered_as_its_method() -> None:
    async with serving(Pages(**BOTH)) as asking:
        for fields, status in (({}, 200), ({"If_None_Match": TAG}, 304)):
            answer = await asking._client.get("/pages/tea", **fields)
            assert (answer.status, answer["cache-control"]) == (status, "private, max-age=60")


# Compressed answers


@pytest.mark.parametrize("size", [100, 4_096, 200_000])
async def test_the_tag_of_a_compressed_answer_is_weak(size: int) -> None:
    async with serving(Pages(**BOTH), compress=True) as asking:
        answer = await asking.get(size=size, Accept_Encoding="gzip")
        is_packed = size > 1_024
        assert (answer["etag"], field(answer, "content-encoding")) == (
            (f"W/{TAG}", "gzip") if is_packed else (TAG, None)
        )
        body = gzip.decompress(answer.body) if is_packed else answer.body
        assert json.loads(body) == "a" * size
        again = await asking.get(size=size, Accept_Encoding="gzip", If_None_Match=answer["etag"])
        assert (again.status, again["etag"], again["vary"]) == (304, answer["etag"], "Accept-Encoding")
        plain = await asking.get(size=size, If_None_Match=answer["etag"])
        assert (plain.status, plain["etag"]) == (304, TAG)


@pytest.mark.parametrize("way", ["connect", "connect by HTTP/2"])
async def test_the_tag_of_an_answer_that_connect_compresses_is_weak(way: str) -> None:
    packed = base64.urlsafe_b64encode(gzip.compress(b'{"size": 4096}')).decode().rstrip("=")
    target = f"/shop.Pages/Own?connect=v1&encoding=json&compression=gzip&base64=1&message={packed}"
    async with serving(Pages(**BOTH), way) as asking:
        answer = await asking._client.get(target, Accept_Encoding="gzip")
        assert (answer["content-encoding"], answer["vary"]) == ("gzip", "Accept-Encoding")
        assert answer["etag"] == f"W/{TAG}"
        again = await asking._client.get(target, Accept_Encoding="gzip", If_None_Match=f"W/{TAG}")
        assert (again.status, again["etag"]) == (304, f"W/{TAG}")


async def test_a_weak_tag_of_the_handler_is_sent_unchanged() -> None:
    async with serving(Pages(ETag='W/"7"'), compress=True) as asking:
        assert (await asking.get(size=4_096, Accept_Encoding="gzip"))["etag"] == 'W/"7"'


# Streams, and other ways in


@pytest.mark.parametrize("kind", ["application/x-ndjson", "text/event-stream"])
async def test_a_stream_is_never_cut_to_a_304(kind: str) -> None:
    async with serving(Pages(**BOTH)) as asking:
        for fields in ({}, {"If_None_Match": TAG}, {"If_None_Match": "*"}):
            answer = await asking.get("numbers", Accept=kind, **fields)
            assert (answer.status, answer["content-type"]) == (200, kind)
            assert (answer["cache-control"], answer["vary"]) == ("private, max-age=60", "Accept")
            assert b"2" in answer.body


async def test_a_stream_without_cache_control_is_stored_nowhere() -> None:
    async with serving(Pages(ETag=TAG)) as asking:
        assert (await asking.get("numbers", Accept="text/event-stream"))["cache-control"] == "no-store"


async def test_other_ways_in_have_no_such_fields() -> None:
    pages = Pages(**BOTH)
    config = ServerConfig(protocols=("native", "http"), http=HTTP(jsonrpc=True, grpc_web=True, connect=True))
    async with Server(pages, config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with fastrpc.Client(str(address)) as native, await HttpClient.to(address) as client:
            assert await native.call(Pages.own) == "aaaaa"
            body = {"jsonrpc": "2.0", "id": 1, "method": "shop.pages.own", "params": {}}
            answer = await client.post("/jsonrpc", body, If_None_Match=TAG)
            assert (answer.status, answer.value["result"], "etag" in answer) == (200, "aaaaa", False)
            answer = await client.post("/shop.Pages/Own", {}, Connect_Protocol_Version="1", If_None_Match=TAG)
            assert (answer.status, "etag" in answer) == (200, False)
