"""Requests to mounted applications: each event and field of ASGI 3.0 that they see."""

import asyncio
import logging
from typing import Any

import pytest

from fastrpc import HTTP, Memory
from tests.support.http_talk import HttpClient, request, soon
from tests.support.mounted import Application, Event, Sending, answering, mounted, part, start, whole_body
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


class Seen:
    """An application that keeps scopes and bodies, and answers with one word."""

    def __init__(self, word: bytes = b"ok") -> None:
        self.scopes: list[Any] = []
        self.bodies: list[bytes] = []
        self._word = word

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        self.scopes.append(scope)
        self.bodies.append(await whole_body(receive))
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        )
        await send({"type": "http.response.body", "body": self._word})


# The scope


async def test_scope_has_each_field_of_the_specification() -> None:
    app = Seen()
    async with mounted({"/shop": app}) as client:
        fields = {"X_Mixed": "Ä ö".encode().decode("latin-1"), "X_Request_Id": "mine-7"}
        await client.get("/shop/a%20b/%E2%82%AC?q=%201&r", Host="127.0.0.1", **fields)
        (scope,) = app.scopes
        port = client.writer.get_extra_info("sockname")[1]
        server = client.writer.get_extra_info("peername")[:2]
    extension = scope.pop("extensions").pop("fastrpc")
    assert scope.pop("headers") == [
        (b"host", b"127.0.0.1"),
        (b"x-mixed", "Ä ö".encode()),
        (b"x-request-id", b"mine-7"),
    ]
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/shop/a b/€",
        "raw_path": b"/shop/a%20b/%E2%82%AC",
        "query_string": b"q=%201&r",
        "root_path": "/shop",
        "client": ("127.0.0.1", port),
        "server": server,
        "state": {},
    }
    assert extension.keys() == {"peer", "identity", "request_id"}
    assert (str(extension["peer"]), extension["peer"].protocol) == (f"tcp://127.0.0.1:{port}", "asgi")
    assert (extension["identity"], extension["request_id"]) == (None, "mine-7")


async def test_request_without_an_id_gets_one() -> None:
    app = Seen()
    async with mounted(app) as client:
        await client.get("/")
        await client.get("/", X_Request_Id="not plain!")
    first, second = (scope["extensions"]["fastrpc"]["request_id"] for scope in app.scopes)
    assert len(first) == len(second) == 32
    assert first != second


async def test_scopes_share_nothing() -> None:
    app = Seen()
    async with mounted(app) as client:
        await client.get("/")
        for scope in app.scopes:
            scope["asgi"].clear()
            scope["extensions"].clear()
            scope["state"]["mine"] = 1
        await client.get("/")
    assert app.scopes[1]["asgi"]["version"] == "3.0"
    assert "fastrpc" in app.scopes[1]["extensions"]
    assert app.scopes[1]["state"] == {}


async def test_scope_of_an_http_1_0_client_and_of_a_unix_socket(tmp_path: Any) -> None:
    app = Seen()
    async with mounted(app, address=f"unix://{tmp_path}/mounts") as client:
        client.send(request("GET", "/old", version="1.0"))
        assert (await client.response()).body == b"ok"
        assert await client.is_closed()
    (scope,) = app.scopes
    assert (scope["http_version"], scope["client"], scope["server"]) == (
        "1.0",
        None,
        (f"{tmp_path}/mounts", None),
    )


async def test_trusted_proxy_sets_client_and_scheme() -> None:
    app = Seen()
    async with mounted(app, http={"trusted_proxies": ("127.0.0.0/8",)}) as client:
        await client.get("/", X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https")
    (scope,) = app.scopes
    assert (scope["client"], scope["scheme"]) == (("203.0.113.9", 0), "https")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", "/"),
        ("/shop", "/shop"),
        ("/shop/", "/shop"),
        ("/shop/v1.0", "/shop/v1.0"),
        ("/shop/v1.0/x", "/shop/v1.0"),
        ("/shop/v1", "/shop"),
        ("/shopping", "/"),
        ("/Shop/v1.0", "/"),
        ("//shop", "/"),
        ("/shop%2Fv1.0", "/"),
        ("/%73hop", "/"),
        ("/x/../shop", "/"),
        ("/shop/../x", "/shop"),
    ],
)
async def test_longest_prefix_of_whole_segments_as_sent_wins(path: str, found: str) -> None:
    apps = {prefix: Seen(prefix.encode()) for prefix in ("/", "/shop", "/shop/v1.0")}
    async with mounted(apps) as client:
        assert (await client.get(path)).body == found.encode()


async def test_nothing_is_mounted_elsewhere() -> None:
    async with mounted({"/shop": Seen()}) as client:
        assert (await client.get("/other")).status == 404
        client.send(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.response()).status == 404


