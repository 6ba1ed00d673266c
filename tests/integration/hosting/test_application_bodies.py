"""Bodies of requests to `fastrpc.asgi`: asked for or not, with and without a length, and those that never come."""

import json
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTPLimits, Identity, Limits, ServerConfig
from fastrpc.auth import StaticTokens
from tests.support.http_shop import Shop
from tests.support.scopes import Exchange, exchange, http, http_scope, posted, serving
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

ECHO = "/shop.v1/echo"
ASKS = {"expect": "100-continue"}
CHUNKED = {"transfer-encoding": "chunked"}

#: Fields of a request without a type.
PLAIN = [("host", "127.0.0.1:8000")]
ASKING = [*PLAIN, ("expect", "100-continue")]


@fastrpc.service("notes")
class Notes:
    """Has routes that take no body, or may go without one."""

    @fastrpc.method(http="GET /notes/{name}", safe=True)
    async def show(self, name: str) -> str:
        return f"shown {name}"

    @fastrpc.method(http="DELETE /notes/{name}")
    async def drop(self, name: str) -> str:
        return f"dropped {name}"

    @fastrpc.method(http="PUT /notes/{name}")
    async def put(self, name: str, text: str = "") -> str:
        return f"{name} is {text!r}"


def of_version_2(path: str, fields: Any = None, *, method: str = "POST") -> dict[str, Any]:
    """Return the scope of a request by HTTP/2; fields in a list are all that it has."""
    if isinstance(fields, list):
        fields = [(name.encode(), value.encode()) for name, value in fields]
    return http_scope(path, fields=fields, method=method, http_version="2")


class TestAskedBodies:
    """Requests with `Expect`."""

    @pytest.mark.parametrize(("version", "fields"), [("2", ASKS), ("3", ASKS), ("1.1", ASKS | CHUNKED)])
    async def test_a_body_is_received_once_its_request_is_found_good(self, version: str, fields: Any) -> None:
        async with serving() as app:
            refused = Exchange(app, http_scope("/shop.v1/none", fields=fields, http_version=version))
            refused.body(b"{}")
            await refused.done()
            assert refused.status == 404
            assert refused.events.qsize() == 1
            talk = Exchange(app, http_scope(ECHO, fields=fields, http_version=version))
            talk.body(b'{"text":', more=True)
            talk.body(b'"a"}')
            await talk.done()
            assert (talk.status, talk.value) == (200, "a")

    async def test_an_optional_argument_in_a_body_without_a_length_is_not_lost(self) -> None:
        async with serving(Notes()) as app:
            talk = Exchange(app, of_version_2("/notes/a", ASKS, method="PUT"))
            talk.body(b'{"text": "important"}')
            await talk.done()
            assert (talk.status, talk.value) == (200, "a is 'important'")

    async def test_a_body_without_length_and_type_is_not_lost_either(self) -> None:
        async with serving(Notes()) as app:
            talk = Exchange(app, of_version_2("/notes/a", ASKING, method="PUT"))
            talk.body(b'{"text": "important"}')
            await talk.done()
            assert talk.status == 415

    async def test_an_old_client_that_asks_is_not_waited_for(self) -> None:
        async with serving() as app:
            fields = ASKS | {"content-length": "12"}
            talk = Exchange(app, http_scope(ECHO, fields=fields, http_version="1.0"))
            talk.body(b'{"text":"a"}')
            await talk.done()
            assert (talk.status, talk.value) == (200, "a")

    @pytest.mark.parametrize("fields", [{"content-length": "2"}, {}])
    async def test_another_expectation_is_refused(self, fields: dict[str, str]) -> None:
        async with serving() as app:
            for version in ("1.1", "2"):
                given = {"expect": "a miracle"} | fields
                talk = Exchange(app, http_scope(ECHO, fields=given, http_version=version))
                await talk.done()
                assert talk.status == 417


class TestBodiesWithoutALength:
    """Requests by HTTP/2, where a body needs neither a length nor chunks."""

    @pytest.mark.parametrize("fields", [None, PLAIN], ids=["typed", "plain"])
    @pytest.mark.parametrize("method", ["GET", "PUT"])
    async def test_a_body_that_never_comes_is_refused_in_time(self, method: str, fields: Any) -> None:
        limits = HTTPLimits(header_seconds=0.05, body_idle_seconds=0.05)
        async with serving(Notes(), config=http(limits=limits)) as app:
            talk = Exchange(app, of_version_2("/notes/a", fields, method=method))
            await talk.done()
            assert talk.status == 408

    @pytest.mark.parametrize("fields", [None, PLAIN], ids=["typed", "plain"])
    async def test_a_request_counts_before_its_body_comes(self, fields: Any) -> None:
        async with serving(Notes(), config=ServerConfig(limits=Limits(connections=1))) as app:
            async with exchange(app, of_version_2("/notes/a", fields, method="PUT")) as talk:
                await eventually(lambda: app._server.stats()["live"]["connections"] == 1)
                assert (await posted(app, "/notes/a", method="GET")).status == 503
            assert talk.status == 503
            assert (await posted(app, "/notes/a", method="GET")).value == "shown a"

    async def test_a_stranger_is_refused_before_a_body_comes(self) -> None:
        async with serving(authenticate=StaticTokens({"secret": Identity("ada")})) as app:
            talk = Exchange(app, of_version_2(ECHO))
            await talk.done()
            assert talk.status == 401

    async def test_a_stranger_whose_request_has_a_content_type_gets_pages(self) -> None:
        config = http(docs=True)
        async with serving(config=config, authenticate=StaticTokens({"secret": Identity("ada")})) as app:
            for path in ("/", "/openapi.json"):
                talk = Exchange(app, of_version_2(path, method="GET"))
                talk.body(b"")
                await talk.done()
                assert talk.status == 200

    @pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
    @pytest.mark.parametrize("fields", [None, PLAIN, ASKING], ids=["typed", "plain", "asking"])
    async def test_an_empty_body_counts_as_missing(self, method: str, fields: Any) -> None:
        async with serving(Notes()) as app:
            talk = Exchange(app, of_version_2("/notes/a", fields, method=method))
            talk.body(b"")
            await talk.done()
            expected = {"GET": "shown a", "DELETE": "dropped a", "PUT": "a is ''"}
            assert (talk.status, talk.value) == (200, expected[method])

    @pytest.mark.parametrize("fields", [None, PLAIN], ids=["typed", "plain"])
    async def test_a_body_for_a_method_without_one_is_refused(self, fields: Any) -> None:
        async with serving(Notes()) as app:
            for size in (1, 2):
                talk = Exchange(app, of_version_2("/notes/a", fields, method="DELETE"))
                talk.body(b"{", more=size > 1)
                talk.body(b"}")
                await talk.done()
                assert talk.status == 400
                assert "takes no body" in talk.value["detail"]

    async def test_a_body_may_come_in_any_parts(self) -> None:
        content = json.dumps({"text": "hello"}).encode()
        async with serving() as app:
            for step in (1, 5, len(content)):
                talk = Exchange(app, of_version_2(ECHO))
                for at in range(0, len(content), step):
                    talk.body(content[at : at + step], more=at + step < len(content))
                await talk.done()
                assert (talk.status, talk.value) == (200, "hello")

    async def test_a_client_that_disconnects_before_its_body_cancels_nothing(self) -> None:
        shop = Shop()
        async with serving(shop) as app:
            async with exchange(app, of_version_2("/shop.v1/wait")) as talk:
                await eventually(lambda: app._server.stats()["live"]["connections"] == 1)
            assert (talk.status, shop.started.is_set()) == (503, False)
