"""`fastrpc.reflection`: callers that may ask a server for its methods."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import fastrpc
from fastrpc import CallError, Client, Server, ServerConfig, Status

pytestmark = pytest.mark.one_loop


@fastrpc.service("arith", version="2")
class Arith:
    """Sums."""

    @fastrpc.method
    async def mul(self, a: int, b: int = 2) -> int:
        """Multiply."""
        return a * b


@fastrpc.service("streams")
class Streams:
    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[int]:
        yield limit

    @fastrpc.method
    def lines(self) -> Iterator[str]:
        yield ""

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @fastrpc.method
    async def talk(self, room: str, words: AsyncIterator[str | None]) -> AsyncIterator[str]:
        async for word in words:
            yield f"{room}: {word}"


async def ask(address: str) -> list[str]:
    async with Client(address) as client:
        services = await client.call("fastrpc.reflection.services")
        return [one["name"] for one in services]


async def test_names_services_methods_and_signatures() -> None:
    async with Server(Arith) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address)) as client:
            arith, health, reflection = await client.call("fastrpc.reflection.services")
    assert (arith["name"], arith["version"], arith["documentation"]) == ("arith", "2", "Sums.")
    assert arith["methods"][0]["signature"] == "mul(a: int, b: int = 2) -> int"
    assert [health["name"], reflection["name"]] == ["fastrpc.health", "fastrpc.reflection"]


async def test_tells_kinds_and_types_of_messages() -> None:
    async with Server(Streams) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address)) as client:
            services = await client.call("fastrpc.reflection.services")
    streams, health = (
        {one["name"]: one for one in service["methods"]} for service in (services[0], services[1])
    )
    assert {name: (one["kind"], one["result"], one["stream"]) for name, one in streams.items()} == {
        "count": ("server_stream", "AsyncIterator[int]", None),
        "lines": ("server_stream", "AsyncIterator[str]", None),
        "total": ("client_stream", "int", {"name": "numbers", "type": "int", "position": 0}),
        "talk": ("both_ways", "AsyncIterator[str]", {"name": "words", "type": "str | None", "position": 1}),
    }
    # The stream is no argument.
    assert [one["name"] for one in streams["talk"]["parameters"]] == ["room"]
    assert (health["watch"]["kind"], health["watch"]["signature"]) == (
        "server_stream",
        "watch(service: str = '') -> AsyncIterator[str]",
    )


@pytest.mark.parametrize("scheme", ["tcp", "unix", "memory"])
async def test_is_served_where_only_this_machine_can_connect(tmp_path: Path, scheme: str) -> None:
    address = {
        "tcp": "tcp://localhost:0",
        "unix": f"unix://{tmp_path / 's'}",
        "memory": "memory://reflection",
    }
    async with Server(Arith) as server:
        assert "arith" in await ask(str(await server.listen(address[scheme])))


async def test_reflection_is_hidden_at_an_address_that_others_can_reach() -> None:
    async with Server(Arith) as server:
        address = str(await server.listen("tcp://0.0.0.0:0"))
        with pytest.raises(CallError, match=r"no method 'fastrpc\.reflection\.services' here"):
            await ask(address.replace("0.0.0.0", "127.0.0.1"))


async def test_is_served_everywhere_where_that_is_allowed() -> None:
    async with Server(Arith, config=ServerConfig(reflection=True)) as server:
        address = str(await server.listen("tcp://0.0.0.0:0"))
        assert "arith" in await ask(address.replace("0.0.0.0", "127.0.0.1"))


async def test_the_listener_decides_when_a_server_has_several() -> None:
    async with Server(Arith) as server:
        local = await server.listen("tcp://127.0.0.1:0")
        public = await server.listen("tcp://0.0.0.0:0")
        assert "arith" in await ask(str(local))
        with pytest.raises(CallError):
            await ask(f"tcp://127.0.0.1:{public.port}")


async def test_strangers_are_told_no_names_not_even_the_nearest() -> None:
    async with Server(Arith) as server:
        local = str(await server.listen("tcp://127.0.0.1:0"))
        public = str(await server.listen("tcp://0.0.0.0:0")).replace("0.0.0.0", "127.0.0.1")
        for address, asked, text in (
            (local, "arith.mull", "no method 'arith.mull' here; did you mean 'arith.mul'?"),
            (public, "arith.mull", "no method 'arith.mull' here"),
            (local, "other.thing", "no method 'other.thing' here; there are arith.mul"),
            (public, "other.thing", "no method 'other.thing' here"),
        ):
            async with Client(address) as client:
                with pytest.raises(CallError) as caught:
                    await client.call(asked)
            assert (caught.value.status, caught.value.message) == (Status.UNIMPLEMENTED, text)


async def test_can_be_turned_off_everywhere() -> None:
    async with Server(Arith, config=ServerConfig(reflection=False)) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        with pytest.raises(CallError) as caught:
            await ask(address)
    assert caught.value.status is Status.UNIMPLEMENTED


async def test_services_added_later_are_named_too() -> None:
    @fastrpc.service("later")
    class Later:
        @fastrpc.method
        async def ping(self) -> None: ...

    async with Server(Arith) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        server.add(Later())
        assert await ask(address) == ["arith", "fastrpc.health", "fastrpc.reflection", "later"]
        assert [one.name for one in server.services] == ["arith", "later"]
