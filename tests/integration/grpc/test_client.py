"""Both clients against a server of grpcio: the four kinds of calls, metadata, errors, deadlines, compression, TLS."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import (
    TLS,
    CallError,
    Client,
    ClientConfig,
    ConfigError,
    ConnectError,
    DeadlineExceededError,
    EncodeError,
    Limits,
    Status,
    SyncClient,
)
from tests.support.certificates import Authority
from tests.support.either_client import CLIENTS, connected
from tests.support.grpcio_server import GrpcioServer, grpcio_server
from tests.support.peer_writing import write_to
from tests.support.waiting import eventually

pytestmark = pytest.mark.parametrize("kind", CLIENTS)

BYTES = ClientConfig()


@pytest.fixture(scope="module")
def server() -> Iterator[GrpcioServer]:
    with grpcio_server() as found:
        yield found


@pytest.fixture
async def client(server: GrpcioServer, kind: str) -> AsyncIterator[Any]:
    server.metadata.clear()
    server.remaining.clear()
    async with connected(kind, server.target, config=BYTES) as found:
        yield found


class TestKinds:
    async def test_a_unary_call_is_answered(self, client: Any) -> None:
        assert await client.call("test.Echo.Echo", b"hello") == b"hello"
        assert await client.call("test.Echo.Echo", b"") == b""

    async def test_a_server_streams_its_answer(self, client: Any) -> None:
        async with client.stream("test.Echo.Count", b"1000") as stream:
            assert [one async for one in stream] == [b"%d" % number for number in range(1000)]

    async def test_a_stream_is_sent(self, client: Any) -> None:
        assert (
            await client.call("test.Echo.Sum", iter([b"%d" % number for number in range(1000)])) == b"499500"
        )

    async def test_both_sides_stream_alternately(self, client: Any) -> None:
        async with client.open("test.Echo.Chat") as stream:
            for word in (b"a", b"b"):
                await stream.send(word)
                assert await stream.receive() == b"re: " + word
            await stream.end()
            assert [one async for one in stream] == []

    async def test_a_batch_is_one_call_for_each_tuple(self, client: Any) -> None:
        asked = [(b"%d" % number,) for number in range(200)]
        assert await client.call_many("test.Echo.Echo", asked) == [one for (one,) in asked]

    async def test_the_answer_to_a_notification_is_dropped(self, client: Any, server: GrpcioServer) -> None:
        await client.notify("test.Echo.Echo", b"x")
        await eventually(lambda: server.remaining)
        assert await client.call("test.Echo.Echo", b"y") == b"y"

    @pytest.mark.parametrize("size", [16_000, 70_000, 5_000_000])
    async def test_long_messages_go_both_ways(self, client: Any, size: int) -> None:
        message = bytes(range(256)) * (size // 256)
        assert await client.call("test.Echo.Echo", message) == message
        async with client.open("test.Echo.Chat") as stream:
            for _ in range(3):
                await stream.send(message)
                assert await stream.receive() == b"re: " + message

    async def test_many_calls_share_a_connection(self, client: Any) -> None:
        asked = [b"%d" % number for number in range(300)]
        assert await asyncio.gather(*[client.call("test.Echo.Echo", one) for one in asked]) == asked


class TestMetadata:
    async def test_metadata_goes_out_and_comes_back(self, client: Any, server: GrpcioServer) -> None:
        view = client.with_options(metadata={"x-name": "a b", "x-key-bin": b"\xff\0"})
        reply = await view.request("test.Echo.Pairs", b"x")
        assert server.metadata[-1]["x-name"] == "a b"
        assert server.metadata[-1]["x-key-bin"] == b"\xff\0"
        assert server.metadata[-1]["user-agent"].startswith("fastrpc/")
        assert reply.metadata.entries == {
            "x-head": "1",
            "x-both": "head,end",
            "x-end": "2",
            "x-end-bin": b"\0\1",
        }

    async def test_a_stream_has_first_metadata_and_trailers(self, client: Any) -> None:
        async with client.stream("test.Echo.Count", b"2") as stream:
            assert dict(await stream.headers()) == {"x-head": "1"}
            assert [one async for one in stream] == [b"0", b"1"]
            assert dict(stream.reply.metadata) == {"x-end": "2"}

    @pytest.mark.parametrize("key", ["grpc-timeout", "content-type", "host"])
    async def test_metadata_with_names_of_the_protocol_is_refused(self, client: Any, key: str) -> None:
        with pytest.raises(
            EncodeError, match=f"the metadata key '{key}' is reserved for gRPC itself"
        ) as caught:
            await client.with_options(metadata={key: "1"}).call("test.Echo.Echo", b"x")
        assert caught.value.processed == "no"
        assert await client.call("test.Echo.Echo", b"y") == b"y"

    async def test_text_that_no_field_holds_is_refused(self, client: Any) -> None:
        with pytest.raises(EncodeError, match=r"'x-name' is not visible ASCII.*-bin"):
            await client.with_options(metadata={"x-name": "caf\u00e9"}).call("test.Echo.Echo", b"x")

    async def test_a_program_may_name_itself(self, client: Any, server: GrpcioServer) -> None:
        view = client.with_options(metadata={"user-agent": "shop/2", "authorization": "Basic x"})
        assert await view.call("test.Echo.Echo", b"x") == b"x"
        assert server.metadata[-1]["authorization"] == "Basic x"
        assert "shop/2" in server.metadata[-1]["user-agent"]


class TestErrors:
    async def test_an_error_has_status_and_text(self, client: Any) -> None:
        with pytest.raises(CallError) as caught:
            await client.call("test.Echo.Fail", "NOT_FOUND:no caf\u00e9, 100 %\n".encode())
        assert (caught.value.status, caught.value.message) == (Status.NOT_FOUND, "no caf\u00e9, 100 %\n")
        assert caught.value.processed == "yes"

    async def test_a_method_that_does_not_exist_is_unimplemented(self, client: Any) -> None:
        with pytest.raises(CallError) as caught:
            await client.call("test.Echo.Missing", b"")
        assert caught.value.status == Status.UNIMPLEMENTED

    async def test_an_error_ends_a_stream(self, client: Any) -> None:
        with pytest.raises(CallError) as caught:
            async with client.stream("test.Echo.Missing", b"") as stream:
                [one async for one in stream]
        assert caught.value.status == Status.UNIMPLEMENTED

    async def test_values_of_other_types_are_no_message(self, client: Any) -> None:
        with pytest.raises(EncodeError, match="bytes"):
            await client.call("test.Echo.Echo", {"a": 1})

    async def test_a_stream_has_no_other_argument(self, client: Any) -> None:
        with pytest.raises(EncodeError, match="takes a stream, and over gRPC no other argument"):
            await client.call("test.Echo.Sum", b"5", iter([b"1"]))


class TestTime:
    async def test_the_time_left_travels_rounded_down(self, client: Any, server: GrpcioServer) -> None:
        await client.with_options(timeout=5.0).call("test.Echo.Echo", b"x")
        await client.with_options(timeout=None).call("test.Echo.Echo", b"x")
        assert server.remaining[0] is not None
        assert 0 < server.remaining[0] <= 5.0
        assert server.remaining[1] is None

    async def test_a_deadline_ends_a_call_here_and_there(self, client: Any, server: GrpcioServer) -> None:
        before = server.cancelled
        with pytest.raises(DeadlineExceededError) as caught:
            await client.with_options(timeout=0.3).call("test.Echo.Wait", b"20")
        assert caught.value.processed == "unknown"
        await eventually(lambda: server.cancelled > before)

    async def test_a_stream_that_the_client_leaves_is_cancelled_at_the_server(self, client: Any) -> None:
        async with client.open("test.Echo.Chat") as stream:
            await stream.send(b"a")
            await stream.receive()
        assert await client.call("test.Echo.Echo", b"x") == b"x"


class TestCompression:
    @pytest.mark.parametrize("name", ["gzip", "deflate"])
    async def test_a_message_is_compressed_by_choice(
        self, client: Any, server: GrpcioServer, name: str
    ) -> None:
        message = b"a" * 100_000
        assert await client.with_options(compressor=name).call("test.Echo.Echo", message) == message
        assert await client.with_options(compressor=name).call("test.Echo.Echo", b"short") == b"short"
        async with client.with_options(compressor=name).open("test.Echo.Chat") as stream:
            await stream.send(message)
            assert await stream.receive() == b"re: " + message
            await stream.send(b"b")
            assert await stream.receive() == b"re: b"


class TestLimits:
    async def test_a_long_answer_is_refused(self, server: GrpcioServer, kind: str) -> None:
        config = ClientConfig(limits=Limits(message_bytes=100_000))
        async with connected(kind, server.target, config=config) as client:
            with pytest.raises(EncodeError, match="this client sends at most 100000"):
                await client.call("test.Echo.Echo", bytes(100_001))
            with pytest.raises(CallError, match="this client takes 100000") as caught:
                async with client.open("test.Echo.Chat") as stream:
                    await stream.send(bytes(100_000))
                    await stream.receive()
            assert caught.value.status == Status.RESOURCE_EXHAUSTED
            assert await client.call("test.Echo.Echo", b"x") == b"x"

    async def test_calls_above_the_streams_of_the_server_wait(self, kind: str) -> None:
        with grpcio_server(options=(("grpc.max_concurrent_streams", 2),)) as server:
            async with connected(kind, server.target, config=BYTES) as client:
                asked = [client.call("test.Echo.Wait", b"0.01") for _ in range(8)]
                assert await asyncio.gather(*asked) == [b"0.01"] * 8
                waits = [asyncio.ensure_future(client.call("test.Echo.Wait", b"5")) for _ in range(2)]
                await eventually(lambda: server.begun == 10)
                with pytest.raises(DeadlineExceededError) as caught:
                    await client.with_options(timeout=0.2).call("test.Echo.Echo", b"x")
                assert caught.value.processed == "no"
                for one in waits:
                    one.cancel()
                await asyncio.gather(*waits, return_exceptions=True)


class TestTargets:
    async def test_a_target_is_encrypted(self, kind: str, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        shown = authority.certificate()
        with grpcio_server(key_file=shown.key_file, cert_file=shown.cert_file) as server:
            config = ClientConfig(tls=TLS(ca_file=authority.cert_file))
            async with connected(kind, f"grpcs://localhost:{server.port}", config=config) as client:
                assert await client.call("test.Echo.Echo", b"x") == b"x"

    async def test_the_protocol_may_be_a_setting(self, server: GrpcioServer, kind: str) -> None:
        config = ClientConfig(wire_protocol="grpc")
        async with connected(kind, f"tcp://127.0.0.1:{server.port}", config=config) as client:
            assert await client.call("test.Echo.Echo", b"x") == b"x"

    async def test_several_addresses_may_be_given(self, server: GrpcioServer, kind: str) -> None:
        targets = [server.target, f"GRPC://localhost:{server.port}"]
        async with connected(kind, targets, config=BYTES) as client:  # type: ignore[arg-type]
            assert await client.call("test.Echo.Echo", b"x") == b"x"
            assert await client.with_options(endpoint=targets[1]).call("test.Echo.Echo", b"x") == b"x"

    async def test_a_call_names_the_address_that_was_written(self, server: GrpcioServer, kind: str) -> None:
        targets: Any = [server.target, f"grpc://localhost:{server.port}"]
        async with connected(kind, targets, config=BYTES) as client:
            for place in (targets[1], f"tcp://localhost:{server.port}"):
                reply = await client.with_options(endpoint=place).request("test.Echo.Echo", b"x")
                assert str(reply.endpoint) == targets[1]
                for _ in range(4):
                    reply = await client.with_options(prefer=place).request("test.Echo.Echo", b"x")
                    assert str(reply.endpoint) == targets[1]
            # The endpoint of a reply is a target and an option.
            assert await client.with_options(endpoint=reply.endpoint).call("test.Echo.Echo", b"y") == b"y"
        async with connected(kind, reply.endpoint, config=BYTES) as client:
            assert await client.call("test.Echo.Echo", b"z") == b"z"

    @pytest.mark.parametrize("scheme", ["grpc", "grpcs"])
    async def test_an_error_names_the_address_that_was_written(self, kind: str, scheme: str) -> None:
        with socket.socket() as unheard:
            unheard.bind(("127.0.0.1", 0))
            target = f"{scheme}://127.0.0.1:{unheard.getsockname()[1]}"
            with pytest.raises(ConnectError, match=f"cannot connect to {target} ") as failed:
                if kind == "async":
                    async with Client(target) as client:
                        await client.call("test.Echo.Echo", b"x")
                else:
                    with SyncClient(target) as blocking:
                        await asyncio.to_thread(blocking.call, "test.Echo.Echo", b"x")
        assert "tcp://" not in str(failed.value)
        assert "tls://" not in str(failed.value)

    async def test_a_server_of_another_protocol_is_recognised(self, kind: str) -> None:
        def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            write_to(writer, b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            writer.close()

        listening = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        async with listening:
            if kind == "async":
                async with Client(f"grpc://127.0.0.1:{port}", config=BYTES) as client:
                    with pytest.raises(ConnectError, match="does not speak HTTP/2"):
                        await client.call("test.Echo.Echo", b"x")
            else:
                with SyncClient(f"grpc://127.0.0.1:{port}", config=BYTES) as blocking:
                    with pytest.raises(ConnectError, match="does not speak HTTP/2"):
                        await asyncio.to_thread(blocking.call, "test.Echo.Echo", b"x")


@pytest.mark.one_loop
class TestSettings:
    @pytest.mark.parametrize(
        ("target", "config", "problem"),
        [
            ("grpc://h:1", ClientConfig(wire_protocol="native"), "wire_protocol is 'native'"),
            (["grpc://h:1", "tcp://h:2"], ClientConfig(), "only some of the addresses"),
            ("grpc://h:1", ClientConfig(compressor="zstd"), "'zstd', and grpc has gzip, deflate"),
            ("tcp://h:1", ClientConfig(compressor="lz4", wire_protocol="grpc"), "grpc has gzip, deflate"),
            ("grpc://h", ClientConfig(), "names no port"),
        ],
    )
    async def test_settings_that_do_not_fit_are_refused(
        self, kind: str, target: Any, config: ClientConfig, problem: str
    ) -> None:
        make: Any = Client if kind == "async" else SyncClient
        with pytest.raises(ConfigError, match=problem):
            make(target, config=config)

    async def test_a_view_has_no_other_compressor_either(self, kind: str) -> None:
        make: Any = Client if kind == "async" else SyncClient
        with pytest.raises(ConfigError, match="grpc has gzip, deflate"):
            make("grpc://h:1").with_options(compressor="zstd")

    async def test_a_client_of_grpc_serves_nothing(self, kind: str) -> None:
        if kind == "sync":
            return
        with pytest.raises(ConfigError, match="servers of grpc do not call their clients"):
            Client("grpc://h:1", services=[object()])