async def test_methods_routes_and_fixed_paths_come_first() -> None:
    app = Seen(b"app")
    async with mounted(app, http={"docs": True, "jsonrpc": True}) as client:
        assert (await client.get("/stock/count?name=abc")).value == 3
        assert (await client.get("/items/tea")).value == "tea"
        # A verb that no route has is the application's, as is the index at its own path.
        assert (await client.ask("DELETE", "/items/tea")).body == b"app"
        assert (await client.get("/")).body == b"app"
        assert (await client.ask("PUT", "/stock/count")).status == 405
        assert (await client.get("/openapi.json")).value["openapi"] == "3.1.0"
        assert (await client.get("/jsonrpc")).status == 405
        assert (await client.get("/stock/unknown")).body == b"app"


async def test_application_at_the_root_keeps_its_docs() -> None:
    async with mounted(Seen(b"app")) as client:
        assert (await client.get("/docs")).body == b"app"
    async with mounted({"/app": Seen(b"app")}) as client:
        assert (await client.get("/docs"))["content-type"].startswith("text/html")


async def test_rules_for_pages_are_the_applications_own() -> None:
    app = Seen(b"app")
    async with mounted(app) as client:
        foreign = {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"}
        assert (await client.get("/form", **foreign)).body == b"app"
        preflight = {**foreign, "Access_Control_Request_Method": "DELETE"}
        assert (await client.ask("OPTIONS", "/items/tea", **preflight)).body == b"app"
        # The rules of the gateway hold for its methods, and for their preflights.
        assert (await client.get("/items/tea", **foreign)).status == 403
        asked = {**foreign, "Access_Control_Request_Method": "GET"}
        assert (await client.ask("OPTIONS", "/items/tea", **asked)).status == 403


async def test_another_host_is_refused_before_the_application() -> None:
    app = Seen()
    async with mounted(app) as client:
        answer = await client.get("/", Host="evil.example")
    assert answer.status == 421
    assert "HTTP.allowed_hosts" in answer.value["detail"]
    assert app.scopes == []


# The body


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1_000_000])
async def test_body_of_each_size_arrives_whole(size: int) -> None:
    app = Seen()
    async with mounted(app) as client:
        assert (await client.post("/", b"x" * size)).status == 200
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (b"x" * size, b"y" * 7) if one)
        head = request("POST", "/", b"", Content_Length=None, Transfer_Encoding="chunked")
        client.send(head + chunks + b"0\r\nX-Trailer: t\r\n\r\n")
        assert (await client.response()).status == 200
    assert app.bodies == [b"x" * size, b"x" * size + b"y" * 7]


async def test_body_is_read_no_further_than_the_application_takes_it() -> None:
    taken: list[int] = []
    goes_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        await goes_on.wait()
        more = True
        while more:
            event = await receive()
            taken.append(len(event["body"]))
            more = event["more_body"]
        await send(start())
        await send(part(str(sum(taken)).encode()))

    async with mounted(app) as client:
        client.send(request("POST", "/", b"", Content_Length=str(1 << 24)))
        client.send(b"x" * (1 << 24))
        engines = client.server._gate.engines  # type: ignore[attr-defined]
        await eventually(lambda: engines and next(iter(engines)).connection.held_bytes > 65_536)
        (engine,) = engines
        for _ in range(100):
            await asyncio.sleep(0)
        # Two parts, and the bytes after them in the session.
        assert engine.connection.held_bytes < 1 << 20
        goes_on.set()
        assert (await client.response()).body == str(1 << 24).encode()
        await eventually(lambda: engine.connection.held_bytes == 0)
    assert max(taken) <= 2 * 65_536


async def test_client_that_expects_100_continue_gets_it() -> None:
    app = Seen()
    async with mounted(app) as client:
        client.send(request("POST", "/", b"", Content_Length="3", Expect="100-continue"))
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        client.send(b"abc")
        assert (await client.response()).status == 200
    assert app.bodies == [b"abc"]


async def test_receive_waits_after_the_body_for_the_end_of_the_request() -> None:
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        await whole_body(receive)
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        assert not waiting.done()
        await send(start())
        await send(part(b"done"))
        events.append((await waiting)["type"])
        events.append((await receive())["type"])

    async with mounted(app) as client:
        assert (await client.get("/")).body == b"done"
        await eventually(lambda: len(events) == 2)
    assert events == ["http.disconnect"] * 2


# Clients that leave


async def test_client_that_leaves_is_told_by_receive_and_by_send() -> None:
    started, ended = asyncio.Event(), asyncio.Event()
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        await receive()
        started.set()
        found.append((await receive())["type"])
        for _ in range(3):
            # It is not cancelled.
            await asyncio.sleep(0)
        try:
            await send(start())
        except OSError as error:
            found.append(error)
            ended.set()
            raise

    async with mounted(app) as client:
        client.send(request("GET", "/"))
        await soon(started)
        client.writer.close()
        await soon(ended)
    assert found[0] == "http.disconnect"
    assert "the client is gone" in str(found[1])


