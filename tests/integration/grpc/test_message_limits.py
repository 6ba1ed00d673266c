"""Limits of messages by options: one for each direction, of any size, with the status of grpcio."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

import fastrpc.grpc
from fastrpc.grpc import aio
from tests.support.both_servers import KINDS, STYLES, ask, served

pytestmark = pytest.mark.one_loop

SENT, RECEIVED = "grpc.max_send_message_length", "grpc.max_receive_message_length"
ENDS = {"loop": aio, "thread": fastrpc.grpc}
#: Above the limit of received messages that is the default.
LONG = 17 << 20


def sized(style: str, name: str) -> Any:
    """Return a handler that answers with as many bytes as the last request says, or with the size of its requests."""

    def answer(request: bytes) -> bytes:
        return bytes(int(request)) if request.isdigit() else b"%d" % len(request)

    async def on_loop(request: Any, context: Any) -> bytes:
        return answer([one async for one in request][-1] if name == "total" else request)

    async def stream_on_loop(request: Any, context: Any) -> Any:
        yield answer([one async for one in request][-1] if name == "talk" else request)

    def in_thread(request: Any, context: Any) -> bytes:
        return answer(list(request)[-1] if name == "total" else request)

    def stream_in_thread(request: Any, context: Any) -> Any:
        yield answer(list(request)[-1] if name == "talk" else request)

    kinds = {"loop": (on_loop, stream_on_loop), "thread": (in_thread, stream_in_thread)}
    return kinds[style][name in {"stream", "talk"}]


def call(style: str, target: str, name: str, request: bytes, options: Any = None) -> tuple[str, str, int]:
    """Call by a channel of ours; return the status, its text, and the bytes of the answer."""
    given = iter([request]) if name in {"total", "talk"} else request

    async def on_loop() -> tuple[str, str, int]:
        async with aio.insecure_channel(target, options) as channel:
            made = getattr(channel, KINDS[name])(f"/test/{name}")(given, timeout=20)
            try:
                found = [one async for one in made] if name in {"stream", "talk"} else [await made]
            except grpc.RpcError:
                found = [b""]
            return (await made.code()).name, await made.details(), len(found[-1])

    if style == "loop":
        return asyncio.run(on_loop())
    with fastrpc.grpc.insecure_channel(target, options) as channel:
        method = getattr(channel, KINDS[name])(f"/test/{name}")
        try:
            if name in {"stream", "talk"}:
                made = method(given, timeout=20)
                return "OK", "", len(list(made)[-1])
            return "OK", "", len(method(given, timeout=20))
        except grpc.RpcError as error:
            return error.code().name, error.details(), 0


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", KINDS)
class TestServers:
    @pytest.mark.parametrize("limit", [0, 100, 5_000])
    def test_a_request_above_the_limit_of_received_messages(self, style: str, name: str, limit: int) -> None:
        handlers = {name: sized(style, name)}
        with served("ours", style, handlers, options=[(RECEIVED, limit)]) as target:
            assert ask(target, name, b"x" * limit)[1] == "OK"
            assert ask(target, name, b"x" * (limit + 1))[1] == "RESOURCE_EXHAUSTED"

    @pytest.mark.parametrize("limit", [100, 5_000])
    def test_an_answer_above_the_limit_of_sent_messages(self, style: str, name: str, limit: int) -> None:
        handlers = {name: sized(style, name)}
        with served("ours", style, handlers, options=[(SENT, limit)]) as target:
            assert len(ask(target, name, b"%d" % limit)[0][0]) == limit
            _, code, text, *_ = ask(target, name, b"%d" % (limit + 1))
            assert code == "RESOURCE_EXHAUSTED"
            assert text == f"SERVER: Sent message larger than max ({limit + 1} vs. {limit})"

    def test_each_limit_leaves_the_other_direction_alone(self, style: str, name: str) -> None:
        handlers = {name: sized(style, name)}
        with served("ours", style, handlers, options=[(RECEIVED, 100)]) as target:
            assert len(ask(target, name, b"9000")[0][0]) == 9_000
        with served("ours", style, handlers, options=[(SENT, 100)]) as target:
            assert ask(target, name, b"x" * 9_000)[0] == [b"9000"]


@pytest.mark.parametrize("style", STYLES)
def test_a_server_bounds_what_it_receives_and_sends_any_size(style: str) -> None:
    with served("ours", style, {"unary": sized(style, "unary")}) as target:
        assert ask(target, "unary", bytes(LONG))[1] == "RESOURCE_EXHAUSTED"
        assert len(ask(target, "unary", b"%d" % LONG)[0][0]) == LONG
    with served("ours", style, {"unary": sized(style, "unary")}, options=[(RECEIVED, -1)]) as target:
        assert ask(target, "unary", bytes(LONG))[0] == [b"%d" % LONG]


@pytest.mark.parametrize("style", STYLES)
class TestChannels:
    @pytest.mark.parametrize("name", KINDS)
    @pytest.mark.parametrize("limit", [100, 5_000])
    def test_a_request_above_the_limit_of_sent_messages(self, style: str, name: str, limit: int) -> None:
        with served("grpcio", style, {name: sized(style, name)}) as target:
            options = [(SENT, limit)]
            assert call(style, target, name, b"x" * limit, options)[0] == "OK"
            code, text, _ = call(style, target, name, b"x" * (limit + 1), options)
            assert code == "RESOURCE_EXHAUSTED"
            assert text == f"CLIENT: Sent message larger than max ({limit + 1} vs. {limit})"

    @pytest.mark.parametrize("name", KINDS)
    @pytest.mark.parametrize("limit", [100, 5_000])
    def test_an_answer_above_the_limit_of_received_messages(self, style: str, name: str, limit: int) -> None:
        with served("grpcio", style, {name: sized(style, name)}) as target:
            options = [(RECEIVED, limit)]
            assert call(style, target, name, b"%d" % limit, options)[0] == "OK"
            assert call(style, target, name, b"%d" % (limit + 1), options)[0] == "RESOURCE_EXHAUSTED"

    def test_a_client_bounds_its_received_messages_and_sends_any_size(self, style: str) -> None:
        unbounded = [(RECEIVED, -1)]
        with served("grpcio", style, {"unary": sized(style, "unary")}, options=unbounded) as target:
            assert call(style, target, "unary", bytes(LONG)) == ("OK", "", len(b"%d" % LONG))
            assert call(style, target, "unary", b"%d" % LONG)[0] == "RESOURCE_EXHAUSTED"
            assert call(style, target, "unary", b"%d" % LONG, unbounded) == ("OK", "", LONG)


def ended(function: Callable[[], Any]) -> tuple[str, str]:
    """Return status and text of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        function()
    return caught.value.code().name, caught.value.details()


