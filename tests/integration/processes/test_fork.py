"""Clients and servers before and after a fork."""

import asyncio
import gc
import os
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

import fastrpc
from fastrpc import Client, Server, SyncClient
from fastrpc.testing import serving
from tests.support.forking import in_child

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

USED = "was used before the fork; create it in the child"


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b


Run = Callable[[Any], Any]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine in a new loop of each kind."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def run(coroutine: Any) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(coroutine)

    return run


async def one_call(client: Client) -> None:
    async with client:
        assert await client.call(Arith.mul, 6, 7) == 42


def test_a_client_that_was_not_used_works_in_the_child_and_in_the_parent(run: Run) -> None:
    with serving(Arith) as target:
        client = Client(target)
        view = client.with_options(timeout=2)
        in_child(lambda: run(one_call(client)))
        assert view.codec == "msgpack"
        run(one_call(client))


def test_a_client_that_was_used_refuses_in_the_child_and_continues_in_the_parent(run: Run) -> None:
    async def refused(client: Client) -> None:
        view = client.with_options(timeout=1)
        for use in (
            lambda: client.call(Arith.mul, 1, 1),
            lambda: client.request(Arith.mul, 1, 1),
            lambda: client.notify(Arith.mul, 1, 1),
            lambda: client.call_many(Arith.mul, [(1, 1)]),
            lambda: view.call(Arith.mul, 1, 1),
            client.ready,
            client.__aenter__,
        ):
            with pytest.raises(RuntimeError, match=USED):
                await use()
        await client.close()
        await client.__aexit__(None, None, None)

    async def main(target: str) -> None:
        async with Client(target) as client:
            assert await client.call(Arith.mul, 6, 7) == 42
            in_child(lambda: run(refused(client)))
            session = client._pool.connections[0]
            assert await client.call(Arith.mul, 2, 3) == 6
            assert client._pool.connections == [session]

    with serving(Arith) as target:
        run(main(target))


def test_a_fork_inside_the_loop_is_named_where_no_loop_runs_in_the_child(run: Run) -> None:
    async def main(target: str) -> None:
        async with Client(target) as client, Server(Arith()) as server:
            await client.call(Arith.mul, 6, 7)
            await server.listen("tcp://127.0.0.1:0")
            uses: list[Callable[[], Any]] = [
                lambda: client.call(Arith.mul, 1, 1),
                client.ready,
                server.drain,
                lambda: server.listen("tcp://127.0.0.1:0"),
            ]

            def refused() -> None:
                for use in uses:
                    with pytest.raises(RuntimeError, match=USED):
                        use().__await__().send(None)

            in_child(refused)

    with serving(Arith) as target:
        run(main(target))


def test_the_child_may_drop_objects_that_it_must_not_use(run: Run) -> None:
    async def main(target: str) -> None:
        held = [Client(target)]
        await held[0].call(Arith.mul, 6, 7)

        def drop() -> None:
            held.clear()
            gc.collect()

        in_child(drop)
        assert await held[0].call(Arith.mul, 2, 3) == 6
        await held[0].close()

    with serving(Arith) as target:
        run(main(target))


def test_a_sync_client_that_was_not_used_works_in_the_child_and_in_the_parent() -> None:
    def works() -> None:
        assert client.call(Arith.mul, 6, 7) == 42
        client.close()

    with serving(Arith) as target:
        client = SyncClient(target)
        in_child(works)
        works()


async def serve_one_call(server: Server, name: str) -> None:
    async with server:
        await one_call(Client(str(await server.listen(name))))


def test_the_child_may_drop_a_sync_client_that_the_parent_uses() -> None:
    def drop() -> None:
        nonlocal client
        del client
        gc.collect()

    with serving(Arith) as target:
        client = SyncClient(target)
        assert client.call(Arith.mul, 6, 7) == 42
        in_child(drop)
        assert client.request(Arith.mul, 2, 3).attempts == 1
        assert client.stats()["live"]["connections"] == 1
        client.close()


def test_a_server_that_was_not_used_works_in_the_child_and_in_the_parent(run: Run) -> None:
    server = Server(Arith)
    in_child(lambda: run(serve_one_call(server, "tcp://127.0.0.1:0")))
    run(serve_one_call(server, "tcp://127.0.0.1:0"))


def test_a_server_that_was_used_refuses_in_the_child_and_continues_in_the_parent(run: Run) -> None:
    async def refused(server: Server) -> None:
        for use in (
            lambda: server.listen("tcp://127.0.0.1:0"),
            server.serve_forever,
            server.drain,
            server.__aenter__,
        ):
            with pytest.raises(RuntimeError, match=USED):
                await use()
        await server.close()
        await server.__aexit__(None, None, None)

    async def main() -> None:
        async with Server(Arith) as server:
            target = str(await server.listen("tcp://127.0.0.1:0"))
            async with Client(target) as client:
                await client.call(Arith.mul, 1, 1)
                in_child(lambda: run(refused(server)))
                assert await client.call(Arith.mul, 2, 3) == 6
            await one_call(Client(target))

    run(main())


def test_a_child_may_have_separate_clients_and_servers(run: Run) -> None:
    async def main(target: str) -> None:
        async with Client(target) as client:
            await client.call(Arith.mul, 1, 1)
            in_child(lambda: run(one_call(Client(target))))
            in_child(lambda: run(serve_one_call(Server(Arith), "memory://of-the-child")))
            assert await client.call(Arith.mul, 2, 3) == 6

    with serving(Arith) as target:
        run(main(target))