async def test_mistake_of_an_application_whose_client_left_is_logged_as_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        try:
            await send(start())
        except OSError:
            raise ZeroDivisionError("a mistake in its cleanup") from None

    with caplog.at_level(logging.DEBUG, "fastrpc.server"):
        async with mounted(app) as client:
            client.send(request("GET", "/"))
            client.writer.close()
            await eventually(lambda: "a mistake in its cleanup" in caplog.text)
    assert [one.levelname for one in caplog.records if one.exc_info] == ["DEBUG"]


async def test_disconnect_that_an_application_does_not_catch_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    class LeftError(Exception):
        pass

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        started.set()
        try:
            await send(start())
            while True:
                await send(part(b"x" * 65_536, more=True))
        except OSError as error:
            raise LeftError from error
        finally:
            ended.set()

    async with mounted(app) as client:
        client.send(request("GET", "/"))
        await soon(started)
        client.writer.transport.abort()
        await soon(ended)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_broken_body_ends_the_request() -> None:
    events: list[Event] = []
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        while not events or events[-1]["type"] != "http.disconnect":
            events.append(await receive())
        ended.set()

    async with mounted(app) as client:
        client.send(
            request("POST", "/", b"", Content_Length=None, Transfer_Encoding="chunked") + b"3\r\nabc\r\nx"
        )
        client.send(b"yz\r\n")
        assert (await client.response()).status == 400
        assert await client.is_closed()
        await soon(ended)
    assert events[-1] == {"type": "http.disconnect"}


# Several requests


async def test_application_continues_after_its_response_while_others_are_served() -> None:
    goes_on, ended = asyncio.Event(), asyncio.Event()

    async def then() -> None:
        await goes_on.wait()
        ended.set()

    async with mounted({"/slow": answering(b"slow", then=then), "/": answering(b"quick")}) as client:
        assert (await client.get("/slow")).body == b"slow"
        assert (await client.get("/")).body == b"quick"
        assert not ended.is_set()
        goes_on.set()
        await soon(ended)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        if scope["path"] == "/0":
            await asyncio.sleep(0)
        await send(start())
        await send(part(scope["path"].encode()))

    async with mounted(app) as client:
        client.send(b"".join(request("GET", f"/{number}") for number in range(20)))
        assert [(await client.response()).body for _ in range(20)] == [
            b"/%d" % number for number in range(20)
        ]


async def test_last_part_of_each_pipelined_response_returns() -> None:
    returned = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await send(start())
        await send(part(b"x" * 20_000 if scope["path"] == "/0" else b"y"))
        returned.append(scope["path"])

    async with mounted(application, config={"memory": Memory(send_soft=4096)}) as client:
        client.send(b"".join(request("GET", f"/{number}") for number in range(3)))
        for _ in range(3):
            assert (await client.response()).status == 200
        await eventually(lambda: sorted(returned) == ["/0", "/1", "/2"])


async def test_errors_that_are_causes_of_each_other_end_the_request() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        one, other = ValueError("one"), ValueError("other")
        other.__cause__ = one
        raise one from other

    async with mounted(application) as client:
        assert (await client.get("/")).status == 500
        assert (await client.get("/stock/count")).status == 200


async def test_response_to_an_unread_body_closes_the_connection() -> None:
    async with mounted(Sending(start(), part(b"early"))) as client:
        client.send(request("POST", "/", b"", Content_Length="1000000") + b"x" * 1000)
        answer = await client.response()
        assert (answer.body, answer["connection"]) == (b"early", "close")
        assert await client.is_closed()


@pytest.mark.parametrize(
    "prefix", ["", "shop", "/shop/", "//", "/a//b", "/.", "/a/..", "/a?b", "/ä", "/a b", "/%zz", 7]
)
def test_prefix_of_another_form_is_refused(prefix: Any) -> None:
    with pytest.raises(ValueError, match="HTTP.mounts"):
        HTTP(mounts={prefix: answering(b"")})


async def test_client_that_reads_nothing_holds_the_application() -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        assert scope["type"] == "http", scope["type"]
        await send(start())
        for number in range(256):
            sent = number
            await send(part(b"x" * 262_144, more=True))
        await send(part(b""))

    async with mounted(app) as client:
        small = await HttpClient.to(
            client.address,
            limit=1024,  # type: ignore[attr-defined]
        )
        async with small:
            small.writer.transport.pause_reading()
            small.send(request("GET", "/"))
            engines = client.server._gate.engines  # type: ignore[attr-defined]
            await eventually(lambda: any(engine.unsent_bytes() > 1 << 22 for engine in engines))
            held = -1
            while sent != held:
                held = sent
                for _ in range(100):
                    await asyncio.sleep(0)
            # The system's buffers and `Memory.send_soft`.
            assert sent < 200
            small.writer.transport.resume_reading()
            assert len((await small.response()).body) == 256 * 262_144


def test_applications_are_typed() -> None:
    found: Application = answering(b"")
    assert callable(found)
