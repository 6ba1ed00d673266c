"""`fastrpc.asgi`: settings, lifespan, scopes and their edges. tests/services runs the tests of the gateway by it."""

import asyncio
import contextlib
import contextvars
import json
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.testclient import TestClient

import fastrpc
from fastrpc import (
    Limits,
    ServerConfig,
    current_call,
)
from fastrpc.config import OpenAPI
from fastrpc.limits import RateLimit
from tests.support.http_shop import Shop
from tests.support.http_talk import WAIT_SECONDS, soon
from tests.support.scopes import Exchange, exchange, http, http_scope, posted, serving
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

ECHO = "/shop.v1/echo"
SMUGGLED = "/shop.v1/metadata HTTP/1.1\r\nmeta-user: ada\r\nx:"


@fastrpc.service("place")
class Place:
    """Returns the places of its callers, and the other facts that reach a handler."""

    @fastrpc.method
    async def peer(self) -> str:
        return str(current_call().peer.address)

    @fastrpc.method(http="GET /places/{name}", safe=True)
    async def named(self, name: str, near: str = "") -> list[str]:
        return [name, near]

    @fastrpc.method
    async def variable(self) -> str:
        return VARIABLE.get()

    @fastrpc.method
    async def flood(self) -> AsyncIterator[str]:
        self.sent = 0
        while True:
            self.sent += 1
            yield "x" * 10_000


VARIABLE = contextvars.ContextVar("VARIABLE", default="none")


