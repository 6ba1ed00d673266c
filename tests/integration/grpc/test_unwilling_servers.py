"""Both clients and servers of gRPC that refuse, leave or break: attempts, connections, and values of `processed`."""

import asyncio
import base64
import json
import time

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from fastrpc import (
    Backoff,
    CallError,
    Client,
    ClientConfig,
    ConnectionLostError,
    Keepalive,
    Pool,
    Status,
    UnavailableError,
)
from fastrpc.config import Probes
from fastrpc.endpoint import Endpoint
from tests.support.either_client import CLIENTS, connected
from tests.support.grpcio_server import grpcio_server
from tests.support.scripted_grpc import Script, ScriptedPeer, echo, scripted_grpc
from tests.support.waiting import eventually

SOON = Backoff(first=0.01, longest=0.05)
CONFIG = ClientConfig(backoff=SOON)

either_client = pytest.mark.parametrize("kind", CLIENTS)


def refusing(times: int, **trailers: str) -> Script:
    """Refuse the first calls of a connection by trailers alone, and answer further ones."""

    async def script(peer: ScriptedPeer) -> None:
        for _ in range(times):
            peer.refuse(await peer.request(), **trailers)
        await echo(peer)

    return script


@either_client
class TestRetries:
    async def test_a_refused_stream_did_not_run(self, kind: str) -> None:
        async def script(peer: ScriptedPeer) -> None:
            peer.reset(await peer.request(), ErrorCodes.REFUSED_STREAM)
            await echo(peer)

        async with scripted_grpc(script) as server, connected(kind, server.target, config=CONFIG) as client:
            reply = await client.request("shop.Desk.Get", b"x")
            assert (reply.value, reply.attempts) == (b"done", 2)
            assert server.heads[1]["grpc-previous-rpc-attempts"] == "1"

    async def test_calls_above_the_last_stream_go_to_another_connection(self, kind: str) -> None:
        async def script(peer: ScriptedPeer) -> None:
            stream = await peer.request()
            peer.leave(max(0, stream - 2))
            await asyncio.Event().wait()

        async with scripted_grpc(script, echo) as server:
            async with connected(kind, server.target, config=CONFIG) as client:
                assert await client.call("shop.Desk.Get", b"x") == b"done"
                assert len(server.peers) == 2

    async def test_a_call_that_the_server_still_accepts_is_answered_after_goaway(self, kind: str) -> None:
        async def script(peer: ScriptedPeer) -> None:
            stream = await peer.request()
            peer.leave(2**31 - 1)
            peer.leave(stream)
            peer.answer(stream, b"last")
            await asyncio.Event().wait()

        async with scripted_grpc(script, echo) as server:
            async with connected(kind, server.target, config=CONFIG) as client:
                assert await client.call("shop.Desk.Get", b"x") == b"last"
                assert await client.call("shop.Desk.Get", b"x") == b"done"
                assert len(server.peers) == 2

    async def test_our_refusals_are_repeated(self, kind: str) -> None:
        script = refusing(1, grpc_status="14", frpc_outcome="1", grpc_retry_pushback_ms="30")
        async with scripted_grpc(script) as server, connected(kind, server.target, config=CONFIG) as client:
            assert await client.call("shop.Desk.Get", b"x") == b"done"
            assert len(server.heads) == 2

    @pytest.mark.parametrize("outcome", [{}, {"frpc_outcome": "1", "grpc_retry_pushback_ms": "-1"}])
    async def test_a_call_that_may_have_run_or_must_not_return_ends(
        self, kind: str, outcome: dict[str, str]
    ) -> None:
        async with scripted_grpc(refusing(1, grpc_status="14", **outcome)) as server:
            async with connected(kind, server.target, config=CONFIG) as client:
                with pytest.raises(UnavailableError):
                    await client.call("shop.Desk.Get", b"x")
                assert len(server.heads) == 1

    async def test_an_idempotent_call_is_repeated_after_unavailable(self, kind: str) -> None:
        async with scripted_grpc(refusing(1, grpc_status="14")) as server:
            async with connected(kind, server.target, config=CONFIG) as client:
                assert await client.with_options(idempotent=True).call("shop.Desk.Get", b"x") == b"done"

    async def test_an_error_of_the_handler_is_not_repeated(self, kind: str) -> None:
        async with scripted_grpc(refusing(1, grpc_status="5")) as server:
            async with connected(kind, server.target, config=CONFIG) as client:
                with pytest.raises(CallError) as caught:
                    await client.with_options(idempotent=True).call("shop.Desk.Get", b"x")
                assert caught.value.status == Status.NOT_FOUND
                assert len(server.heads) == 1

    async def test_a_lost_connection_leaves_it_unknown_whether_a_call_ran(self, kind: str) -> None:
        async def script(peer: ScriptedPeer) -> None:
            await peer.request()

        async with scripted_grpc(script, echo) as server:
            async with connected(kind, server.target, config=CONFIG) as client:
                with pytest.raises(ConnectionLostError) as caught:
                    await client.call("shop.Desk.Get", b"x")
                assert caught.value.processed == "unknown"
                assert await client.with_options(wait_for_ready=True).call("shop.Desk.Get", b"x") == b"done"

    async def test_a_stream_is_opened_again_before_its_first_sign(self, kind: str) -> None:
        async def script(peer: ScriptedPeer) -> None:
            peer.reset(await peer.request(), ErrorCodes.REFUSED_STREAM)
            await echo(peer)

        async with scripted_grpc(script) as server, connected(kind, server.target, config=CONFIG) as client:
            async with client.stream("shop.Desk.Get", b"x") as stream:
                assert [one async for one in stream] == [b"done"]


