"""Lifespans of mounted applications that end while the server starts and runs."""

import asyncio
import logging
from typing import Any

import pytest

from fastrpc.hosting.mounts_lifespan import Lifespan
from tests.support.mounted import answering, mounted
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@pytest.mark.parametrize(
    "error", [ValueError("lost it"), asyncio.CancelledError()], ids=["raised", "cancelled"]
)
async def test_a_lifespan_that_fails_while_the_server_runs_is_logged_once_with_its_error(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    dies = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await dies.wait()
            raise error
        await answering(b"ok")(scope, receive, send)

    async with mounted(app) as client:
        dies.set()
        await eventually(lambda: caplog.records)
        # The application still gets requests.
        assert (await client.get("/")).body == b"ok"
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    start = "the lifespan of the application at / failed while the server runs: "
    assert [text.startswith(start) and type(error).__name__ in text for text in told] == [True]


async def test_a_lifespan_may_return_while_the_server_runs(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            return
        await answering(b"ok")(scope, receive, send)

    async with mounted(app) as client:
        assert (await client.get("/")).body == b"ok"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_an_application_that_already_started_is_shut_down_when_the_start_is_cancelled() -> None:
    received = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        received.append((await receive())["type"])
        await send({"type": "lifespan.startup.complete"})
        # Before the task that waits for this answer runs: a drain arrived.
        starting.cancel()
        received.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})

    starting = asyncio.ensure_future(Lifespan(app, "/").start())
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert received == ["lifespan.startup", "lifespan.shutdown"]
