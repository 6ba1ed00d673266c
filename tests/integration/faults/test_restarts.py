"""Servers that leave, are killed and come back, while calls continue."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Backoff, Client, ClientConfig, Server, ServerConfig, Timeouts
from tests.support.ledger import Journal, Ledger
from tests.support.noted import Noted
from tests.support.program import Program
from tests.support.served import served
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]
QUICK = Backoff(first=0.01, longest=0.05)


@contextlib.contextmanager
def server_process(journal: Path) -> Iterator[tuple[Program, str]]:
    """Run a server of `Noted` in a separate process; yield it and its address."""
    arguments = ["-m", "tests.support.noted", str(journal)]
    with Program(arguments, ROOT) as program:
        yield program, program.wait_output(r"^tcp://\S+$").group()


@contextlib.asynccontextmanager
async def callers(
    client: Client, ledger: Ledger, methods: tuple[Any, ...], count: int
) -> AsyncIterator[Callable[[], int]]:
    """Keep calls running inside the block; yield the counter of ended calls."""
    is_over = asyncio.Event()

    async def caller(number: int) -> None:
        while not is_over.is_set():
            method = methods[(number + len(ledger.entries)) % len(methods)]
            entry = ledger.begin(idempotent=method is Noted.again, timeout=5)
            await ledger.run(entry, client.call(method, entry.nonce))

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(caller(number))
        try:
            yield lambda: ledger.ended
        finally:
            is_over.set()


def failures(ledger: Ledger) -> list[BaseException]:
    """Return the errors of all calls."""
    return [end for entry in ledger.entries for _, end in entry.ends if isinstance(end, BaseException)]


@pytest.mark.parametrize("scheme", ["tcp", "unix", "memory"])
async def test_a_rolling_restart_under_load_fails_no_call(scheme: str, scale: Any) -> None:
    journal, ledger = Journal(), Ledger()
    async with contextlib.AsyncExitStack() as stack:
        targets = [await stack.enter_async_context(served(Noted(journal), scheme=scheme)) for _ in range(2)]
        servers = [target.server for target in targets]
        client = await stack.enter_async_context(
            Client(list(targets), config=ClientConfig(backoff=QUICK, early_calls="all"))
        )
        await client.ready()
        async with callers(client, ledger, (Noted.once, Noted.again, Noted.at_once), 30) as ended:
            for round_number in range(scale(4)):
                index = round_number % 2
                enough = ended() + 300
                assert await servers[index].drain() is True
                servers[index] = await stack.enter_async_context(Server(Noted(journal)))
                await servers[index].listen(targets[index])
                await eventually(lambda: len(client._pool.connections) == 2)
                await eventually(lambda: ended() > enough)  # noqa: B023 - awaited at once
    assert failures(ledger) == []
    assert ledger.problems(journal) == []


async def test_a_single_server_may_be_restarted_for_callers_that_wait(scale: Any) -> None:
    journal, ledger = Journal(), Ledger()
    server = await Server(Noted(journal)).__aenter__()
    target = await server.listen("tcp://127.0.0.1:0")
    async with Client(str(target), config=ClientConfig(backoff=QUICK)) as client:
        async with callers(
            client.with_options(wait_for_ready=True), ledger, (Noted.once, Noted.again), 20
        ) as ended:
            for _ in range(scale(3)):
                enough = ended() + 200
                await eventually(lambda: ended() > enough)  # noqa: B023 - awaited at once
                await server.drain()
                server = await Server(Noted(journal)).__aenter__()
                await server.listen(target)
            enough = ended() + 200
            await eventually(lambda: ended() > enough)
    await server.drain()
    assert failures(ledger) == []
    assert ledger.problems(journal) == []


async def test_calls_at_the_end_of_a_drain_are_answered() -> None:
    journal = Journal()
    config = ServerConfig(timeouts=Timeouts(drain=0.1))
    async with served(Noted(journal), scheme="tcp", config=config) as target, Client(target) as client:
        call = asyncio.create_task(client.call(Noted.never, b"nonce"))
        await eventually(lambda: journal.running())
        assert await target.server.drain() is False
        with pytest.raises(fastrpc.CallError) as failed:
            await call
        assert failed.value.status is fastrpc.Status.UNAVAILABLE
        assert failed.value.processed == "yes"
        assert "Timeouts.drain" in str(failed.value)
        await eventually(lambda: not journal.running())


async def test_a_drain_does_not_wait_for_a_connection_that_never_opens() -> None:
    async with served(Noted(Journal()), scheme="tcp") as target:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        await eventually(lambda: target.server.stats()["live"]["connections"] == 1)
        async with asyncio.timeout(5):
            assert await target.server.drain() is True
        writer.close()


async def test_killing_a_server_fails_no_idempotent_call(tmp_path: Path, scale: Any) -> None:
    paths = tmp_path / "first", tmp_path / "second"
    ledger = Ledger()
    with server_process(paths[0]) as (first, first_address), server_process(paths[1]) as (_, second_address):
        async with Client([first_address, second_address]) as client:
            await client.ready()
            await eventually(lambda: len(client._pool.connections) == 2)
            # Handlers that never end, so that some are surely under way on the one that is killed.
            view = client.with_options(timeout=None, idempotent=False)
            entries = [ledger.begin() for _ in range(50)]
            stuck = [
                asyncio.create_task(ledger.run(entry, view.call(Noted.never, entry.nonce)))
                for entry in entries
            ]
            count = scale(1_000)
            answered = 0

            async def caller() -> None:
                nonlocal answered
                while answered < count:
                    entry = ledger.begin(idempotent=True, timeout=5)
                    await ledger.run(entry, client.call(Noted.again, entry.nonce))
                    answered += 1
                    if answered == count // 4:
                        first.signal(9)

            await asyncio.gather(*(caller() for _ in range(64)))
            lost = [task for task in stuck if task.done()]
            assert len(lost) >= 20
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
    idempotent = [entry for entry in ledger.entries if entry.idempotent]
    assert len(idempotent) >= count
    assert [entry.ends for entry in idempotent if not isinstance(entry.ends[0][1], bytes)] == []
    assert {getattr(task.result(), "processed", None) for task in lost} == {"unknown"}
    assert ledger.problems(*map(Journal.read, paths)) == []


async def test_a_killed_server_that_returns_gets_calls_again(tmp_path: Path) -> None:
    with server_process(tmp_path / "one") as (program, address):
        async with Client(address, config=ClientConfig(backoff=QUICK)) as client:
            assert await client.call(Noted.again, b"\x00") == b"\x00"
            program.signal(9)
            await asyncio.to_thread(program.wait)
            await eventually(lambda: not client._pool.connections)
            with pytest.raises(fastrpc.ConnectError) as failed:
                await client.call(Noted.again, b"\x00")
            assert failed.value.processed == "no"
            async with Server(Noted(Journal())) as server:
                await server.listen(address)
                assert await client.with_options(wait_for_ready=True).call(Noted.again, b"\x01") == b"\x01"


async def test_calls_go_to_several_addresses_by_turns() -> None:
    journals = [Journal(), Journal(), Journal()]
    async with contextlib.AsyncExitStack() as stack:
        targets = [
            await stack.enter_async_context(served(Noted(journal), scheme="tcp")) for journal in journals
        ]
        client = await stack.enter_async_context(Client(list(targets)))
        await client.ready()
        await eventually(lambda: len(client._pool.connections) == 3)
        for number in range(30):
            await client.call(Noted.once, bytes([0, number]))
        assert [len(journal.starts()) for journal in journals] == [10, 10, 10]
        await targets[1].server.close()
        for number in range(30, 60):
            await client.call(Noted.once, bytes([0, number]))
        assert [len(journal.starts()) for journal in journals] == [25, 10, 25]
