"""Calls that wait for their start until the caller's credential has expired."""

import asyncio
import threading

import pytest

import fastrpc
from fastrpc import Admission, CallError, Client, Memory, ServerConfig, Status
from tests.support.access_table import SHORT_LIFE, Credentials
from tests.support.held_calls import held_calls
from tests.support.served import Served, served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@fastrpc.service("blocking")
class Blocking:
    def __init__(self) -> None:
        self.started: list[str] = []
        self.may_end = threading.Event()

    @fastrpc.method
    def hold(self) -> None:
        self.started.append("hold")
        self.may_end.wait(60)

    @fastrpc.method
    def note(self, name: str) -> str:
        self.started.append(name)
        return name


@fastrpc.service("desk")
class Desk:
    def __init__(self) -> None:
        self.started: list[str] = []

    @fastrpc.method
    async def note(self, name: str, _ballast: bytes) -> str:
        self.started.append(name)
        return name


async def test_a_call_that_waited_longer_than_its_credential_is_valid_is_not_started() -> None:
    desk = Desk()
    config = ServerConfig(memory=Memory(send_soft=65_536), admission=Admission(queue_age=30))
    held_for = {"credentials": "allowed", "authenticate": Credentials()}
    async with held_calls(desk, config, (("a", 0, 0),), **held_for) as held:
        view = held.client.with_options(metadata={"authorization": "Bearer expired"})
        while held.waiting() < 2:
            # On a machine that stalls the credential may expire before the call waits: then it is made once more.
            refused_before = held.refused()
            held.calls.append(asyncio.ensure_future(view.call("desk.note", "b", b"")))
            await eventually(lambda: held.waiting() == 2 or held.refused() > refused_before)  # noqa: B023
        await asyncio.sleep(SHORT_LIFE + 0.01)
    assert desk.started == ["a"]
    with pytest.raises(CallError) as refused:
        held.calls[-1].result()
    assert (refused.value.status, refused.value.processed) == (Status.UNAUTHENTICATED, "no")


def threads(target: Served) -> dict[str, int]:
    pool = target.server._served._threads
    assert pool is not None
    return pool.stats()


async def test_a_call_that_waited_for_a_thread_for_longer_is_not_started() -> None:
    blocking = Blocking()
    config = ServerConfig(admission=Admission(handler_threads=1, queue_age=30))
    async with served(blocking, config=config, authenticate=Credentials()) as target:
        try:
            async with Client(target, credentials="allowed") as client:
                held = asyncio.ensure_future(client.with_options(timeout=60).call(Blocking.hold))
                await eventually(lambda: blocking.started == ["hold"])
                view = client.with_options(metadata={"authorization": "Bearer expired"}, timeout=60)
                while True:
                    queued = asyncio.ensure_future(view.call(Blocking.note, "expired"))
                    await eventually(lambda: queued.done() or threads(target)["waiting"] == 1)  # noqa: B023
                    if not queued.done():
                        break
                    # On a machine that stalls the credential expired before the call waited: it is made once more.
                    assert queued.exception() is not None
                kept = asyncio.ensure_future(client.with_options(timeout=60).call(Blocking.note, "kept"))
                await asyncio.sleep(SHORT_LIFE + 0.01)
                blocking.may_end.set()
                with pytest.raises(CallError) as refused:
                    await queued
                await held
                assert await kept == "kept"
        finally:
            blocking.may_end.set()
    assert blocking.started == ["hold", "kept"]
    assert (refused.value.status, refused.value.processed) == (Status.UNAUTHENTICATED, "no")