@either_client
class TestConnections:
    async def test_a_connection_that_the_server_left_meanwhile_is_replaced(self, kind: str) -> None:
        async def script(peer: ScriptedPeer) -> None:
            peer.answer(await peer.request())
            peer.leave(1)
            peer.writer.close()

        async with scripted_grpc(script, echo) as server:
            async with connected(kind, server.target, config=CONFIG) as client:
                assert await client.call("shop.Desk.Get", b"x") == b"done"
                await eventually(lambda: not server.peers[0].writer.transport.is_reading())
                assert (await client.request("shop.Desk.Get", b"x")).value == b"done"
                assert len(server.heads) == 2

    async def test_too_many_pings_make_the_next_connection_ask_less(self, kind: str) -> None:
        async def script(peer: ScriptedPeer) -> None:
            await peer.request()
            while not peer.pings:
                await asyncio.sleep(0.001)
            peer.leave(0, ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_pings")
            await asyncio.Event().wait()

        config = ClientConfig(backoff=SOON, keepalive=Keepalive(interval=0.05, timeout=5.0))
        async with scripted_grpc(script, script, echo) as server:
            async with connected(kind, server.target, config=config) as client:
                assert await client.call("shop.Desk.Get", b"x") == b"done"
                assert len(server.peers) == 3

    async def test_many_waiting_calls_open_further_connections(self, kind: str) -> None:
        held: list[tuple[ScriptedPeer, int]] = []

        async def script(peer: ScriptedPeer) -> None:
            while True:
                held.append((peer, await peer.request()))

        settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 20}
        async with scripted_grpc(script, settings=settings) as server:
            async with connected(kind, server.target, config=CONFIG) as client:
                view = client.with_options(timeout=30)
                calls = [asyncio.ensure_future(view.call("shop.Desk.Get", b"x")) for _ in range(30)]
                if kind == "async":
                    await eventually(lambda: len(server.peers) == 2)
                done = 0
                while not all(call.done() for call in calls):
                    for peer, stream in held[done:]:
                        peer.answer(stream)
                        done += 1
                    # Threads look for another connection with their next call.
                    await asyncio.sleep(0.001)
                assert await asyncio.gather(*calls) == [b"done"] * 30


def token(name: str, seconds: float) -> str:
    """Return a JWT without a signature that is valid for so long."""
    claims = json.dumps({"sub": name, "exp": time.time() + seconds}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).rstrip(b'=').decode()}.x"


