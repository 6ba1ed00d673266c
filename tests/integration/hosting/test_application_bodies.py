"""Bodies of requests to `fastrpc.asgi`, asked for or not."""

from typing import Any

import pytest

import fastrpc
from tests.support.scopes import Exchange, http_scope, serving

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

    @pytest.mark.parametrize("fields", [{"content-length": "2"}, {}])
    async def test_another_expectation_is_refused(self, fields: dict[str, str]) -> None:
        async with serving() as app:
            for version in ("1.1", "2"):
                given = {"expect": "a miracle"} | fields
                talk = Exchange(app, http_scope(ECHO, fields=given, http_version=version))
                await talk.done()
                assert talk.status == 417
