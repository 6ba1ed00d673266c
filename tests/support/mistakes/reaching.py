"""Clients and servers that do not reach each other."""

import asyncio
import socket
from pathlib import Path

from fastrpc import TLS, Client, ClientConfig, Server, ServerConfig
from fastrpc.registries import StaticRegistry, open_registry
from tests.support.certificates import Authority
from tests.support.mistakes.shop import NOWHERE, Raisers, Shop, added_to
from tests.support.peer_writing import write_to

__all__ = ["RAISERS"]

RAISERS: Raisers = []
raises = added_to(RAISERS)


@raises
async def no_server_listens(_: Path) -> None:
    async with Client(NOWHERE) as client:
        await client.with_options(fail_mode="failfast").call(Shop.price, "tea")


@raises
async def not_ready_in_time(_: Path) -> None:
    async with Client(NOWHERE) as client:
        await client.ready(0.01)


@raises
def an_unknown_scheme(_: Path) -> None:
    Client("htp://127.0.0.1:8972")


@raises
def an_address_without_port(_: Path) -> None:
    Client("tcp://127.0.0.1")


@raises
def a_name_alone(_: Path) -> None:
    Client("shop")


@raises
def a_target_and_a_registry(_: Path) -> None:
    Client(NOWHERE, registry="consul://127.0.0.1:8500")


@raises
async def no_record_of_the_service(_: Path) -> None:
    async with Client("shop", registry=StaticRegistry({"shop": []})) as client:
        await client.call(Shop.price, "tea")


@raises
def an_unknown_registry(_: Path) -> None:
    open_registry("eureka://127.0.0.1:8761")


@raises
async def the_port_is_taken(_: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with Server(Shop) as server:
            await server.listen(f"tcp://127.0.0.1:{taken.getsockname()[1]}")


@raises
async def encrypted_meets_plain(_: Path) -> None:
    async with Server(Shop) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(address.replace("tcp:", "tls:"), fail_mode="failfast") as client:
            await client.call(Shop.price, "tea")


@raises
async def a_certificate_without_names(folder: Path) -> None:
    authority = Authority(folder)
    config = ServerConfig(tls=authority.certificate("").tls())
    trusting = ClientConfig(tls=TLS(ca_file=authority.cert_file))
    async with Server(Shop, config=config) as server:
        address = str(await server.listen("tls://127.0.0.1:0"))
        async with Client(address, fail_mode="failfast", config=trusting) as client:
            await client.call(Shop.price, "tea")


@raises
async def another_protocol_answers(_: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        write_to(writer, b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        async with Client(f"tcp://127.0.0.1:{port}") as client:
            await client.with_options(fail_mode="failfast").call(Shop.price, "tea")


@raises
async def the_connection_broke(_: Path) -> None:
    shop = Shop()
    async with Server(shop) as server:
        async with Client(str(await server.listen("tcp://127.0.0.1:0")), fail_mode="failfast") as client:
            waiting = asyncio.ensure_future(client.call(Shop.wait))
            await shop.waits.wait()
            await server.close()
            await waiting


@raises
async def a_client_that_is_closed(_: Path) -> None:
    client = Client(NOWHERE)
    await client.close()
    await client.call(Shop.price, "tea")


@raises
async def no_loop_is_running(_: Path) -> None:
    client = Client(NOWHERE)
    try:
        await asyncio.to_thread(client.call(Shop.price, "tea").send, None)
    finally:
        await client.close()