def refuse(_: Any) -> Any:
    raise ValueError("not this one")


def as_list(answer: Any) -> list[bytes]:
    return [answer] if isinstance(answer, bytes) else list(answer)


@pytest.mark.parametrize("name", ["total", "talk"])
async def test_a_written_message_above_the_limit_ends_the_call(name: str) -> None:
    with served("grpcio", "thread", {name: sized("thread", name)}) as target:
        async with aio.insecure_channel(target, [(SENT, 100)]) as channel:
            made = getattr(channel, KINDS[name])(f"/test/{name}")()
            await made.write(b"1")
            with pytest.raises(grpc.RpcError):
                await made.write(b"x" * 101)
            assert made.done()
            assert (await made.code()).name == "RESOURCE_EXHAUSTED"
            with pytest.raises(asyncio.InvalidStateError):
                await made.write(b"2")


@pytest.mark.parametrize("library", [fastrpc.grpc, grpc])
class TestThreadedCalls:
    """Texts of channels for threads, where nothing but the channel itself is wrong."""

    def test_functions_that_fail(self, library: Any) -> None:
        with served("grpcio", "thread", {"unary": sized("thread", "unary")}) as target:
            with library.insecure_channel(target) as channel:
                bad_request = channel.unary_unary("/test/unary", refuse)
                bad_answer = channel.unary_unary("/test/unary", None, refuse)
                assert ended(lambda: bad_request(b"1")) == ("INTERNAL", "Exception serializing request!")
                assert ended(lambda: bad_answer(b"1")) == ("INTERNAL", "Exception deserializing response!")
                assert ended(lambda: bad_request.future(b"1").result())[0] == "INTERNAL"

    @pytest.mark.parametrize("name", ["total", "talk"])
    def test_a_later_request_that_cannot_be_encoded_ends_a_call_without_a_deadline(
        self, library: Any, name: str
    ) -> None:
        def encode(request: bytes) -> bytes:
            return refuse(request) if request == b"bad" else request

        with served("grpcio", "thread", {name: sized("thread", name)}) as target:
            with library.insecure_channel(target) as channel:
                method = getattr(channel, KINDS[name])(f"/test/{name}", encode)
                expected = ("INTERNAL", "Exception serializing request!")
                assert ended(lambda: as_list(method(iter([b"1", b"bad", b"2"])))) == expected

    @pytest.mark.parametrize("metadata", [(("a b", "c"),), (("A", "c"),), (("a", "c\n"),), (("a", "ü"),)])
    def test_metadata_that_cannot_be_sent(self, library: Any, metadata: Any) -> None:
        with served("grpcio", "thread", {name: sized("thread", name) for name in KINDS}) as target:
            with library.insecure_channel(target) as channel:
                unary = channel.unary_unary("/test/unary")
                stream = channel.unary_stream("/test/stream")
                assert ended(lambda: unary(b"1", metadata=metadata)) == ("INTERNAL", "Invalid metadata")
                assert ended(lambda: list(stream(b"1", metadata=metadata))) == (
                    "INTERNAL",
                    "Invalid metadata",
                )
