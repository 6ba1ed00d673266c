"""A console over three servers in other processes that call each other, and a console without servers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path

from fastrpc import CallError, Client
from fastrpc.coordination import RegistryService
from tests.support.admin_pages import operators_file
from tests.support.program import Program, command_line
from tests.support.served import served

__all__ = ["ConsoleScene", "console_at", "console_scene"]

#: front calls orders, orders calls stock; one method of stock fails.
PROGRAM = """
import logging
import sys

import fastrpc

registry = sys.argv[2]
logging.basicConfig(level=logging.INFO)


@fastrpc.service("shop.front", version="3")
class Front:
    @fastrpc.method
    async def buy(self, item: str) -> int:
        async with fastrpc.Client("shop.orders", registry=registry) as client:
            return await client.call("shop.orders.order", item)


@fastrpc.service("shop.orders", version="2")
class Orders:
    @fastrpc.method
    async def order(self, item: str) -> int:
        async with fastrpc.Client("shop.stock", registry=registry) as client:
            return await client.call("shop.stock.take", item)


@fastrpc.service("shop.stock", version="1.4")
class Stock:
    @fastrpc.method
    async def take(self, item: str) -> int:
        if item != "tea":
            raise fastrpc.CallError(fastrpc.Status.NOT_FOUND, f"there is no {item}")
        return 5

    @fastrpc.method
    async def count(self) -> int:
        return 3


if __name__ == "__main__":
    fastrpc.serve(
        {"front": Front, "orders": Orders, "stock": Stock}[sys.argv[1]],
        address="tcp://127.0.0.1:0",
        registry=registry,
        config=fastrpc.ServerConfig(admin_address="tcp://127.0.0.1:0", admin_operators="operators.toml"),
    )
"""


class ConsoleScene:
    """A console that runs.

    Args:
        url: its address with the token that it printed.
        servers: the addresses of the services by name: front, orders, stock.
        admins: the addresses of their admin pages by the same names.
    """

    def __init__(self, url: str, servers: dict[str, str], admins: dict[str, str]) -> None:
        self.url, self.servers, self.admins = url, servers, admins
        self.origin, _, self.token = url.partition("/#token=")

    async def call(self, count: int, item: str = "tea") -> None:
        """Call the first service, which calls the next one."""
        async with Client(self.servers["front"]) as client:
            for _ in range(count):
                with nullcontext() if item == "tea" else suppress(CallError):
                    await client.call("shop.front.buy", item)


@asynccontextmanager
async def console_at(folder: Path, *arguments: str) -> AsyncIterator[str]:
    """Run a console, and yield its address with its token."""
    with command_line(["console", "--address", "http://127.0.0.1:0", *arguments], folder) as program:
        found = await asyncio.to_thread(program.wait_output, r"console at (http://127\.0\.0\.1:\d+/\S+)\n")
        yield found[1]


@asynccontextmanager
async def console_scene(
    folder: Path, names: Sequence[str] = ("front", "orders", "stock"), *arguments: str
) -> AsyncIterator[ConsoleScene]:
    """Run a registry, servers and a console over them; without names the fleet is empty."""
    (folder / "shop.py").write_text(PROGRAM)
    operators_file(folder)
    servers, admins = {}, {}
    async with served(RegistryService(), scheme="tcp") as at, AsyncExitStack() as stack:
        registry = f"registry://{at.partition('://')[2]}"
        for name in names:
            program = stack.enter_context(Program(["shop.py", name, registry], folder))
            found = await asyncio.to_thread(program.wait_errors, r"admin pages at (tcp://\S+?)[,\s]")
            admins[name] = found[1]
            found = await asyncio.to_thread(program.wait_errors, r"listening at (\S+)")
            servers[name] = found[1]
        url = await stack.enter_async_context(console_at(folder, "--registry", registry, *arguments))
        yield ConsoleScene(url, servers, admins)
