"""New certificates while calls run: no call fails, and new connections use them soon."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from fastrpc import TLS, Client, ClientConfig, FastRPCError, Server, ServerConfig
from fastrpc.config import Keepalive
from tests.support.arith import Arith
from tests.support.certificates import Authority, Certificate, shown_certificate

ROTATIONS = 10
CALLS_PER_TURN = 10
TURN_SECONDS = 0.01


class Load:
    """Calls at a fixed rate over connections that are replaced again and again."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._running: set[asyncio.Task[None]] = set()
        self.calls = 0
        self.failures: list[FastRPCError] = []

    async def run(self) -> None:
        due = time.monotonic()
        while True:
            for _ in range(CALLS_PER_TURN):
                task = asyncio.ensure_future(self._call())
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            due += TURN_SECONDS
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _call(self) -> None:
        self.calls += 1
        try:
            assert await self._client.call(Arith.mul, 6, 7) == 42
        except FastRPCError as error:
            self.failures.append(error)

    async def end(self) -> None:
        await asyncio.gather(*self._running)


@pytest.mark.measures
@pytest.mark.one_loop
async def test_ten_rotations_fail_no_call_at_a_thousand_calls_a_second(
    authority: Authority, tmp_path: Path
) -> None:
    certificates = [authority.certificate() for _ in range(ROTATIONS + 1)]
    certificates[0].put(tmp_path)
    server_config = ServerConfig(tls=TLS(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key"))
    client_config = ClientConfig(tls=TLS(ca_file=authority.cert_file), keepalive=Keepalive(max_age=0.5))
    delays = []
    async with Server(Arith, config=server_config) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        async with Client(f"tls://127.0.0.1:{port}", config=client_config) as client:
            load = Load(client)
            running = asyncio.ensure_future(load.run())
            for certificate in certificates[1:]:
                certificate.put(tmp_path)
                began = time.monotonic()
                while await shown_certificate(port, authority) != certificate.der():
                    await asyncio.sleep(0.05)
                delays.append(time.monotonic() - began)
            running.cancel()
            await load.end()
            connections = client.stats()["totals"]["connections"]
    assert load.failures == []
    assert load.calls > 1_000
    assert connections > ROTATIONS
    assert max(delays) <= 3.0


@pytest.mark.measures
@pytest.mark.one_loop
async def test_an_authority_that_is_removed_is_no_longer_accepted(
    authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    mine, theirs = authority.certificate(), stranger.certificate()
    accepted = tmp_path / "authorities.pem"
    accepted.write_text(authority.cert_file.read_text() + stranger.cert_file.read_text())
    config = ServerConfig(tls=mine.tls(ca_file=accepted, require_client_cert=True))

    async def call(certificate: Certificate) -> int:
        async with Client(target, config=ClientConfig(tls=certificate.tls(authority))) as client:
            return await client.call(Arith.mul, 6, 7)

    async with Server(Arith, config=config) as server:
        target = str(await server.listen("tls://127.0.0.1:0"))
        assert await call(theirs) == 42
        (tmp_path / "new").write_text(authority.cert_file.read_text())
        os.replace(tmp_path / "new", accepted)
        began = time.monotonic()
        with pytest.raises(FastRPCError, match="does not trust the authority"):
            while time.monotonic() < began + 3.0:
                await call(theirs)
                await asyncio.sleep(0.1)
        assert await call(mine) == 42
