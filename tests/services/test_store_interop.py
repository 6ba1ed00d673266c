"""The commands of etcd and Consul next to our stores: locks and elections exclude each other, values are equal."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc import LockHeldError
from fastrpc.coordination import Holder, Store, open_store
from fastrpc.coordination.locks import Lock
from tests.support.registry_servers import ConsulAgent, EtcdServer

pytestmark = pytest.mark.one_loop


@asynccontextmanager
async def command(arguments: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command that ends when it is interrupted."""
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(30):
            yield process
            process.send_signal(signal.SIGINT)
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().rstrip("\n")


async def contended(store: Store, name: str, *, election: bool) -> Holder:
    """Wait until another one waits for a lock or an election, and return its holder."""
    while True:
        found = await (store.leader(name) if election else store.holder(name))
        if found is not None and found.waiting:
            return found
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("is_election", [False, True])
async def test_etcdctl_and_ours_exclude_each_other(etcd: EtcdServer, etcdctl: str, is_election: bool) -> None:
    folder, verb = ("leaders", "elect") if is_election else ("locks", "lock")
    name = f"interop-{verb}"
    theirs = [etcdctl, f"--endpoints=127.0.0.1:{etcd.port}", verb, f"{folder}/{name}"]

    def ours(store: Store, **options: Any) -> Lock:
        return store.lead(name, "ours") if is_election else store.lock(name, value="ours", **options)

    async with open_store(etcd.url) as store:
        async with ours(store) as lock, command([*theirs, "theirs"] if is_election else theirs) as process:
            holder = await contended(store, name, election=is_election)
            assert (holder.value, holder.token) == ("ours", lock.token)
            await lock.release()
            key = await line(process)
            assert key.startswith(f"{folder}/{name}/")
            item = await store.get(key)
            assert item is not None
            assert item.created > lock.token
            if is_election:
                leader = await store.leader(name)
                assert leader is not None
                assert (leader.value, leader.token) == ("theirs", item.created)
            else:
                with pytest.raises(LockHeldError):
                    await ours(store, wait=0).__aenter__()
            waiting = asyncio.create_task(entered(ours(store)))
            await contended(store, name, election=is_election)
            assert not waiting.done()
        assert await waiting > item.created


async def entered(lock: Lock) -> int:
    """Hold a lock once, and return its token."""
    async with lock:
        return lock.token


async def test_etcdctl_names_our_leader(etcd: EtcdServer, etcdctl: str) -> None:
    listening = [etcdctl, f"--endpoints=127.0.0.1:{etcd.port}", "elect", "-l", "leaders/interop-listen"]
    async with open_store(etcd.url) as store, store.lead("interop-listen", "ours"):
        async with command(listening) as process:
            assert (await line(process)).startswith("leaders/interop-listen/")
            assert await line(process) == "ours"


@pytest.mark.parametrize("kind", ["etcd", "consul"])
async def test_value_of_another_command_is_read_and_watched(
    kind: str, request: pytest.FixtureRequest
) -> None:
    server: EtcdServer | ConsulAgent = request.getfixturevalue(kind)
    if isinstance(server, ConsulAgent):
        put = [request.getfixturevalue("consul_path"), "kv", "put", f"-http-addr=127.0.0.1:{server.port}"]
    else:
        put = [request.getfixturevalue("etcdctl"), f"--endpoints=127.0.0.1:{server.port}", "put"]
    async with open_store(server.url) as store, store.watch("interop/") as changes:
        process = await asyncio.create_subprocess_exec(
            *put, "interop/value", "theirs", stdout=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() == 0
        async with asyncio.timeout(10):
            change = await anext(changes)
        assert change.item is not None
        assert (change.key, change.item.value) == ("interop/value", b"theirs")
        assert await store.get("interop/value") == change.item
