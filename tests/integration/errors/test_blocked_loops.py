"""A blocking client on an event loop, which it would block: a warning names the line and the way out."""

import asyncio
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from fastrpc import CallError, SyncClient
from fastrpc.testing import serving
from tests.support.desk import Desk

pytestmark = pytest.mark.one_loop


@pytest.mark.parametrize("has_interceptors", [False, True])
async def test_a_blocking_client_in_a_coroutine_warns_once(has_interceptors: bool) -> None:
    async def passing(call: Any, proceed: Any) -> Any:
        return await proceed(call)

    with serving(Desk) as address:
        client = SyncClient(address, interceptors=[passing] if has_interceptors else [])
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            for _ in range(3):
                assert client.call(Desk.mul, 6, 7) == 42
                assert client.with_options(timeout=3).call_many(Desk.mul, [(1, 1)]) == [1]
            client.close()
        assert [one.category for one in noted] == [RuntimeWarning]
        assert "asyncio.to_thread" in str(noted[0].message)
        assert noted[0].filename == __file__


def received(client: Any) -> None:
    with client.stream("desk.mul", 1) as stream, suppress(CallError):
        stream.receive()


#: Each waits for the server.
BLOCKING_USES: dict[str, Callable[[Any], object]] = {
    "call": lambda client: client.call(Desk.mul, 6, 7),
    "notify": lambda client: client.notify(Desk.note, 1),
    "call_many": lambda client: client.call_many(Desk.mul, [(1, 1)]),
    "bind": lambda client: client.bind(Desk).mul(6, 7),
    "ready": lambda client: client.ready(timeout=10),
    "fork": lambda client: client.fork(Desk.mul, 6, 7),
    "broadcast": lambda client: client.broadcast(Desk.mul, 6, 7),
    "stream": received,
}


@pytest.mark.parametrize("use", BLOCKING_USES)
async def test_each_use_of_a_blocking_client_that_waits_in_a_coroutine_warns(use: str) -> None:
    with (
        serving(Desk) as address,
        SyncClient(address) as client,
        warnings.catch_warnings(record=True) as noted,
    ):
        warnings.simplefilter("always")
        BLOCKING_USES[use](client)
    assert [(one.category, one.filename) for one in noted] == [(RuntimeWarning, __file__)]
    assert "`async with fastrpc.Client(…)`" in str(noted[0].message)


async def test_clients_made_one_after_the_other_on_a_loop_warn_once() -> None:
    with serving(Desk) as address, warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        for _ in range(3):
            # As in the cells of a notebook, whose loop runs.
            with SyncClient(address) as client:
                assert client.call(Desk.mul, 6, 7) == 42
    assert [one.category for one in noted] == [RuntimeWarning]


async def test_a_blocking_client_in_a_thread_does_not_warn() -> None:
    with serving(Desk) as address, SyncClient(address) as client, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await asyncio.to_thread(client.call, Desk.mul, 6, 7) == 42
