"""Mounted applications that take the scope of their lifespan for a request."""

import asyncio
import logging
from typing import Any

import pytest

from fastrpc import ConfigError
from tests.support.mounted import answering, mounted, part, start

pytestmark = pytest.mark.one_loop

SOCKET_MESSAGE = {"type": "websocket.accept"}


class Careless:
    """An application that looks at no type of a scope.

    Args:
        first: its first message of each kind of scope.
        ends: whether an error of `send` ends it, or it waits for ever after that.
    """

    def __init__(self, first: Any, *, receives: bool, ends: bool) -> None:
        self._first, self._receives, self._ends = first, receives, ends
        self.scopes: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope["type"])
        if self._receives:
            await receive()
        try:
            await send(self._first)
            await send(part(b"hello"))
        except RuntimeError:
            if self._ends:
                raise
            await asyncio.Event().wait()


@pytest.mark.parametrize("receives", [False, True], ids=["sends at once", "receives first"])
@pytest.mark.parametrize("ends", [False, True], ids=["waits", "ends"])
async def test_an_application_that_answers_its_lifespan_by_http_is_served_without_one(
    receives: bool, ends: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = Careless(start(), receives=receives, ends=ends)
    async with mounted(app) as client:
        assert (await client.get("/")).body == b"hello"
    assert app.scopes == ["lifespan", "http"]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_an_application_of_websockets_alone_is_served_without_a_lifespan() -> None:
    app = Careless(SOCKET_MESSAGE, receives=True, ends=True)
    async with mounted({"/": answering(b"ok"), "/talk": app}) as client:
        assert (await client.get("/")).body == b"ok"
    assert app.scopes == ["lifespan"]


async def test_an_error_before_the_first_message_still_stops_the_start() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise ValueError("no database")

    with pytest.raises(ConfigError, match="could not start: ValueError: no database"):
        async with mounted(app):
            pass


async def test_an_http_message_after_a_completed_startup_is_an_error_of_the_lifespan(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await send(start())
        await answering(b"ok")(scope, receive, send)

    async with mounted(app) as client:
        assert (await client.get("/")).body == b"ok"
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 1
    assert "http.response.start" in told[0]
