"""Several loops and threads in one process."""

import asyncio
import gc
import logging
import re
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvloop

import fastrpc
from fastrpc import Client, Server, SyncClient
from fastrpc.testing import serving


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method
    async def later(self, a: int) -> int:
        await asyncio.sleep(0)
        return a

    @fastrpc.method
    def in_thread(self, a: int) -> int:
        return a


Run = Callable[[Coroutine[Any, Any, Any]], Any]
FACTORIES = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=list(FACTORIES))
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine in a new loop of each kind."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=FACTORIES[request.param]) as runner:
            return runner.run(coroutine)

    return run


def test_a_client_used_from_another_loop_fails_naming_both(run: Run) -> None:
    def in_other_thread(use: Callable[[], Coroutine[Any, Any, Any]]) -> RuntimeError:
        async def using() -> None:
            await use()

        with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError) as failed:
            pool.submit(run, using()).result()
        return failed.value

    async def main(target: str) -> None:
        async with Client(target) as client:
            await client.call(Arith.mul, 6, 7)
            for use in (
                lambda: client.call(Arith.mul, 1, 1),
                lambda: client.with_options(timeout=1).call(Arith.mul, 1, 1),
                lambda: client.notify(Arith.mul, 1, 1),
                lambda: client.call_many(Arith.mul, [(1, 1)]),
                client.ready,
                client.close,
            ):
                error = await asyncio.to_thread(in_other_thread, use)
                assert repr(asyncio.get_running_loop()) in str(error)
                loops = re.findall(r"<[^>]*> at (0x[0-9a-f]+)", str(error))
                assert len(set(loops)) == 2, error
                assert loops[0] == hex(id(asyncio.get_running_loop()))
                assert "make one for each loop" in str(error)
            assert await client.call(Arith.mul, 6, 7) == 42

    with serving(Arith) as target:
        run(main(target))


def test_a_client_whose_loop_ended_fails_in_the_next_one_and_can_be_closed(run: Run) -> None:
    async def first() -> None:
        async with Client(target) as opened:
            await opened.call(Arith.mul, 6, 7)

    async def second(client: Client) -> None:
        with pytest.raises(RuntimeError, match="belongs to"):
            await client.call(Arith.mul, 6, 7)
        await client.close()
        await client.close()

    async def use(client: Client) -> None:
        await client.call(Arith.mul, 6, 7)

    with serving(Arith) as target:
        run(first())
        client = Client(target)
        # uvloop warns of an open socket when the loop is closed, asyncio when the socket is collected.
        with pytest.warns(ResourceWarning):
            run(use(client))
            run(second(client))
            del client
            gc.collect()


def test_a_server_used_from_another_loop_fails_naming_both(run: Run) -> None:
    server = Server(Arith)

    async def first() -> None:
        await server.listen("memory://of-the-first-loop")
        with ThreadPoolExecutor(1) as pool:
            other = asyncio.wrap_future(pool.submit(run, second()))
            with pytest.raises(
                RuntimeError, match=r"(?i)this Server belongs to .*loop.* was used from .*loop"
            ):
                await other
        await server.close()

    async def second() -> None:
        await server.listen("memory://of-the-second-loop")

    run(first())


def test_outside_a_loop_the_error_names_the_blocking_client() -> None:
    client = Client("memory://anywhere")
    call = client.call(Arith.mul, 1, 1)
    with pytest.raises(RuntimeError, match="SyncClient"):
        call.send(None)


@pytest.mark.parametrize("scheme", ["tcp", "unix", "memory"])
@pytest.mark.parametrize("loops", ["asyncio", "uvloop"])
def test_four_threads_with_a_loop_each_call_without_one_error(
    scheme: str, loops: str, tmp_path: Any, caplog: pytest.LogCaptureFixture, scale: Any
) -> None:
    address = {
        "tcp": "tcp://127.0.0.1:0",
        "unix": f"unix://{tmp_path / 's'}",
        "memory": "memory://four-threads",
    }[scheme]
    count = scale(2_000)

    async def calls(target: str) -> int:
        done = 0
        async with Client(target) as client:
            for start in range(0, count, 50):
                batch = [client.call(Arith.mul, n, 2) for n in range(start, start + 40)]
                batch += [client.call(Arith.later, n * 2) for n in range(start + 40, start + 49)]
                batch += [client.call(Arith.in_thread, (start + 49) * 2)]
                assert await asyncio.gather(*batch) == [2 * n for n in range(start, start + 50)]
                done += len(batch)
        return done

    def thread(target: str) -> int:
        with asyncio.Runner(loop_factory=FACTORIES[loops]) as runner:
            return runner.run(calls(target))

    with (
        caplog.at_level(logging.WARNING),
        serving(Arith, address=address) as target,
        ThreadPoolExecutor(4) as pool,
    ):
        assert list(pool.map(thread, [target] * 4)) == [count] * 4
    assert caplog.records == []


def test_threads_share_a_blocking_client_next_to_loops() -> None:
    results: list[int] = []
    with serving(Arith) as target, SyncClient(target) as client:

        def work(number: int) -> None:
            results.extend(client.call(Arith.mul, number, n) - number * n for n in range(100))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [0] * 400


def test_servers_in_two_loops_call_each_other(run: Run) -> None:
    @fastrpc.service("relay")
    class Relay:
        def __init__(self, target: str) -> None:
            self.client = Client(target)

        async def __aenter__(self) -> "Relay":
            return self

        async def __aexit__(self, *error: object) -> None:
            await self.client.close()

        @fastrpc.method
        async def mul(self, a: int, b: int) -> int:
            return await self.client.call(Arith.mul, a, b)

    async def main(target: str) -> list[int]:
        async with Client(target) as client:
            return await client.call_many(Relay.mul, [(n, 3) for n in range(100)])

    with (
        serving(Arith, address="memory://inner") as inner,
        serving(Relay(inner), address="memory://outer") as outer,
    ):
        assert run(main(outer)) == [3 * n for n in range(100)]


async def test_each_test_of_this_folder_runs_on_the_loop_it_is_named_after(
    request: pytest.FixtureRequest,
) -> None:
    wanted = "uvloop" if "uvloop" in request.node.name else "asyncio"
    assert "asyncio" in request.node.name or wanted == "uvloop"
    assert type(asyncio.get_running_loop()).__module__.partition(".")[0] == wanted
