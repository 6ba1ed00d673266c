"""Calls over `tls://`: every kind, both clients, both ends known to each other."""

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator

import pytest

import fastrpc
from fastrpc import TLS, Client, ClientConfig, Server, ServerConfig, SyncClient, current_call
from tests.support.certificates import Authority, Certificate
from tests.support.threaded_server import ThreadedServer


@fastrpc.service("over_tls")
class Desk:
    @fastrpc.method
    async def echo(self, data: bytes) -> bytes:
        return data

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    @fastrpc.method
    async def total(self, sizes: AsyncIterator[bytes]) -> int:
        return sum([len(piece) async for piece in sizes])

    @fastrpc.method
    async def caller(self) -> dict[str, list[str]]:
        peer = current_call().peer
        assert peer is not None
        found = peer.certificate or {}
        return {
            "scheme": [peer.address.scheme],
            "uris": list(found.get("uris", ())),
            "dns_names": list(found.get("dns_names", ())),
            "fingerprint": [found.get("fingerprint", "")],
        }


def serving(certificate: Certificate, authority: Authority | None = None) -> ServerConfig:
    return ServerConfig(tls=certificate.tls(authority))


def trusting(authority: Authority) -> ClientConfig:
    return ClientConfig(tls=TLS(ca_file=authority.cert_file))


@pytest.mark.parametrize("size", [0, 1, 16_384, 70_000, 3_000_000])
async def test_bytes_of_every_size_cross_both_ways(
    authority: Authority, server_certificate: Certificate, size: int
) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with Server(Desk(), config=serving(server_certificate)) as server:
        target = str(await server.listen("tls://127.0.0.1:0"))
        assert target.startswith("tls://127.0.0.1:")
        async with Client(target, config=trusting(authority)) as client:
            assert await client.call(Desk.echo, data) == data