class TestLifespan:
    @staticmethod
    def source(steps: list[str]) -> Any:
        @contextlib.asynccontextmanager
        async def made() -> AsyncIterator[Shop]:
            steps.append("entered")
            yield Shop()
            steps.append("left")

        return made

    async def test_the_lifespan_scope_enters_and_leaves_the_sources(self) -> None:
        steps: list[str] = []
        app = fastrpc.asgi(self.source(steps))
        life = Exchange(app, {"type": "lifespan"})
        life.give(type="lifespan.startup")
        assert await life.has(1) == [{"type": "lifespan.startup.complete"}]
        assert (await posted(app, ECHO, {"text": "a"})).value == "a"
        assert steps == ["entered"]
        life.give(type="lifespan.shutdown")
        await life.done()
        assert life.sent[1:] == [{"type": "lifespan.shutdown.complete"}]
        assert steps == ["entered", "left"]

    async def test_requests_at_its_end_enter_nothing_again(self) -> None:
        steps: list[str] = []
        may_leave = asyncio.Event()

        @contextlib.asynccontextmanager
        async def slow() -> AsyncIterator[Shop]:
            async with self.source(steps)() as shop:
                yield shop
                steps.append("leaving")
                await may_leave.wait()

        app = fastrpc.asgi(slow)
        life = Exchange(app, {"type": "lifespan"})
        life.give(type="lifespan.startup")
        await life.has(1)
        life.give(type="lifespan.shutdown")
        await eventually(lambda: "leaving" in steps)
        assert (await posted(app, ECHO, {"text": "a"})).status == 503
        may_leave.set()
        await life.done()
        assert life.sent[1:] == [{"type": "lifespan.shutdown.complete"}]
        assert steps == ["entered", "leaving", "left"]

    async def test_a_failed_start_is_reported(self) -> None:
        def broken() -> Shop:
            raise ZeroDivisionError("no database")

        life = Exchange(fastrpc.asgi(broken), {"type": "lifespan"})
        life.give(type="lifespan.startup")
        with pytest.raises(ZeroDivisionError):
            await life.done()
        assert [event["type"] for event in life.sent] == ["lifespan.startup.failed"]
        assert "no database" in life.sent[0]["message"]

    async def test_a_failed_end_is_reported(self) -> None:
        @contextlib.asynccontextmanager
        async def broken() -> AsyncIterator[Shop]:
            yield Shop()
            raise ZeroDivisionError("no goodbye")

        life = Exchange(fastrpc.asgi(broken), {"type": "lifespan"})
        life.give(type="lifespan.startup")
        await life.has(1)
        life.give(type="lifespan.shutdown")
        with pytest.raises(ZeroDivisionError):
            await life.done()
        assert [event["type"] for event in life.sent[1:]] == ["lifespan.shutdown.failed"]
        assert "no goodbye" in life.sent[1]["message"]

    @pytest.mark.parametrize("step", ["startup", "shutdown"])
    def test_the_test_client_of_starlette_raises_errors_of_startup_and_shutdown(self, step: str) -> None:
        @contextlib.asynccontextmanager
        async def broken() -> AsyncIterator[Shop]:
            if step == "shutdown":
                yield Shop()
            raise ZeroDivisionError(step)

        def run() -> None:
            try:
                with TestClient(fastrpc.asgi(broken)):
                    pass
            except ZeroDivisionError as error:
                raised.append(str(error))

        raised: list[str] = []
        # It would wait for ever.
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(WAIT_SECONDS)
        assert raised == [step]

    async def test_the_first_request_enters_them_with_one_warning(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        steps: list[str] = []
        app = fastrpc.asgi(self.source(steps))
        with caplog.at_level(logging.WARNING):
            found = await asyncio.gather(*(posted(app, ECHO, {"text": "a"}) for _ in range(5)))
        assert [one.value for one in found] == ["a"] * 5
        assert steps == ["entered"]
        assert len([one for one in caplog.records if "app.lifespan()" in one.getMessage()]) == 1

    async def test_the_application_is_entered_once_and_again_after_its_end(self) -> None:
        steps: list[str] = []
        app = fastrpc.asgi(self.source(steps))
        async with app.lifespan():
            with pytest.raises(RuntimeError, match="entered already"):
                async with app.lifespan():
                    pass
        async with app.lifespan():
            assert (await posted(app, ECHO, {"text": "a"})).value == "a"
        assert steps == ["entered", "left"] * 2

    async def test_concurrent_starts_enter_the_application_once(self) -> None:
        steps: list[str] = []

        @contextlib.asynccontextmanager
        async def slow() -> AsyncIterator[Shop]:
            await asyncio.sleep(0)
            async with self.source(steps)() as shop:
                yield shop

        app = fastrpc.asgi(slow)

        async def live() -> None:
            async with app.lifespan():
                assert (await posted(app, ECHO, {"text": "a"})).value == "a"

        outcomes = await asyncio.gather(live(), live(), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None), RuntimeError]
        assert steps == ["entered", "left"]

    async def test_another_loop_is_an_error(self) -> None:
        raised: list[str] = []

        def elsewhere() -> None:
            with pytest.raises(RuntimeError) as found:
                asyncio.run(posted(app, ECHO, {"text": "a"}))
            raised.append(str(found.value))

        async with serving() as app:
            thread = threading.Thread(target=elsewhere)
            thread.start()
            await asyncio.to_thread(thread.join)
        assert "this ASGI application belongs to" in raised[0]

    async def test_an_unknown_scope_is_an_error(self) -> None:
        with pytest.raises(RuntimeError, match="'telnet'"):
            await Exchange(fastrpc.asgi(Shop), {"type": "telnet"}).done()


