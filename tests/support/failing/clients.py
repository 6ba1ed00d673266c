"""Code of a client: credentials, selectors, fail modes, interceptors, values."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fastrpc
from fastrpc import Endpoint, FastRPCError
from fastrpc.selectors import RoundRobin
from fastrpc.testing import connected
from tests.support.failing.scenes import Fail, caught, check_serves, scene
from tests.support.failing.servers import PLAIN, Good
from tests.support.waiting import eventually


@scene
async def credentials_of_a_client(fail: Fail) -> None:
    is_bad = True

    async def at_once() -> str:
        if is_bad:
            fail()
        return "token"

    async def later() -> str:
        await asyncio.sleep(0)
        return await at_once()

    def plain() -> str:
        if is_bad:
            fail()
        return "token"

    async with fastrpc.Server(Good) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        for source in (at_once, later, plain):
            is_bad = True
            async with fastrpc.Client(address, credentials=source) as client:
                error = await caught(client.with_options(timeout=0.5).call("good.double", 2))
                assert isinstance(error, FastRPCError), repr(error)
                is_bad = False
                await client.ready(timeout=10)
                await check_serves(client)


@scene
async def credentials_of_a_blocking_client(fail: Fail) -> None:
    is_bad = True

    def plain() -> str:
        if is_bad:
            fail()
        return "token"

    def call(address: str) -> None:
        nonlocal is_bad
        with fastrpc.SyncClient(address, credentials=plain) as client:
            with contextlib.suppress(FastRPCError):
                client.with_options(timeout=0.5).call("good.double", 2)
            is_bad = False
            client.ready(timeout=10)
            assert client.call("good.double", 2) == 4

    async with fastrpc.Server(Good) as server:
        await asyncio.to_thread(call, str(await server.listen("tcp://127.0.0.1:0")))


class OwnSelector:
    def __init__(self, fail: Fail, where: str) -> None:
        self.fail, self.where = fail, where
        self.endpoints: Sequence[Endpoint] = ()
        self.steps: list[str] = []

    def step(self, name: str) -> None:
        self.steps.append(name)
        if name == self.where:
            self.fail()

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        self.step("update")
        self.endpoints = endpoints

    def pick(self, call: Any) -> Endpoint:
        self.step("pick")
        return self.endpoints[0]

    def observe(self, endpoint: Endpoint, seconds: float, error: Exception | None) -> None:
        self.step("observe")


@scene
async def selectors(fail: Fail) -> None:
    async with fastrpc.Server(Good) as server:
        addresses = [str(await server.listen("tcp://127.0.0.1:0")) for _ in range(2)]
        for where in ("update", "pick", "observe"):
            selector = OwnSelector(fail, where)
            try:
                async with fastrpc.Client(addresses, selector=selector) as client:
                    await caught(client.with_options(timeout=0.5).call("good.double", 2))
                    selector.where = ""
                    if where != "update":
                        await check_serves(client)
            except Exception:
                assert where == "update"
            assert where in selector.steps


@scene
async def filters(fail: Fail) -> None:
    is_bad = False
    calls = 0

    def narrow(endpoints: Sequence[Endpoint], is_healthy: Any) -> Sequence[Endpoint]:
        nonlocal calls
        calls += 1
        if is_bad:
            fail()
        return endpoints

    async with fastrpc.Server(Good) as server, fastrpc.Server(Good) as second:
        addresses = [str(await one.listen("tcp://127.0.0.1:0")) for one in (server, second)]
        async with fastrpc.Client(addresses, selector=RoundRobin(filters=[narrow])) as client:
            await client.ready(timeout=10)
            for _ in range(4):
                await check_serves(client)
            is_bad, before = True, calls
            await second.close()
            await eventually(lambda: calls > before)
            assert isinstance(await caught(client.call("good.double", 2)), Exception)
            is_bad = False
            await client.ready(timeout=10)
            await check_serves(client)


@scene
async def fail_modes(fail: Fail) -> None:
    class Mode:
        is_bad = True

        async def run(self, call: Any, pick: Any, attempt: Any) -> Any:
            if self.is_bad:
                fail()
            return await attempt(pick())

    mode = Mode()
    async with fastrpc.Server(Good) as server:
        addresses = [str(await server.listen("tcp://127.0.0.1:0")) for _ in range(2)]
        async with fastrpc.Client(addresses, fail_mode=mode) as client:
            assert await caught(client.call("good.double", 2)) is not None
            mode.is_bad = False
            await check_serves(client)


@scene
async def interceptors_of_a_client(fail: Fail) -> None:
    is_bad = True

    async def watch(call: Any, proceed: Any) -> Any:
        result = await proceed(call)
        if is_bad:
            fail()
        return result

    async with fastrpc.Server(Good) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        async with fastrpc.Client(address, interceptors=[watch]) as client:
            assert await caught(client.call("good.double", 2)) is not None
            is_bad = False
            await check_serves(client)


class Amount:
    """A type of a program, whose functions raise on demand."""

    def __init__(self, number: int) -> None:
        self.number = number


state: dict[str, Any] = {}


def encode(amount: Amount) -> int:
    if amount.number == state.get("encode"):
        state["fail"]()
    return amount.number


def decode(number: Any) -> Amount:
    if number == state.get("decode"):
        state["fail"]()
    return Amount(number)


fastrpc.types.register(Amount, encode=encode, decode=decode)


@dataclass
class Checked:
    number: int

    def __post_init__(self) -> None:
        if self.number == state.get("check"):
            state["fail"]()


@fastrpc.service("values")
class Values:
    @fastrpc.method
    async def take(self, amount: Amount) -> int:
        return amount.number

    @fastrpc.method
    async def give(self, number: int) -> Amount:
        return Amount(number)

    @fastrpc.method
    async def check(self, value: Checked) -> int:
        return value.number

    @fastrpc.method
    async def echo(self, amount: Amount) -> Amount:
        return amount


@scene
async def registered_types(fail: Fail) -> None:
    state.update(fail=fail, encode=None, decode=None, check=None)
    async with connected(Values(), Good(), config=PLAIN) as client:
        state["encode"] = 1
        await caught(client.call("values.give", 1))
        await caught(client.call(Values.take, Amount(1)))
        await check_serves(client)
        state["encode"], state["decode"] = None, 1
        await caught(client.call("values.take", 1))
        await caught(client.call(Values.give, 1))
        await check_serves(client)
        state["decode"], state["check"] = None, 1
        await caught(client.call("values.check", {"number": 1}))
        await check_serves(client)
        state["check"] = None
        assert (await client.call(Values.echo, Amount(1))).number == 1
    state.clear()
