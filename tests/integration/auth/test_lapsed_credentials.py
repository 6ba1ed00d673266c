"""Calls that wait for their start longer than what their caller shows is valid."""

import asyncio

import pytest

import fastrpc
from fastrpc import Admission, CallError, Memory, ServerConfig, Status
from tests.support.access_table import SHORT_LIFE, Credentials
from tests.support.held_calls import held_calls
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


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
