"""Answers leave while further requests of the same read are handled, by every protocol with calls side by side."""

import asyncio
import threading
import time

import pytest

import fastrpc
from fastrpc import TLS, Client, ClientConfig, Server, ServerConfig
from tests.support.certificates import Authority, Certificate

#: The time for which the second call waits for an answer that does not come by itself, and the most tries of both
#: calls.
PATIENCE = 1.0
TRIES = 5


@fastrpc.service("early")
class Early:
    """Its second call keeps the loop until the answer of the first has arrived."""

    def __init__(self) -> None:
        self.has_arrived = threading.Event()

    @fastrpc.method
    async def first(self) -> None:
        # Shorter steps wait for each other.
        until = time.perf_counter() + 0.001
        while time.perf_counter() < until:
            pass

    @fastrpc.method
    async def second(self) -> bool:
        return self.has_arrived.wait(PATIENCE)


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
@pytest.mark.parametrize("protocol", ["native", "grpc", "rpcx"])
async def test_an_answer_leaves_before_the_next_request_of_its_read_is_handled(
    authority: Authority, server_certificate: Certificate, scheme: str, protocol: str
) -> None:
    service = Early()
    trusting = ClientConfig(tls=TLS(ca_file=authority.cert_file), wire_protocol=protocol)

    async def call_both(client: Client) -> bool:
        service.has_arrived.clear()
        first = asyncio.ensure_future(client.call(Early.first))
        first.add_done_callback(lambda _: service.has_arrived.set())
        # They begin in the same turn, one after the other: both requests leave in one write.
        second = asyncio.ensure_future(client.call(Early.second))
        await first
        return await second

    async def is_early(address: str) -> bool:
        async with Client(address, config=trusting) as client:
            await client.ready(20)
            # If the machine stops a loop for a moment, the requests of that time are started in another way.
            for _ in range(TRIES):
                if await call_both(client):
                    return True
        return False

    async with Server(
        service, config=ServerConfig(tls=server_certificate.tls(), protocols=(protocol,))
    ) as server:
        address = str(await server.listen(f"{scheme}://127.0.0.1:0"))
        # A separate loop: the server's loop stands still meanwhile.
        assert await asyncio.to_thread(asyncio.run, is_early(address))
