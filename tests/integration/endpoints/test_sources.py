"""Where services come from, and in which order they are made, entered and left."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest

import fastrpc
from fastrpc import Client, ConfigError, Server
from fastrpc.testing import connected
from tests.support.served import served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


def named(name: str) -> Any:
    """Return a new service class with one method that says its name."""

    @fastrpc.service(name)
    class Named:
        @fastrpc.method
        async def name(self) -> str:
            return name

    return Named


async def answers(client: Client, *names: str) -> list[str]:
    return [await client.call(f"{name}.name") for name in names]


async def test_instances_classes_functions_and_lists_are_sources() -> None:
    sources = (
        named("a")(),
        named("b"),
        lambda: named("c")(),
        [named("d"), lambda: [named("e"), named("f")()]],
    )
    async with connected(*sources) as client:
        assert await answers(client, *"abcdef") == list("abcdef")


async def test_functions_may_be_async_and_context_managers() -> None:
    async def made() -> Any:
        await asyncio.sleep(0)
        return [named("a")]

    @contextlib.asynccontextmanager
    async def entered() -> AsyncIterator[list[Any]]:
        yield [named("b")(), named("c")]

    async with connected(made, entered) as client:
        assert await answers(client, *"abc") == list("abc")


async def test_classes_and_functions_run_on_the_servers_loop_when_it_starts() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    @fastrpc.service("a")
    class Noting:
        def __init__(self) -> None:
            loops.append(asyncio.get_running_loop())

        @fastrpc.method
        async def name(self) -> str:
            return "a"

    server = Server(Noting)
    assert loops == []
    async with server:
        assert loops == [asyncio.get_running_loop()]
        await server.listen("memory://sources-loop")
        await server.listen("memory://sources-loop-2")
        assert len(loops) == 1


def noting(log: list[str], name: str) -> Any:
    @fastrpc.service(name)
    class Entered:
        async def __aenter__(self) -> Self:
            log.append(f"enter {name}")
            return self

        async def __aexit__(self, *error: object) -> None:
            log.append(f"leave {name}")

        @fastrpc.method
        async def hold(self, started: bool = True) -> None:
            log.append(f"start {name}")
            await fastrpc.current_call().draining
            log.append(f"end {name}")

    return Entered


async def test_sources_are_entered_before_listening_and_left_in_reverse_after_draining() -> None:
    log: list[str] = []

    @contextlib.asynccontextmanager
    async def database() -> AsyncIterator[list[Any]]:
        log.append("open database")
        yield [noting(log, "inner")()]
        log.append("close database")

    async with Server(noting(log, "first")(), database, noting(log, "last")) as server:
        assert log == ["enter first", "open database", "enter inner", "enter last"]
        address = await server.listen("memory://sources-order")
        client = Client(str(address))
        await client.ready()
        call = asyncio.ensure_future(client.call("inner.hold"))
        await eventually(lambda: "start inner" in log)
    await call
    await client.close()
    assert log[4:] == [
        "start inner",
        "end inner",
        "leave last",
        "leave inner",
        "close database",
        "leave first",
    ]


async def test_a_failed_start_leaves_the_entered_sources_and_raises_the_error() -> None:
    log: list[str] = []

    def broken() -> Any:
        raise OSError("no database")

    with pytest.raises(OSError, match="no database"):
        async with Server(noting(log, "first")(), broken):
            pass
    assert log == ["enter first", "leave first"]


async def test_sources_of_services_that_cannot_be_served_together_are_left() -> None:
    log: list[str] = []
    with pytest.raises(ConfigError):
        async with Server(noting(log, "one"), noting(log, "one")):
            pass
    assert sorted(log) == ["enter one", "enter one", "leave one", "leave one"]


async def test_a_start_that_failed_can_be_tried_again() -> None:
    attempts: list[int] = []

    def unsteady() -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("not yet")
        return named("a")()

    server = Server(unsteady)
    with pytest.raises(OSError, match="not yet"):
        await server.listen("memory://sources-unsteady")
    async with Client(str(await server.listen("memory://sources-unsteady"))) as client:
        assert await answers(client, "a") == ["a"]
    await server.close()


async def test_nobody_is_served_before_every_source_is_entered() -> None:
    entering, entered = asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def slow() -> AsyncIterator[list[Any]]:
        entering.set()
        await entered.wait()
        yield [named("a")()]

    server = Server(slow)
    first = asyncio.ensure_future(server.listen("memory://sources-slow-1"))
    await entering.wait()
    second = asyncio.ensure_future(server.listen("memory://sources-slow-2"))
    async with Client("memory://sources-slow-2") as client:
        with pytest.raises(fastrpc.ConnectError):
            await client.call("a.name")
    entered.set()
    for address in await asyncio.gather(first, second):
        async with Client(str(address)) as client:
            assert await answers(client, "a") == ["a"]
    await server.close()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (5, "5"),
        ("text", "text"),
        (object(), "object"),
        (lambda needed: needed, "needed"),
        (lambda: 7, "7"),
    ],
)
async def test_an_invalid_source_is_refused_with_a_hint(source: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        async with Server(source):
            pass


async def test_a_class_that_needs_arguments_is_refused_by_name() -> None:
    @fastrpc.service("a")
    class Needing:
        def __init__(self, needed: int) -> None:
            self.needed = needed

        @fastrpc.method
        async def name(self) -> str:
            return "a"

    with pytest.raises(ConfigError, match=r"Needing.*needed"):
        async with Server(Needing):
            pass
    async with connected(Needing(1)) as client:
        assert await answers(client, "a") == ["a"]


async def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"the service 'a' is two classes, .* and .*part=True"):
        async with Server(named("a"), named("a")):
            pass


async def test_two_instances_of_one_class_are_refused_by_their_methods() -> None:
    one = named("a")
    with pytest.raises(ConfigError, match=r"a\.name"):
        async with Server(one(), one()):
            pass


async def test_a_service_can_be_added_while_the_server_runs() -> None:
    async with served(named("a")) as target, Client(target) as client:
        target.server.add(named("b")())
        assert await answers(client, "a", "b") == ["a", "b"]
        with pytest.raises(ConfigError, match="running"):
            target.server.add(named("c"))
        with pytest.raises(ConfigError, match="the service 'b' is two classes"):
            target.server.add(named("b")())
        assert await answers(client, "a", "b") == ["a", "b"]


async def test_added_before_the_start_any_source_is_taken() -> None:
    server = Server()
    server.add(named("a"))
    server.add(lambda: named("b")())
    async with server, Client(str(await server.listen("memory://sources-added"))) as client:
        assert await answers(client, "a", "b") == ["a", "b"]


async def test_one_server_listens_at_several_addresses() -> None:
    async with Server(named("a")) as server:
        addresses = [
            await server.listen(place) for place in ("memory://sources-several", "tcp://127.0.0.1:0")
        ]
        assert addresses[1].port != 0
        for address in addresses:
            async with Client(str(address)) as client:
                assert await answers(client, "a") == ["a"]


async def test_a_context_manager_that_was_called_already_is_entered() -> None:
    events: list[str] = []

    @contextlib.asynccontextmanager
    async def app() -> AsyncIterator[list[Any]]:
        events.append("in")
        yield [named("a"), named("b")()]
        events.append("out")

    async with connected(app()) as client:
        assert await answers(client, "a", "b") == ["a", "b"]
        assert events == ["in"]
    assert events == ["in", "out"]