async def test_streams_both_ways_and_calls_at_once(
    authority: Authority, server_certificate: Certificate
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(10_000)

    async with Server(Desk(), config=serving(server_certificate)) as server:
        target = str(await server.listen("tls://127.0.0.1:0"))
        async with Client(target, config=trusting(authority)) as client:
            echoes = [client.call(Desk.echo, bytes(size)) for size in (0, 100, 100_000, 500_000)]
            total, *echoed = await asyncio.gather(client.call(Desk.total, pieces()), *echoes)
            assert total == 1_000_000
            assert [len(each) for each in echoed] == [0, 100, 100_000, 500_000]
            async with client.stream(Desk.count, 5_000) as numbers:
                assert [number async for number in numbers] == list(range(5_000))


async def test_a_host_name_and_an_ipv6_address_are_checked_against_the_certificate(
    authority: Authority, server_certificate: Certificate
) -> None:
    async with Server(Desk(), config=serving(server_certificate)) as server:
        for listening, dialled in (("127.0.0.1", "localhost"), ("[::1]", "[::1]")):
            port = (await server.listen(f"tls://{listening}:0")).port
            async with Client(f"tls://{dialled}:{port}", config=trusting(authority)) as client:
                assert await client.call(Desk.echo, b"here") == b"here"


async def test_server_name_stands_in_place_of_the_host(authority: Authority) -> None:
    certificate = authority.certificate("DNS:orders.example")
    async with Server(Desk(), config=serving(certificate)) as server:
        target = str(await server.listen("tls://127.0.0.1:0"))
        config = ClientConfig(tls=TLS(ca_file=authority.cert_file, server_name="orders.example"))
        async with Client(target, config=config) as client:
            assert await client.call(Desk.echo, b"here") == b"here"


async def test_a_server_identity_stands_in_place_of_the_host(authority: Authority) -> None:
    certificate = authority.certificate("URI:spiffe://corp/orders")
    async with Server(Desk(), config=serving(certificate)) as server:
        target = str(await server.listen("tls://127.0.0.1:0"))
        accepted = ("spiffe://corp/other", "spiffe://corp/orders")
        config = ClientConfig(tls=TLS(ca_file=authority.cert_file, server_identities=accepted))
        async with Client(target, config=config) as client:
            assert await client.call(Desk.echo, b"here") == b"here"


async def test_a_handler_sees_the_certificate_of_its_caller(
    authority: Authority, server_certificate: Certificate, client_certificate: Certificate
) -> None:
    async with Server(Desk(), config=serving(server_certificate, authority)) as server:
        target = str(await server.listen("tls://127.0.0.1:0"))
        async with Client(target, config=ClientConfig(tls=client_certificate.tls(authority))) as client:
            seen = await client.call(Desk.caller)
        # A certificate is asked for, not demanded.
        async with Client(target, config=trusting(authority)) as client:
            nameless = await client.call(Desk.caller)
    assert seen["scheme"] == ["tls"]
    assert seen["uris"] == ["spiffe://corp/ada"]
    assert seen["dns_names"] == ["ada.corp"]
    assert len(seen["fingerprint"][0]) == 64
    assert nameless == {"scheme": ["tls"], "uris": [], "dns_names": [], "fingerprint": [""]}


async def test_a_key_with_a_password_opens(authority: Authority) -> None:
    certificate = authority.certificate(password="secret")
    async with Server(Desk(), config=ServerConfig(tls=certificate.tls(key_password="secret"))) as server:
        target = str(await server.listen("tls://127.0.0.1:0"))
        async with Client(target, config=trusting(authority)) as client:
            assert await client.call(Desk.echo, b"here") == b"here"


async def test_a_server_listens_with_and_without_tls_at_once(
    authority: Authority, server_certificate: Certificate
) -> None:
    async with Server(Desk(), config=serving(server_certificate)) as server:
        targets = [str(await server.listen(f"{scheme}://127.0.0.1:0")) for scheme in ("tls", "tcp")]
        for target in targets:
            async with Client(target, config=trusting(authority)) as client:
                assert await client.call(Desk.echo, b"here") == b"here"


async def test_the_connection_is_tls_1_3_with_the_protocol_named(
    authority: Authority, server_certificate: Certificate
) -> None:
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    context.set_alpn_protocols(["fastrpc/1"])
    async with Server(Desk(), config=serving(server_certificate)) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        opened = writer.get_extra_info("ssl_object")
        assert opened.version() == "TLSv1.3"
        assert opened.selected_alpn_protocol() == "fastrpc/1"
        writer.close()
        await writer.wait_closed()


@pytest.mark.one_loop
class TestSyncClient:
    def test_calls_of_every_size_and_streams(
        self, authority: Authority, server_certificate: Certificate
    ) -> None:
        config = serving(server_certificate)
        with ThreadedServer(Desk(), config=config, listen="tls://127.0.0.1:0") as server:
            with SyncClient(server.address, config=trusting(authority)) as client:
                for size in (0, 1, 16_384, 70_000, 3_000_000):
                    assert client.call(Desk.echo, bytes(size)) == bytes(size)
                with client.stream(Desk.count, 2_000) as numbers:
                    assert list(numbers) == list(range(2_000))
                assert client.call(Desk.total, [bytes(10_000)] * 100) == 1_000_000

    def test_threads_share_one_connection(
        self, authority: Authority, server_certificate: Certificate
    ) -> None:
        wrong: list[object] = []

        def work(client: SyncClient, letter: bytes) -> None:
            for size in (10, 1_000, 70_000, 300_000) * 10:
                data = letter * size
                if client.call(Desk.echo, data) != data:
                    wrong.append((letter, size))

        config = serving(server_certificate)
        with ThreadedServer(Desk(), config=config, listen="tls://127.0.0.1:0") as server:
            with SyncClient(server.address, config=trusting(authority)) as client:
                threads = [threading.Thread(target=work, args=(client, bytes([65 + n]))) for n in range(6)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(60)
                assert client.stats()["totals"]["connections"] == 1
        assert wrong == []

    def test_it_shows_its_certificate(
        self, authority: Authority, server_certificate: Certificate, client_certificate: Certificate
    ) -> None:
        config = serving(server_certificate, authority)
        with ThreadedServer(Desk(), config=config, listen="tls://127.0.0.1:0") as server:
            with SyncClient(
                server.address, config=ClientConfig(tls=client_certificate.tls(authority))
            ) as client:
                assert client.call(Desk.caller)["uris"] == ["spiffe://corp/ada"]
