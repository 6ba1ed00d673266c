"""Python's words for the other kind of object: streams awaited, calls printed, aliases that name themselves."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any, Union

import pytest

import fastrpc
from fastrpc import App, Client, ConfigError, Server, ServerConfig, SyncClient
from fastrpc.testing import ConnectedFixture, connected, serving
from tests.support.either_client import CLIENTS, either

pytestmark = pytest.mark.one_loop

NOWHERE = "tcp://127.0.0.1:9"


@fastrpc.service("feed")
class Feed:
    @fastrpc.method
    async def mul(self, a: int, b: int = 2) -> int:
        return a * b

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    @fastrpc.method
    async def add(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])


async def awaited(stream: Any) -> None:
    await stream


async def entered(stream: Any) -> None:
    with stream:
        pass


async def looped(stream: Any) -> None:
    for _ in stream:
        pass


async def listed(stream: Any) -> None:
    list(stream)


@pytest.mark.parametrize("use", [awaited, entered, looped, listed])
async def test_a_stream_used_as_another_object_shows_its_right_use(use: Callable[[Any], Any]) -> None:
    async with connected(Feed()) as client:
        for stream in (client.stream(Feed.count, 3), client.open(Feed.add)):
            with pytest.raises(TypeError, match=r"^feed\.\w+: .*`async with`.*`async for`"):
                await use(stream)
            await stream.aclose()
        async with client.stream(Feed.count, 3) as numbers:
            assert [number async for number in numbers] == [0, 1, 2]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_open_with_the_stream_among_its_arguments_says_how_to_give_it(kind: str) -> None:
    async with either(kind, Feed) as client:
        told = r"open\(\) .* feed\.add without its stream 'numbers': .*client\.call"
        with pytest.raises(TypeError, match=told):
            client.open(Feed.add, [1])
        with pytest.raises(TypeError, match=told):
            client.open(Feed.add, numbers=[1])


async def test_a_stream_of_a_blocking_client_is_not_awaited() -> None:
    with serving(Feed) as address, SyncClient(address) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with client.stream(Feed.count, 3) as numbers:
            with pytest.raises(TypeError, match="is read by `for`"):
                await numbers  # type: ignore[misc]
            assert list(numbers) == [0, 1, 2]


async def test_the_text_of_a_call_names_its_method_and_state() -> None:
    async with connected(Feed()) as client:
        call, batch = client.call(Feed.mul, 6, 7), client.call_many(Feed.mul, [(1, 1)])
        assert repr(call) == "<ClientCall of feed.mul, not awaited>"
        assert repr(batch) == "<BatchCall of feed.mul, not awaited>"
        assert (await call, await batch) == (42, [1])
        assert repr(call) == "<ClientCall of feed.mul, over>"
        late = client.request(Feed.mul, 6, 7)
        late.close()
        assert repr(late) == "<ClientCall of feed.mul, over>"


async def test_a_fixture_that_is_not_entered_shows_its_right_use(fastrpc_connected: ConnectedFixture) -> None:
    connecting: Any = fastrpc_connected(Feed())
    with pytest.raises(AttributeError, match=r"no 'call'.*async with fastrpc_connected.*await"):
        connecting.call(Feed.mul, 6, 7)
    with pytest.raises(TypeError, match=r"`async with fastrpc_connected"), connecting:
        pass
    client = await connecting
    assert await client.call(Feed.mul, 6, 7) == 42
    with pytest.raises(RuntimeError, match=r"connected already; call fastrpc_connected\(…\) again"):
        await connecting
    assert await client.call(Feed.mul, 6, 7) == 42


Tree = Union[dict[str, "Tree"], int]  # noqa: UP007 (a text has no |)


async def test_a_type_alias_that_names_itself_is_reported_as_one() -> None:
    @fastrpc.service("trees")
    class Trees:
        @fastrpc.method
        async def put(self, tree: Tree) -> None: ...

    with pytest.raises(ConfigError, match=r"'tree'.*alias 'Tree' names itself") as caught:
        async with connected(Trees()):
            pass
    assert caught.value.hint is not None
    assert "make it a class" in caught.value.hint


async def test_no_config_is_the_default_one() -> None:
    assert App([Feed], config=None) == App([Feed])
    assert App([Feed], config=None).config == ServerConfig()
    async with Server(Feed, config=None) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(address, config=None) as client:
            assert await client.call(Feed.mul, 6, 7) == 42
    with serving(Feed) as address, SyncClient(address, config=None) as blocking:
        assert await asyncio.to_thread(blocking.call, Feed.mul, 6, 7) == 42
    for make in (
        lambda config: Server(Feed, config=config),
        lambda config: App([Feed], config=config),
        lambda config: Client(NOWHERE, config=config),
        lambda config: SyncClient(NOWHERE, config=config),
    ):
        with pytest.raises(ConfigError, match="config is a int, it must be a"):
            make(3)


class Holder:
    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "default", [[], {}, set(), bytearray(), Holder()], ids=lambda one: type(one).__name__
)
def test_a_default_that_calls_share_is_warned_of_at_its_line(default: Any) -> None:
    def put(self: Any, value: Any = default) -> None: ...

    with pytest.warns(UserWarning, match=rf"'value' is one {type(default).__name__} for all calls") as noted:
        fastrpc.method(put)
    (only,) = noted
    assert (only.filename, only.lineno) == (__file__, put.__code__.co_firstlineno)


@pytest.mark.parametrize("default", [None, (), "", 0, frozenset()], ids=repr)
def test_other_defaults_are_not_warned_of(default: Any) -> None:
    def put(self: Any, value: Any = default) -> None: ...

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastrpc.method(put)