class TestCredentials:
    @either_client
    async def test_a_token_goes_with_each_call(self, kind: str) -> None:
        async with scripted_grpc(echo) as server:
            async with connected(kind, server.target, config=CONFIG, credentials="secret") as client:
                await client.call("shop.Desk.Get", b"x")
                await client.call_many("shop.Desk.Get", [(b"x",)])
                async with client.stream("shop.Desk.Get", b"x") as stream:
                    [one async for one in stream]
        assert [head["authorization"] for head in server.heads] == ["Bearer secret"] * 3

    async def test_a_token_that_expires_is_replaced_on_its_connection(self) -> None:
        made: list[str] = []

        async def credentials() -> str:
            made.append(token(f"token{len(made)}", 0.2 if not made else 3_600))
            return made[-1]

        async with scripted_grpc(echo) as server:
            async with Client(server.target, credentials=credentials, config=CONFIG) as client:
                await client.call("shop.Desk.Get", b"x")
                await eventually(lambda: len(made) == 2)
                await asyncio.sleep(0)
                await client.call("shop.Desk.Get", b"x")
        assert [head["authorization"] for head in server.heads] == [f"Bearer {one}" for one in made]
        assert len(server.peers) == 1

    async def test_a_refused_token_is_replaced(self) -> None:
        made: list[str] = []

        async def credentials() -> str:
            made.append(f"token{len(made)}")
            return made[-1]

        async with scripted_grpc(refusing(1, grpc_status="16")) as server:
            async with Client(server.target, credentials=credentials, config=CONFIG) as client:
                with pytest.raises(CallError) as caught:
                    await client.call("shop.Desk.Get", b"x")
                assert caught.value.status == Status.UNAUTHENTICATED
                await eventually(lambda: len(made) == 2)
                await asyncio.sleep(0)
                await client.call("shop.Desk.Get", b"x")
        assert server.heads[-1]["authorization"] == "Bearer token1"

    @either_client
    async def test_a_token_in_metadata_replaces_the_token_of_the_client(self, kind: str) -> None:
        async with scripted_grpc(echo) as server:
            async with connected(kind, server.target, config=CONFIG, credentials="secret") as client:
                await client.with_options(metadata={"authorization": "Bearer own"}).call(
                    "shop.Desk.Get", b"x"
                )
        assert server.heads[0]["authorization"] == "Bearer own"


class TestRecords:
    @either_client
    async def test_a_record_says_that_a_server_speaks_grpc(self, kind: str) -> None:
        with grpcio_server() as server:
            place = Endpoint(f"tcp://127.0.0.1:{server.port}", protocols=("rpcx", "grpc"))
            async with connected(kind, place, config=ClientConfig()) as client:  # type: ignore[arg-type]
                assert await client.call("test.Echo.Echo", b"x") == b"x"
                assert await client.with_options(compressor="zstd").call("test.Echo.Echo", b"x" * 9_000)
                assert await client.call("test.Echo.Sum", iter([b"1", b"2"])) == b"3"
                async with client.stream("test.Echo.Count", b"2") as stream:
                    assert [one async for one in stream] == [b"0", b"1"]

    async def test_probes_ask_the_health_service_of_grpc(self, caplog: pytest.LogCaptureFixture) -> None:
        asked: list[str] = []

        async def healthy(peer: ScriptedPeer) -> None:
            while True:
                stream, head = await peer.requests.get()
                asked.append(head[":path"])
                is_probe = head[":path"] == "/grpc.health.v1.Health/Check"
                peer.answer(stream, b"\x08\x01" if is_probe else b"up")

        async def sick(peer: ScriptedPeer) -> None:
            while True:
                stream, head = await peer.requests.get()
                is_probe = head[":path"] == "/grpc.health.v1.Health/Check"
                peer.answer(stream, b"\x08\x02" if is_probe else b"down")

        config = ClientConfig(pool=Pool(warm=2, probes=Probes(interval=0.01)))
        async with scripted_grpc(healthy) as first, scripted_grpc(sick) as second:
            async with Client([first.target, second.target], config=config) as client:
                await client.ready(timeout=10)
                await eventually(lambda: "/grpc.health.v1.Health/Check" in asked)
                await eventually(lambda: "is down: it says 'NOT_SERVING'" in caplog.text)
                assert {await client.call("shop.Desk.Get", b"x") for _ in range(20)} == {b"up"}


@either_client
async def test_a_slow_reader_holds_few_messages(kind: str) -> None:
    """The window of the stream holds the server back, for messages of any size."""
    sent = 0

    async def script(peer: ScriptedPeer) -> None:
        nonlocal sent
        stream = await peer.request()
        content = bytes(20_000)
        peer.h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        framed = b"\0\0\0\x4e\x20" + content
        while True:
            while peer.h2.local_flow_control_window(stream) < len(framed):
                await asyncio.sleep(0.001)
            for at in range(0, len(framed), 16_384):
                peer.h2.send_data(stream, framed[at : at + 16_384])
            peer.flush()
            sent += 1

    async with scripted_grpc(script) as server, connected(kind, server.target, config=CONFIG) as client:
        async with client.stream("shop.Desk.Get", b"x") as stream:
            assert await stream.receive() == bytes(20_000)
            await asyncio.sleep(0.2)
            # 64 KiB hold three, and half of the window is given back at a time.
            assert sent <= 8
            for _ in range(50):
                await stream.receive()
