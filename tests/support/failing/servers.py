"""Code of a server: handlers, interceptors, guards, values, sources."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Identity, ServerConfig, Status
from fastrpc.auth.verdict import Verdict
from fastrpc.testing import connected
from tests.support.failing.scenes import Fail, caught, check_answered, check_serves, scene
from tests.support.http_talk import HttpClient

PLAIN = ServerConfig()


@fastrpc.service("good")
class Good:
    @fastrpc.method
    async def double(self, number: int) -> int:
        return 2 * number


def bad(fail: Fail) -> Any:
    @fastrpc.service("bad")
    class Bad:
        @fastrpc.method
        async def at_once(self) -> int:
            fail()

        @fastrpc.method
        async def later(self) -> int:
            await asyncio.sleep(0)
            fail()

        @fastrpc.method(inline=True)
        def inline(self) -> int:
            fail()

        @fastrpc.method
        def threaded(self) -> int:
            fail()

        @fastrpc.method
        async def sum(self, numbers: AsyncIterator[int]) -> int:
            async for _ in numbers:
                fail()
            return 0

        @fastrpc.method
        async def count(self) -> AsyncIterator[int]:
            yield 1
            fail()

        @fastrpc.method
        def count_in_thread(self) -> Iterator[int]:
            yield 1
            fail()

    return Bad()


@scene
async def handlers(fail: Fail) -> None:
    async with connected(bad(fail), Good(), config=PLAIN) as client:
        for name in ("at_once", "later", "inline", "threaded"):
            await check_answered(client.call(f"bad.{name}"))
            await check_serves(client)


@scene
async def handlers_of_streams(fail: Fail) -> None:
    service = bad(fail)
    async with connected(service, Good(), config=PLAIN) as client:
        for method in (type(service).count, type(service).count_in_thread):

            async def read(method: Any = method) -> None:
                async with client.stream(method) as stream:
                    async for number in stream:
                        assert number == 1

            await check_answered(read())

        async def send() -> AsyncIterator[int]:
            yield 1

        await check_answered(client.call(type(service).sum, send()))
        await check_serves(client)


@scene
async def interceptors_of_a_server(fail: Fail) -> None:
    where = [""]

    async def watch(call: Any, proceed: Any) -> Any:
        if where[0] == "before" and call.method != "good.double":
            fail()
        result = await proceed(call)
        if call.method != "good.double":
            fail()
        return result

    @fastrpc.service("fine")
    class Fine:
        @fastrpc.method
        async def one(self) -> int:
            return 1

        @fastrpc.method
        def two(self) -> int:
            return 2

    async with connected(Fine(), Good(), interceptors=[watch], config=PLAIN) as client:
        for where[0] in ("before", "behind"):
            await check_answered(client.call("fine.one"))
            await check_answered(client.call("fine.two"))
            await check_serves(client)


@scene
async def functions_that_authenticate(fail: Fail) -> None:
    async def authenticate(peer: Any) -> Identity | None:
        if peer.credentials == "bad":
            fail()
        if peer.credentials == "later":
            await asyncio.sleep(0)
            fail()
        return Identity("ann")

    await _refused(authenticate)


@scene
async def authenticators(fail: Fail) -> None:
    class Own:
        def handles(self, peer: Any) -> bool:
            return peer.scheme == "bearer"

        def verify(self, peer: Any) -> Any:
            if peer.credentials == "bad":
                fail()
            return self.later() if peer.credentials == "later" else Verdict(Identity("ann"))

        async def later(self) -> Any:
            await asyncio.sleep(0)
            fail()

        def reload(self) -> None: ...

    await _refused(Own())


async def _refused(authenticate: Any) -> None:
    async with fastrpc.Server(Good, authenticate=authenticate) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        for token in ("bad", "later"):
            async with fastrpc.Client(address, credentials=token) as client:
                with pytest.raises(fastrpc.FastRPCError):
                    await client.with_options(timeout=5).call("good.double", 2)
        async with fastrpc.Client(address, credentials="good") as client:
            await check_serves(client)


@scene
async def functions_that_authorize(fail: Fail) -> None:
    def authorize(identity: Any, route: Any) -> bool:
        if route.method == "one":
            fail()
        return True

    @fastrpc.service("fine")
    class Fine:
        @fastrpc.method
        async def one(self) -> int:
            return 1

    async def authenticate(peer: Any) -> Identity:
        return Identity("ann")

    async with fastrpc.Server(Fine, Good, authenticate=authenticate, authorize=authorize) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        async with fastrpc.Client(address, credentials="ann") as client:
            with pytest.raises(CallError, match="could not be decided"):
                await client.call("fine.one")
            await check_serves(client)


@scene
async def functions_that_authorize_calls_with_credentials(fail: Fail) -> None:
    def authorize(identity: Any, route: Any) -> bool:
        if route.method == "one":
            fail()
        return True

    @fastrpc.service("fine")
    class Fine:
        @fastrpc.method
        async def one(self) -> int:
            return 1

    async def authenticate(peer: Any) -> Identity:
        await asyncio.sleep(0)
        return Identity("ann")

    config = ServerConfig(protocols=("native", "http"))
    async with fastrpc.Server(
        Fine, Good, authenticate=authenticate, authorize=authorize, config=config
    ) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with await HttpClient.to(address) as client:
            for name, body, status in (("fine/one", b"{}", 500), ("good/double", b'{"number": 4}', 200)):
                answer = await client.post(f"/{name}", body, authorization="Bearer ann")
                assert answer.status == status, answer


@scene
async def details_and_texts_of_errors(fail: Fail) -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            fail()

    class Odd:
        def __len__(self) -> int:
            fail()

        def __iter__(self) -> Any:
            fail()

    @fastrpc.service("odd")
    class Errors:
        @fastrpc.method
        async def text(self) -> int:
            raise OddError

        @fastrpc.method
        async def details(self) -> int:
            raise CallError(Status.NOT_FOUND, "no", details=Odd())

        @fastrpc.method
        async def metadata(self) -> int:
            fastrpc.current_call().reply_metadata = Odd()
            return 1

    async with connected(Errors(), Good(), config=ServerConfig(expose_errors=True)) as client:
        for name in ("text", "details", "metadata"):
            assert isinstance(await caught(client.call(f"odd.{name}")), CallError)
            await check_serves(client)


@scene
async def sources_of_a_server(fail: Fail) -> None:
    class Source(Good):
        async def __aenter__(self) -> Any:
            fail()

        async def __aexit__(self, *error: object) -> None: ...

    class Leaving(Good):
        async def __aenter__(self) -> Any:
            return self

        async def __aexit__(self, *error: object) -> None:
            fail()

    for source in (Source, Leaving):
        # They are entered and left in the task of the program.
        assert await caught(_entered(source())) is not None


async def _entered(source: Any) -> None:
    async with fastrpc.Server(source) as server:
        await server.listen("tcp://127.0.0.1:0")