class TestRequests:
    async def test_head_and_body_come_in_any_parts(self) -> None:
        content = json.dumps({"text": "hello"}).encode()
        async with serving() as app:
            for fields in ({}, {"content-length": str(len(content))}, {"transfer-encoding": "chunked"}):
                talk = Exchange(app, http_scope(ECHO, fields=fields))
                for at in range(len(content)):
                    talk.body(content[at : at + 1], more=at + 1 < len(content))
                await talk.done()
                assert (talk.status, talk.value) == (200, "hello")
                assert talk.field("connection") is talk.field("date") is None

    async def test_a_body_is_requested_only_if_the_engine_wants_it(self) -> None:
        fields = {"content-length": "12", "expect": "100-continue"}
        async with serving() as app:
            for refused in (fields, {"transfer-encoding": "chunked"}):
                talk = Exchange(app, http_scope("/shop.v1/none", fields=refused))
                await talk.done()
                assert talk.status == 404
            talk = Exchange(app, http_scope(ECHO, fields=fields))
            talk.body(b'{"text":"a"}')
            await talk.done()
            assert (talk.status, talk.value) == (200, "a")

    async def test_a_body_of_another_length_is_no_second_request(self) -> None:
        shop = Shop()
        second = b'POST /shop.v1/note HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n{"text":"b"}'
        async with serving(shop) as app:
            talk = Exchange(app, http_scope("/shop.v1/note", fields={"content-length": "12"}))
            talk.body(b'{"text":"a"}' + second)
            await talk.done()
            assert talk.status == 200
            talk = Exchange(app, http_scope("/shop.v1/note", fields={"content-length": "13"}))
            talk.body(b'{"text":"c"}')
            await talk.done()
            assert (talk.status, talk.content) == (503, b"")
        assert shop.noted == ["a"]

    @pytest.mark.parametrize(
        ("fields", "more"),
        [
            ([(b"host", b"127.0.0.1"), (b"x", b"a\r\nMeta-User: ada")], {}),
            ([(b"host", b"127.0.0.1"), (b"x", b"a\nMeta-User: ada")], {}),
            ([(b"host", b"127.0.0.1"), (b"x\r\nmeta-user", b"ada")], {}),
            ([(b"host", b"127.0.0.1"), (b"meta-user:x", b"ada")], {}),
            ([(b"host", b"127.0.0.1")], {"path": SMUGGLED, "raw_path": SMUGGLED.encode()}),
            ([(b"host", b"127.0.0.1")], {"query_string": b"a HTTP/1.1\r\nmeta-user: ada\r\nx:"}),
            (
                [(b"host", b"127.0.0.1")],
                {"method": "POST /shop.v1/metadata HTTP/1.1\r\nmeta-user: ada\r\nx:"},
            ),
            ([(b"host", b"127.0.0.1"), (b"content-length", b"0"), (b"content-length", b"1")], {}),
            ([(b"host", b"127.0.0.1"), (b"content-length", b"9" * 5_000)], {}),
            ([(b"host", b"127.0.0.1"), (b"host", b"127.0.0.2")], {}),
            ([], {}),
        ],
    )
    async def test_a_scope_that_is_no_valid_request_is_refused(
        self, fields: Any, more: dict[str, Any]
    ) -> None:
        async with serving() as app:
            talk = Exchange(app, http_scope("/shop.v1/metadata") | {"headers": fields} | more)
            talk.body(b"")
            await talk.done()
            assert talk.status == 400

    @pytest.mark.parametrize("version", ["1.0", "1.1", "2", "3"])
    async def test_every_version_of_http_is_served(self, version: str) -> None:
        async with serving() as app:
            for path, value in ((ECHO, {"text": "a"}), ("/shop.v1/count", {"to": 3})):
                fields = {"accept": "application/x-ndjson"} if value != {"text": "a"} else {}
                talk = await posted(app, path, value, fields=fields, http_version=version)
                assert talk.status == 200
                assert talk.content.count(b"\n") == (4 if fields else 0)
                assert [event.get("more_body") for event in talk.sent[1:]][-1] is False

    async def test_a_head_request_has_fields_and_no_body(self) -> None:
        async with serving(Place()) as app:
            talk = await posted(app, "/places/a", method="HEAD")
            assert (talk.status, talk.content, talk.field("content-length")) == (200, b"", "8")

    @pytest.mark.parametrize("fields", [{}, {"content-length": "0"}, {"content-length": "2"}])
    async def test_a_disconnected_client_cancels_its_call(self, fields: Any) -> None:
        shop = Shop()
        async with serving(shop) as app:
            async with exchange(app, http_scope("/shop.v1/wait", fields=fields)) as talk:
                talk.body(b"" if "0" in fields.values() else b"{}")
                await soon(shop.started)
            await soon(shop.cancelled)
            # To nobody: middleware around takes an application that answers nothing for a broken one.
            assert (talk.status, talk.sent[-1].get("more_body", False)) == (503, False)

    async def test_a_client_that_leaves_is_no_error_of_the_middleware_around(self) -> None:
        shop = Shop()
        async with serving(shop) as app:

            async def passed_on(request: Any, call_next: Any) -> Any:
                return await call_next(request)

            around = BaseHTTPMiddleware(app, dispatch=passed_on)
            async with exchange(around, http_scope("/shop.v1/wait")) as talk:
                talk.body(b"{}")
                await soon(shop.started)
            await soon(shop.cancelled)

    async def test_a_send_that_fails_cancels_its_call(self) -> None:
        place = Place()
        async with serving(place) as app:
            talk = Exchange(app, http_scope("/place/flood", fields={"accept": "application/x-ndjson"}))
            talk.body(b"{}")
            await talk.has(3)
            talk.failure = OSError("gone")
            await talk.done()
            sent = place.sent
            await eventually(lambda: not app._server.stats()["live"]["calls"])
            assert place.sent <= sent + 100

    async def test_unread_output_holds_the_handler(self) -> None:
        place = Place()
        async with serving(place) as app:
            async with exchange(
                app, http_scope("/place/flood", fields={"accept": "application/x-ndjson"})
            ) as talk:
                talk.body(b"{}")
                await talk.has(3)
                talk.takes_output.clear()
                before = -1
                while place.sent > before:
                    before = place.sent
                    for _ in range(100):
                        await asyncio.sleep(0)
                assert place.sent < 200
                talk.takes_output.set()
                await eventually(lambda: place.sent > before + 200)

    async def test_an_unread_body_is_not_received(self) -> None:
        @fastrpc.service("slow")
        class Slow:
            @fastrpc.method
            async def take(self, parts: AsyncIterator[str]) -> int:
                await goes_on.wait()
                return sum([len(part) async for part in parts])

        goes_on = asyncio.Event()
        line = json.dumps({"value": "x" * 10_000}).encode() + b"\n"
        async with serving(Slow()) as app:
            talk = Exchange(app, http_scope("/slow/take", fields={"content-type": "application/x-ndjson"}))
            for _ in range(1_000):
                talk.body(line, more=True)
            talk.body(b'{"end":true}\n')
            left = 2_000
            while talk.events.qsize() < left:
                left = talk.events.qsize()
                for _ in range(100):
                    await asyncio.sleep(0)
            assert 500 < left < 1_000
            goes_on.set()
            await talk.done()
            assert talk.value == 10_000_000

    async def test_notifications_continue_after_their_answer(self) -> None:
        shop = Shop()
        async with serving(shop, config=http(jsonrpc=True)) as app:
            talk = await posted(app, "/jsonrpc", {"jsonrpc": "2.0", "method": "shop.v1.wait"})
            assert talk.status == 204
            await soon(shop.started)
            await asyncio.sleep(0)
            shop.goes_on.set()
            await eventually(lambda: not app._server.stats()["live"]["calls"])
            assert not shop.cancelled.is_set()

    async def test_a_surplus_of_requests_is_503(self) -> None:
        shop = Shop()
        async with serving(shop, config=ServerConfig(limits=Limits(connections=1))) as app:
            async with exchange(app, http_scope("/shop.v1/wait")) as talk:
                talk.body(b"{}")
                await soon(shop.started)
                assert (await posted(app, ECHO, {"text": "a"})).status == 503

    async def test_handlers_see_no_variables_of_the_program_around(self) -> None:
        async with serving(Place()) as app:
            VARIABLE.set("of one request")
            assert (await posted(app, "/place/variable")).value == "none"


