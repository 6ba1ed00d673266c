"""Keys go where rpcx for Go, v1.9.4, sends them: from the first call on, and after each change of the list."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

import fastrpc
from fastrpc import ClientConfig, Server, ServerConfig, SyncClient, Timeouts
from fastrpc.registries import StaticRegistry
from tests.support.either_client import CLIENTS, Stepped
from tests.support.keyed import fresh
from tests.support.ports import free_ports
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.one_loop,
    pytest.mark.parametrize("selector", ["double_jump", "jump_hash"]),
    pytest.mark.parametrize("kind", CLIENTS),
]

KEYS = [key for number in range(100) for key in (number, f"user-{number}")]


@fastrpc.service("Keys")
class Keys:
    def __init__(self, target: str) -> None:
        self.target = target

    @fastrpc.method
    async def Where(self, key: int | str) -> str:
        return self.target


@contextlib.asynccontextmanager
async def keys_served(count: int) -> AsyncIterator[list[str]]:
    """Serve at addresses, which are in the order of their text."""
    async with contextlib.AsyncExitStack() as stack:
        targets = sorted(f"tcp://127.0.0.1:{port}" for port in free_ports(count))
        for target in targets:
            server = Server(Keys(target), config=ServerConfig(protocols=("native", "rpcx")))
            await (await stack.enter_async_context(server)).listen(target)
        yield targets


async def places_of_go(program: str, selector: str, lists: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Return where rpcx for Go sends each key after each of these lists."""
    steps = ";".join(",".join(target.removeprefix("tcp://") for target in each) for each in lists)
    process = await asyncio.create_subprocess_exec(
        program, "keys", steps, selector, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    assert process.returncode == 0
    found: list[dict[str, str]] = json.loads(output)
    return found


async def placed(client: Any) -> dict[str, str]:
    """Return the server that answers each key."""
    if isinstance(client, Stepped):
        blocking: SyncClient = client.client
        return await asyncio.to_thread(
            lambda: {str(key): str(blocking.call(Keys.Where, key)) for key in KEYS}
        )
    return {str(key): await client.call(Keys.Where, key) for key in KEYS}


@pytest.mark.parametrize("wire", ["native", "rpcx"])
async def test_keys_of_a_new_client_go_where_go_sends_them(
    kind: str, selector: str, wire: str, go_rpcx: str
) -> None:
    # Go takes several new servers of one list in a random order, so it gets them one by one.
    async with keys_served(4) as targets:
        expected = (await places_of_go(go_rpcx, selector, [targets[: n + 1] for n in range(4)]))[-1]
        assert set(expected.values()) == set(targets)
        config = ClientConfig(wire_protocol=wire, timeouts=Timeouts(connect=20.0, call=40.0))
        async with fresh(kind, targets[::-1], selector=selector, config=config) as client:
            assert await placed(client) == expected
        for key in KEYS[:40]:
            async with fresh(kind, targets, selector=selector, config=config) as client:
                assert await client.call(Keys.Where, key) == expected[str(key)]


async def test_keys_go_where_go_sends_them_after_each_change_of_the_list(
    kind: str, selector: str, go_rpcx: str
) -> None:
    async with keys_served(6) as targets:
        a, b, c, d, e, f = targets
        lists = [[a], [a, b], [a, b, c], [a, b, c, d], [a, c, d], [a, c, d, f], [c, d, f], [c, d, e, f]]
        expected = await places_of_go(go_rpcx, selector, lists)
        registry = StaticRegistry({"Keys": lists[0]})
        config = ClientConfig(timeouts=Timeouts(connect=20.0, call=40.0))
        async with fresh(kind, "Keys", registry=registry, selector=selector, config=config) as client:
            for listed, places in zip(lists, expected, strict=True):
                registry.update("Keys", listed)
                if kind == "async":
                    await eventually(lambda: len(client._pool.subchannels) == len(listed))  # noqa: B023
                assert await placed(client) == places
