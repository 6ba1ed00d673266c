"""The addresses that the services of one client share: each is known for as long as it is used."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fastrpc import Backoff, ClientConfig, ConnectError, Endpoint
from fastrpc.client.endpoint_plan import EndpointPlan
from fastrpc.client.services.sharing import SharedConnections
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

CONFIG = ClientConfig(backoff=Backoff(first=20, longest=30))


class Connection:
    """A connection that is open until the test ends it."""

    is_usable = is_ready = True
    life = SimpleNamespace(is_aged=False)
    closed_text = None
    auth_status = 0

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint


class Subchannel(EndpointPlan):
    """A subchannel whose dials wait for the test, and then fail or make a connection."""

    def __init__(self, address: str, *, fails: bool = False) -> None:
        super().__init__(Endpoint(address), CONFIG.backoff)
        self.may_end = asyncio.Event()
        self.is_waiting = False
        self.fails = fails
        self.lost: list[Any] = []

    async def make(self, shared: Any) -> Any:
        self.is_waiting = True
        await self.may_end.wait()
        if self.fails:
            raise ConnectError("nobody is there")
        made = Connection(self.endpoint)
        shared.made(self, made)
        return made

    def connection_lost(self, connection: Any, error: BaseException | None) -> None:
        self.lost.append(connection)


def sharing() -> SharedConnections:
    shared = SharedConnections(CONFIG)
    shared.loop = asyncio.get_running_loop()
    return shared


def known(shared: SharedConnections) -> int:
    return len(shared.places._places) + len(shared.places._joined)


async def dialled(shared: Any, subchannel: Subchannel) -> Any:
    subchannel.may_end.set()
    return await shared.connection(subchannel, subchannel.make)


async def test_addresses_that_left_are_forgotten(scale: Any) -> None:
    shared: Any = sharing()
    for number in range(scale.inputs(100_000)):
        subchannel = Subchannel(
            f"tcp://10.0.{number >> 8 & 255}.{number & 255}:{number >> 16 | 1}", fails=True
        )
        with pytest.raises(ConnectError):
            await dialled(shared, subchannel)
        assert shared.places.next_dial(subchannel)[0] is not None
        shared.places.leave(subchannel)
        assert shared.places.next_dial(subchannel) == (None, False)
    assert known(shared) == 0


async def test_an_address_is_known_until_its_last_user_has_left_and_its_last_connection_has_ended() -> None:
    shared: Any = sharing()
    first, second = Subchannel("tcp://10.0.0.1:1"), Subchannel("tcp://10.0.0.1:1")
    connection = await dialled(shared, first)
    assert await dialled(shared, second) is connection
    assert shared.places.leave_to_others(first, connection)
    shared.places.leave(first)
    assert not shared.places.leave_to_others(second, connection)
    shared.places.leave(second)
    # Its calls in flight continue.
    assert known(shared) == 1
    shared.connection_lost(connection, None)
    assert second.lost == [connection]
    assert first.lost == []
    assert known(shared) == 0


async def test_a_dial_that_was_left_is_forgotten() -> None:
    shared: Any = sharing()
    subchannel = Subchannel("tcp://10.0.0.1:1")
    dial = asyncio.create_task(shared.connection(subchannel, subchannel.make))
    await eventually(lambda: subchannel.is_waiting)
    dial.cancel()
    shared.places.leave(subchannel)
    await asyncio.gather(dial, return_exceptions=True)
    assert known(shared) == 0


async def test_a_record_with_another_protocol_gets_no_connection_of_the_one_before() -> None:
    shared: Any = sharing()
    first, second = Subchannel("tcp://10.0.0.1:1"), Subchannel("tcp://10.0.0.1:1")
    dials = [asyncio.create_task(shared.connection(each, each.make)) for each in (first, second)]
    await eventually(lambda: first.is_waiting)
    second.endpoint = Endpoint("tcp://10.0.0.1:1", protocols=("rpcx",))
    second.may_end.set()
    first.may_end.set()
    made = await asyncio.gather(*dials)
    assert [each.endpoint for each in made] == [first.endpoint, second.endpoint]
    for connection in made:
        shared.connection_lost(connection, None)
    for subchannel in (first, second):
        shared.places.leave(subchannel)
    assert known(shared) == 0