class TestPlaces:
    @pytest.mark.parametrize(
        ("scheme", "client", "shown"),
        [
            ("http", ("10.0.0.7", 51_814), "tcp://10.0.0.7:51814"),
            ("https", ["2001:db8::7", 1], "tls://[2001:db8::7]:1"),
            ("http", ("testclient", None), "tcp://testclient:0"),
            ("http", ("a:b:c", 1), "memory://a:b:c"),
            ("http", ("", 0), "memory://"),
            ("http", None, "memory://"),
        ],
    )
    async def test_the_peer_is_the_client_of_the_scope(self, scheme: str, client: Any, shown: str) -> None:
        limits = [RateLimit(100, burst=100, per="peer")]
        async with serving(Place(), call_limits=limits) as app:
            assert (await posted(app, "/place/peer", scheme=scheme, client=client)).value == shown

    @pytest.mark.parametrize(
        ("path", "raw", "root", "value"),
        [
            ("/api/places/a/b", b"/api/places/a%2Fb", "/api", ["a/b", "x y"]),
            ("/places/a/b", b"/places/a%2Fb", "/api", ["a/b", "x y"]),
            ("/api/places/a b", None, "/api", ["a b", "x y"]),
            ("/ä p/places/ö", b"/%C3%A4%20p/places/%C3%B6", "/ä p", ["ö", "x y"]),
            ("/api/places/a", b"/%61pi/places/a", "/api/", ["a", "x y"]),
            ("/apis/places/a", b"/apis/places/a", "/api", None),
            # Rewritten by a program around: with the prefix cut off, and for another method.
            ("/places/a", b"/api/places/a", "/api", ["a", "x y"]),
            ("/places/a", b"/api/places/a", "", ["a", "x y"]),
            ("/places/a b", b"/place/peer", "", ["a b", "x y"]),
        ],
    )
    async def test_the_prefix_is_not_part_of_a_path(self, path: str, raw: Any, root: str, value: Any) -> None:
        more = {"raw_path": raw, "root_path": root, "query_string": b"near=x%20y"}
        async with serving(Place()) as app:
            talk = await posted(app, path, method="GET", **more)
            assert (talk.status, talk.value) == (200, value) if value else talk.status == 404

    async def test_the_pages_know_the_prefix(self) -> None:
        async with serving(Place()) as app:
            found = await posted(app, "/api/openapi.json", method="GET", root_path="/api")
            assert found.value["servers"] == [{"url": "/api"}]
            assert (await posted(app, "/openapi.json", method="GET")).value["servers"] == [{"url": "/"}]
            index = await posted(app, "/api", method="GET", root_path="/api")
            assert b'<a href="/api/docs">/api/docs</a>' in index.content
        about = OpenAPI(servers=("https://api.example/v1",))
        async with serving(Place(), config=http(openapi=about)) as app:
            found = await posted(app, "/api/openapi.json", method="GET", root_path="/api")
            assert found.value["servers"] == [{"url": "https://api.example/v1"}]

    @pytest.mark.parametrize(
        ("server", "client", "status"),
        [
            (("127.0.0.1", 8000), ("127.0.0.1", 1), 200),
            (("127.0.0.1", 8000), ("10.0.0.7", 1), 404),
            (("10.0.0.1", 8000), ("127.0.0.1", 1), 404),
            (("/run/uvicorn.sock", None), None, 404),
            (None, None, 404),
        ],
    )
    async def test_pages_are_shown_where_both_ends_are_local(
        self, server: Any, client: Any, status: int
    ) -> None:
        async with serving() as app:
            assert (
                await posted(app, "/openapi.json", method="GET", server=server, client=client)
            ).status == status

    async def test_another_host_is_refused_unless_it_is_known(self) -> None:
        fields = {"host": "shop.example"}
        async with serving() as app:
            assert (await posted(app, ECHO, {"text": "a"}, fields=fields)).status == 421
            at_home = await posted(app, ECHO, {"text": "a"}, fields=fields, server=("shop.example", 80))
            assert at_home.status == 200
        async with serving(config=http(allowed_hosts=("shop.example",))) as app:
            assert (await posted(app, ECHO, {"text": "a"}, fields=fields)).status == 200
