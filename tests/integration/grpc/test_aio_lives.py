"""The life of servers and channels of `fastrpc.grpc.aio`: ports, states, stopping, closing, settings, credentials."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

import fastrpc
from fastrpc import TLS, ConfigError, Identity, ServerConfig
from fastrpc.grpc import aio
from fastrpc.limits import RateLimit
from tests.support.certificates import Authority
from tests.support.generated import generated
from tests.support.orders import AsyncOrders, aio_calling, item, order, servicer_with
from tests.support.waiting import eventually

pytestmark = [pytest.mark.one_loop, pytest.mark.usefixtures("wire")]


def serving(servicer: Any, server: Any) -> Any:
    generated().pb2_grpc.add_OrdersServicer_to_server(servicer, server)
    return server


def stub_of(channel: Any) -> Any:
    return generated().pb2_grpc.OrdersStub(channel)


class TestNames:
    def test_every_other_name_comes_from_grpc_aio(self) -> None:
        ours = {"server", "insecure_channel", "secure_channel"}
        assert set(grpc.aio.__all__) <= set(dir(aio))
        for name in set(grpc.aio.__all__) - ours:
            assert getattr(aio, name) is getattr(grpc.aio, name)
        for name in ours:
            assert getattr(aio, name) is not getattr(grpc.aio, name)
        with pytest.raises(AttributeError):
            aio.no_such_name  # noqa: B018

    async def test_servers_and_channels_match_grpc_aio(self) -> None:
        assert isinstance(aio.server(), grpc.aio.Server)
        async with aio.insecure_channel("localhost:1") as channel:
            assert isinstance(channel, grpc.aio.Channel)


class TestServer:
    async def test_it_listens_at_several_ports(self, tmp_path: Path) -> None:
        server = serving(AsyncOrders(), aio.server())
        ports = [f"localhost:{server.add_insecure_port('[::]:0')}"]
        ports.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
        server.add_insecure_port(f"unix:{tmp_path}/orders")
        ports.append(f"unix:{tmp_path}/orders")
        await server.start()
        for target in ports:
            async with aio.insecure_channel(target) as channel:
                assert await stub_of(channel).Get(item("tea")) == order("tea")
        await server.stop(0)

    async def test_it_starts_once_and_stops_before_it_started(self) -> None:
        server = aio.server()
        server.add_insecure_port("127.0.0.1:0")
        await server.start()
        with pytest.raises(aio.UsageError):
            await server.start()
        await server.stop(None)
        await server.stop(None)
        unstarted = aio.server()
        unstarted.add_insecure_port("127.0.0.1:0")
        await unstarted.stop(None)
        assert not await unstarted.wait_for_termination()

    async def test_a_grace_lets_calls_end_and_none_as_grace_ends_them(self) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def get(request: Any, context: Any) -> Any:
            begun.set()
            await go_on.wait()
            return order("done")

        for grace in (20, None):
            begun.clear()
            go_on.clear()
            server = serving(servicer_with(Get=get), aio.server())
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                call = stub_of(channel).Get(item())
                await begun.wait()
                stopping = asyncio.ensure_future(server.stop(grace))
                if grace is None:
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await call
                    assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
                else:
                    assert await server.wait_for_termination(0.01) is True
                    go_on.set()
                    assert await call == order("done")
                await stopping
                assert await server.wait_for_termination() is False

    async def test_more_calls_than_the_maximum_are_refused(self) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def get(request: Any, context: Any) -> Any:
            begun.set()
            await go_on.wait()
            return order()

        async with aio_calling(servicer_with(Get=get), maximum_concurrent_rpcs=1) as (stub, _):
            first = stub.Get(item())
            await begun.wait()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Get(item())
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            go_on.set()
            await first

    async def test_gate_and_limits_are_as_for_a_server(self) -> None:
        async def known(peer: Any) -> Identity | None:
            return Identity("ada") if peer.credentials == "token" else None

        seen: list[Any] = []

        async def get(request: Any, context: Any) -> Any:
            seen.append(fastrpc.current_call().identity)
            return order()

        limits = [RateLimit(0.001, burst=2)]
        options = {"authenticate": known, "call_limits": limits, "channel": {"credentials": "token"}}
        async with aio_calling(servicer_with(Get=get), **options) as (stub, _):
            await stub.Get(item())
            await stub.Get(item())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Get(item())
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert seen == [Identity("ada")] * 2
        async with aio_calling(servicer_with(Get=get), authenticate=known) as (stub, _):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Get(item())
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    async def test_settings_may_be_given(self) -> None:
        async def get(request: Any, context: Any) -> Any:
            raise KeyError("told")

        config = ServerConfig(expose_errors=True)
        async with aio_calling(servicer_with(Get=get), config=config) as (stub, _):
            with pytest.raises(grpc.aio.AioRpcError, match="Unexpected <class 'KeyError'>: 'told'"):
                await stub.Get(item())


class TestEncryption:
    async def test_ports_and_channels_take_our_certificates(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        certificate = authority.certificate()
        server = serving(AsyncOrders(), aio.server())
        port = server.add_secure_port("127.0.0.1:0", certificate.tls())
        plain = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        trusted = TLS(ca_file=authority.cert_file, server_name="localhost")
        async with aio.secure_channel(f"127.0.0.1:{port}", trusted) as channel:
            assert await stub_of(channel).Get(item("tea")) == order("tea")
        async with aio.insecure_channel(f"127.0.0.1:{plain}") as channel:
            assert await stub_of(channel).Get(item("tea")) == order("tea")
        await server.stop(0)

    def test_credentials_of_grpcio_are_refused(self) -> None:
        with pytest.raises(TypeError, match=r"hides its contents: give a fastrpc\.TLS"):
            aio.secure_channel("localhost:1", grpc.ssl_channel_credentials())
        with pytest.raises(TypeError, match=r"hides its contents: give a fastrpc\.TLS"):
            aio.server().add_secure_port("localhost:0", grpc.ssl_server_credentials([(b"", b"")]))
        with pytest.raises(TypeError, match=r"the credentials are None: give a fastrpc\.TLS"):
            aio.secure_channel("localhost:1", None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="hides its contents: give a token"):
            aio.insecure_channel("localhost:1", credentials=grpc.access_token_call_credentials("t"))

    async def test_credentials_of_one_call_are_refused(self) -> None:
        async with aio.insecure_channel("localhost:1") as channel:
            with pytest.raises(TypeError, match="a call cannot have its own credentials"):
                stub_of(channel).Get(item(), credentials=grpc.access_token_call_credentials("t"))

    async def test_ports_have_one_tls(self, tmp_path: Path) -> None:
        certificate = Authority(tmp_path).certificate()
        server = aio.server()
        server.add_secure_port("127.0.0.1:0", certificate.tls())
        with pytest.raises(ConfigError, match="the ports of a server have one TLS"):
            server.add_secure_port("127.0.0.1:0", TLS(cert_file=certificate.key_file))
        await server.stop(None)


class TestChannel:
    async def test_it_shows_the_state_of_its_connections(self) -> None:
        async with aio_calling(AsyncOrders()) as (_, channel):
            assert channel.get_state() is grpc.ChannelConnectivity.IDLE
            changing = asyncio.ensure_future(channel.wait_for_state_change(grpc.ChannelConnectivity.IDLE))
            assert channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.IDLE
            await changing
            await channel.channel_ready()
            assert channel.get_state() is grpc.ChannelConnectivity.READY
        assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN

    async def test_it_shows_that_a_server_cannot_be_reached(self, unused_tcp_port: int) -> None:
        async with aio.insecure_channel(f"127.0.0.1:{unused_tcp_port}") as channel:
            channel.get_state(try_to_connect=True)
            failed = grpc.ChannelConnectivity.TRANSIENT_FAILURE
            await eventually(lambda: channel.get_state() is failed)

    async def test_closing_cancels_calls_or_waits_for_them(self) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def get(request: Any, context: Any) -> Any:
            begun.set()
            await go_on.wait()
            return order("done")

        for grace in (None, 20):
            begun.clear()
            async with aio_calling(servicer_with(Get=get)) as (stub, channel):
                call, stream = stub.Get(item()), stub.Talk()
                await begun.wait()
                closing = asyncio.ensure_future(channel.close(grace))
                if grace is not None:
                    go_on.set()
                    assert await call == order("done")
                    stream.cancel()
                await closing
                assert call.done()
                assert stream.cancelled()
                assert call.cancelled() is (grace is None)
                with pytest.raises(aio.UsageError, match="Channel is closed"):
                    stub.Get(item())

    async def test_a_negative_grace_is_refused(self) -> None:
        async with aio.insecure_channel("localhost:1") as channel:
            with pytest.raises(ValueError, match="grace is -1"):
                await channel.close(-1)

    async def test_options_limit_messages(self) -> None:
        limited = {"options": [("grpc.max_receive_message_length", 8_192)]}

        async def get(request: Any, context: Any) -> Any:
            return order("x" * request.count)

        async with aio_calling(servicer_with(Get=get), channel=limited) as (stub, _):
            assert await stub.Get(item(count=10)) == order("x" * 10)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Get(item(count=10_000))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    async def test_a_service_config_says_timeouts_and_retries(self) -> None:
        attempts: list[Any] = []

        async def get(request: Any, context: Any) -> Any:
            attempts.append(context.time_remaining())
            if len(attempts) < 3:
                await context.abort(grpc.StatusCode.ABORTED, "again")
            return order(str(len(attempts)))

        policy = (
            '{"maxAttempts": 3, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1,'
            ' "retryableStatusCodes": ["ABORTED"]}'
        )
        config = f'{{"methodConfig": [{{"name": [{{}}], "timeout": "60s", "retryPolicy": {policy}}}]}}'
        options = {"options": [("grpc.service_config", config)]}
        async with aio_calling(servicer_with(Get=get), channel=options) as (stub, _):
            assert await stub.Get(item()) == order("3")
            assert all(50 < left <= 60 for left in attempts)

    async def test_compression_changes_no_message(self) -> None:
        text = "tea" * 10_000
        gzip = grpc.Compression.Gzip
        options = {"compression": gzip, "channel": {"compression": gzip}}
        async with aio_calling(AsyncOrders(), **options) as (stub, _):
            assert await stub.Get(item(text)) == order(text)
            assert await stub.Get(item(text), compression=grpc.Compression.NoCompression) == order(text)
            assert [one async for one in stub.Talk(iter([item(text)]))] == [order(text)]
