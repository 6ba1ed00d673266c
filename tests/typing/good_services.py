"""The knowledge of type checkers about `Services` and `SyncServices`: each `assert_type` is a promise. Never called."""

from datetime import datetime
from typing import Any, assert_type

import fastrpc
from fastrpc.selectors import LeastLoaded, Random
from tests.typing.services import Arith, Clock, count, mul

# One client for many services has the verbs of a client.


async def many_services(services: fastrpc.Services, blocking: fastrpc.SyncServices) -> None:
    assert_type(await services.call(Arith.mul, 6, 7), int)
    assert_type(await services.call("shop.orders.get", "17"), Any)
    assert_type((await services.request(mul, 6)).value, int)
    assert_type(await services.call_many(Arith.mul, [(6, 7)]), list[int])
    assert_type(await services.notify(Arith.mul, 6, 7), None)
    assert_type(services["shop.orders"], fastrpc.Client)
    assert_type(await services.bind(Arith).mul(6, 7), int)
    assert_type(services.with_options(timeout=1), fastrpc.Services)
    assert_type(services.with_options(timeout=1)["shop.orders"], fastrpc.Client)
    assert_type(services.stats(), dict[str, Any])
    async with services.stream(count, 3) as numbers:
        assert_type(await numbers.receive(), int)
    async with fastrpc.Services("consul://a", names={"a": "b"}, idle_seconds=None, selector=Random) as other:
        assert_type(other, fastrpc.Services)
    assert_type(blocking.call(Arith.mul, 6, 7), int)
    assert_type(blocking.call("shop.orders.get", "17"), Any)
    assert_type(blocking["shop.orders"], fastrpc.SyncClient)
    assert_type(blocking.bind(Clock).now(), datetime)
    assert_type(blocking.with_options(timeout=1), fastrpc.SyncServices)
    with fastrpc.SyncServices("consul://a", selector=lambda: LeastLoaded()) as same:
        assert_type(same, fastrpc.SyncServices)
    assert_type(await services.close(), None)
    assert_type(blocking.close(), None)
