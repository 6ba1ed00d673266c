"""Callers over `tls://`: certificates, tokens and both, for both clients."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import TLS, Client, ClientConfig, Peer, ServerConfig, Status, SyncClient
from fastrpc.auth import AnyOf, ClientCertificates, Identity, Policy
from fastrpc.auth.verdict import Answer, Presented, Verdict
from tests.support.certificates import Authority, Certificate
from tests.support.either_client import CLIENTS
from tests.support.guarded import TOKENS, Shop, calling, refusal
from tests.support.raw_peer import raw_client
from tests.support.wire_frames import Auth, Goaway, Request, Response, SettingsFrame
from tests.support.wire_frames import Verdict as VerdictFrame
from tests.support.wire_parser import Preface

ADA = "spiffe://corp/ada"
BY_URI = ClientCertificates(by="uri", allow=["spiffe://corp/*"])


@fastrpc.service("mirror")
class Mirror:
    @fastrpc.method(public=True)
    async def caller(self) -> list[str]:
        call = fastrpc.current_call()
        assert call.peer is not None
        return ["" if call.identity is None else call.identity.name, call.peer.scheme]


@pytest.fixture(scope="module")
def eve_certificate(authority: Authority) -> Certificate:
    return authority.certificate("URI:spiffe://elsewhere/eve,DNS:eve.corp", purpose="clientAuth")


@asynccontextmanager
async def guarding(
    certificate: Certificate, authority: Authority, *sources: Any, **options: Any
) -> AsyncIterator[str]:
    """Serve at `tls://`, asking clients for certificates, and yield the target."""
    config = ServerConfig(tls=certificate.tls(authority))
    async with fastrpc.Server(*(sources or (Shop, Mirror)), config=config, **options) as server:
        yield str(await server.listen("tls://127.0.0.1:0"))


def showing(certificate: Certificate | None, authority: Authority) -> ClientConfig:
    tls = TLS(ca_file=authority.cert_file) if certificate is None else certificate.tls(authority)
    return ClientConfig(tls=tls)


@pytest.mark.parametrize("kind", CLIENTS)
class TestEitherClient:
    async def test_a_certificate_that_names_an_identity_is_its_verdict(
        self,
        kind: str,
        authority: Authority,
        server_certificate: Certificate,
        client_certificate: Certificate,
    ) -> None:
        async with guarding(server_certificate, authority, authenticate=BY_URI) as target:
            async with calling(kind, target, config=showing(client_certificate, authority)) as client:
                assert await client.call(Mirror.caller) == [ADA, "certificate"]
                assert await client.call(Shop.in_thread) == ADA
                # It has the limits of a known caller.
                assert await client.call(Shop.echo, bytes(300_000)) == 300_000
                async with client.stream(Shop.count, 3) as names:
                    assert [name async for name in names] == [ADA] * 3
                assert await client.call(Shop.total, [1, 2, 3]) == 6

    async def test_without_a_certificate_that_is_allowed_only_public_methods_start(
        self, kind: str, authority: Authority, server_certificate: Certificate, eve_certificate: Certificate
    ) -> None:
        shop = Shop()
        async with guarding(server_certificate, authority, shop, authenticate=BY_URI) as target:
            for shown in (None, eve_certificate):
                async with calling(kind, target, config=showing(shown, authority)) as client:
                    assert await client.call(Shop.hello) == "nobody"
                    for method in ("shop.who", "shop.nothing", "fastrpc.health.check"):
                        assert (await refusal(client.call(method))).status is Status.UNAUTHENTICATED
        assert shop.started == ["shop.hello"] * 2

    async def test_a_token_gives_calls_the_identity(
        self, kind: str, authority: Authority, server_certificate: Certificate
    ) -> None:
        async with guarding(server_certificate, authority, authenticate=TOKENS) as target:
            config = showing(None, authority)
            async with calling(kind, target, config=config, credentials="token-of-ada") as client:
                assert await client.call(Mirror.caller) == ["ada", "bearer"]
                assert await client.call(Shop.echo, bytes(300_000)) == 300_000
            async with calling(kind, target, config=config, credentials="wrong") as client:
                assert (await refusal(client.call(Shop.who))).status is Status.UNAUTHENTICATED

    async def test_either_is_accepted_where_both_are(
        self,
        kind: str,
        authority: Authority,
        server_certificate: Certificate,
        client_certificate: Certificate,
        eve_certificate: Certificate,
    ) -> None:
        either = AnyOf(BY_URI, TOKENS)
        async with guarding(server_certificate, authority, authenticate=either) as target:
            for shown, token, name, scheme in (
                (client_certificate, None, ADA, "certificate"),
                (None, "token-of-bob", "bob", "bearer"),
                (eve_certificate, "token-of-bob", "bob", "bearer"),
                # The token is the more exact of the two: the certificate may be a machine's.
                (client_certificate, "token-of-bob", "bob", "bearer"),
            ):
                config = showing(shown, authority)
                async with calling(kind, target, config=config, credentials=token) as client:
                    assert await client.call(Mirror.caller) == [name, scheme]
                    assert await client.call(Shop.who) == name
            # A wrong token is refused, even with a good certificate.
            config = showing(client_certificate, authority)
            async with calling(kind, target, config=config, credentials="wrong") as client:
                assert (await refusal(client.call(Shop.who))).status is Status.UNAUTHENTICATED
            async with calling(kind, target, config=config) as client:
                own = client.with_options(metadata={"authorization": "Bearer token-of-bob"})
                assert await own.call(Shop.who) == "bob"
                wrong = client.with_options(metadata={"authorization": "Bearer wrong"})
                assert (await refusal(wrong.call(Shop.hello))).status is Status.UNAUTHENTICATED
                assert await client.call(Shop.who) == ADA

    async def test_a_policy_decides_by_the_name_in_the_certificate(
        self,
        kind: str,
        authority: Authority,
        server_certificate: Certificate,
        client_certificate: Certificate,
    ) -> None:
        policy = Policy([{"who": ["spiffe://corp/*"], "allow": ["shop.who"]}])
        async with guarding(server_certificate, authority, authenticate=BY_URI, authorize=policy) as target:
            async with calling(kind, target, config=showing(client_certificate, authority)) as client:
                assert await client.call(Shop.who) == ADA
                assert (await refusal(client.call(Shop.in_thread))).status is Status.PERMISSION_DENIED

    async def test_a_function_sees_the_certificate(
        self,
        kind: str,
        authority: Authority,
        server_certificate: Certificate,
        client_certificate: Certificate,
    ) -> None:
        seen = []

        async def authenticate(peer: Peer) -> Identity | None:
            seen.append((peer.scheme, peer.credentials))
            assert peer.certificate is not None
            await asyncio.sleep(0)
            return Identity(peer.certificate["dns_names"][0])

        async with guarding(server_certificate, authority, authenticate=authenticate) as target:
            async with calling(kind, target, config=showing(client_certificate, authority)) as client:
                assert await client.call(Mirror.caller) == ["ada.corp", "certificate"]
                assert await client.call(Shop.total, range(100)) == sum(range(100))
        assert seen == [("certificate", None)]


class Brief:
    """Accepts certificates for a time."""

    version = 0

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def look(self) -> None:
        pass

    def handles(self, peer: Presented) -> bool:
        return peer.certificate is not None and peer.credentials is None

    def verify(self, peer: Presented) -> Answer:
        return Verdict(Identity(ADA), time.time() + self.seconds)


async def test_calls_and_streams_end_with_the_certificate(
    authority: Authority, server_certificate: Certificate, client_certificate: Certificate
) -> None:
    async with guarding(server_certificate, authority, authenticate=Brief(1.5)) as target:
        async with Client(target, config=showing(client_certificate, authority)) as client:
            async with client.open(Shop.both) as stream:
                await stream.send(1)
                assert await stream.receive() == 1
                error = await refusal(stream.receive())
                assert error.status is Status.UNAUTHENTICATED
                assert "expired" in str(error)


@pytest.mark.one_loop
@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_connection_is_replaced_before_its_certificate_expires(
    kind: str, authority: Authority, server_certificate: Certificate, client_certificate: Certificate
) -> None:
    """So that a newer certificate counts in time: nobody can renew the one of a connection."""
    async with guarding(server_certificate, authority, authenticate=Brief(2.5)) as target:
        async with calling(kind, target, config=showing(client_certificate, authority)) as client:
            while client.stats()["totals"]["connections"] < 3:
                assert await client.call(Shop.who) == ADA
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(("calls", "status"), [(0, Status.OK), (1, Status.UNAUTHENTICATED)])
async def test_only_in_front_of_the_first_call_a_token_takes_the_place_of_a_certificate(
    calls: int,
    status: Status,
    authority: Authority,
    server_certificate: Certificate,
    client_certificate: Certificate,
) -> None:
    """Later, a connection that began as one caller would continue as another."""
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    context.load_cert_chain(client_certificate.cert_file, client_certificate.key_file)
    context.set_alpn_protocols(["fastrpc/1"])
    either = AnyOf(BY_URI, TOKENS)
    async with guarding(server_certificate, authority, authenticate=either) as target:
        async with raw_client(target, tls=context) as peer:
            peer.send(Preface().encode(), SettingsFrame().encode())
            for number in range(calls):
                peer.send(Request(2 * number + 1, b"shop.who", b"\x90", codec=1).encode())
                assert (await peer.next(Response)).payload == b"\xb1" + ADA.encode()
            peer.send(Auth(b"bearer", b"token-of-bob").encode())
            assert (await peer.next(VerdictFrame)).status == status
            if status:
                assert (await peer.next(Goaway)).reason == 7
            else:
                peer.send(Request(99, b"shop.who", b"\x90", codec=1).encode())
                assert (await peer.next(Response)).payload == b"\xa3bob"


@pytest.mark.parametrize("target", ["tls://192.0.2.1:9", "tls://shop.example:9"])
async def test_tokens_may_leave_this_machine_over_tls(target: str) -> None:
    async with Client(target, credentials="token"):
        pass
    SyncClient(target, credentials="token").close()
