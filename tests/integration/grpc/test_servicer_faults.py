"""The answers for a servicer that fails: the statuses and texts of grpcio, on the loop and in threads."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from fastrpc import ServerConfig
from tests.support.both_servers import STYLES, ask, ask_both, served

pytestmark = pytest.mark.one_loop

NAMES = ("unary", "stream", "total", "talk")


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


ERRORS: dict[str, Callable[[], BaseException]] = {
    "a text": lambda: ValueError("boom"),
    "a key": lambda: KeyError("key"),
    "none": lambda: Exception(),
    "not implemented": lambda: NotImplementedError("later"),
    "of grpcio": lambda: grpc.RpcError("behind"),
    "of time": lambda: TimeoutError("late"),
}


def raising(style: str, name: str, error: BaseException) -> Any:
    """Return a handler that raises."""

    async def on_loop(request: Any, context: Any) -> Any:
        raise error

    async def stream_on_loop(request: Any, context: Any) -> Any:
        yield b"first"
        raise error

    def in_thread(request: Any, context: Any) -> Any:
        raise error

    def stream_in_thread(request: Any, context: Any) -> Any:
        yield b"first"
        raise error

    kinds = {"loop": (on_loop, stream_on_loop), "thread": (in_thread, stream_in_thread)}
    return kinds[style][name in {"stream", "talk"}]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("error", ERRORS)
def test_an_exception_has_status_and_text_of_grpcio(style: str, name: str, error: str) -> None:
    found = ask_both(style, name, lambda _: raising(style, name, ERRORS[error]()))
    assert found["ours"] == found["grpcio"]
    assert found["ours"][0][1] == "UNKNOWN"


def test_the_texts_of_exceptions_are_known_ones() -> None:
    texts = {
        ("loop", "unary"): "Unexpected <class 'ValueError'>: boom",
        ("thread", "unary"): "Exception calling application: boom",
        ("thread", "stream"): "Exception iterating responses: boom",
    }
    for (style, name), text in texts.items():
        with served("ours", style, {name: raising(style, name, ValueError("boom"))}) as target:
            assert ask(target, name)[2] == text


def test_a_function_in_a_thread_that_raises_before_its_first_message_is_recognised() -> None:
    found = ask_both("thread", "stream", lambda _: raising("thread", "unary", ValueError("boom")))
    assert found["ours"] == found["grpcio"]
    assert found["ours"][0][2] == "Exception calling application: boom"


@pytest.mark.parametrize("style", STYLES)
def test_an_exception_without_a_text_reaches_the_caller_all_the_same(style: str) -> None:
    with served("ours", style, {"unary": raising(style, "unary", UnprintableError())}) as target:
        assert ask(target, "unary")[1] == "UNKNOWN"


@pytest.mark.parametrize("style", STYLES)
def test_plain_functions_on_the_loops_server_have_its_texts(style: str) -> None:
    found = ask_both("loop", "unary", lambda _: raising(style, "unary", ValueError("boom")))
    assert found["ours"] == found["grpcio"]


@pytest.mark.parametrize("style", STYLES)
def test_with_settings_the_caller_gets_an_id_unless_they_expose_errors(style: str) -> None:
    handler = {"unary": raising(style, "unary", ValueError("boom"))}
    with served("ours", style, handler, config=ServerConfig()) as target:
        _, code, text, *_ = ask(target, "unary")
    assert code == "UNKNOWN"
    assert "boom" not in text
    assert "the server's log has the reason under id" in text
    with served("ours", style, handler, config=ServerConfig(expose_errors=True)) as target:
        assert "boom" in ask(target, "unary")[2]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("text", ["", "mine"])
def test_an_exception_after_a_status_keeps_the_status(style: str, text: str) -> None:
    def make(notes: list[Any]) -> Any:
        def in_thread(request: bytes, context: Any) -> bytes:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_trailing_metadata((("key", "value"),))
            if text:
                context.set_details(text)
            raise ValueError("boom")

        async def on_loop(request: bytes, context: Any) -> bytes:
            return in_thread(request, context)

        return on_loop if style == "loop" else in_thread

    found = ask_both(style, "unary", make)
    assert found["ours"] == found["grpcio"]


def refuse(_: Any) -> Any:
    raise ValueError("not this one")


class TestMessages:
    @pytest.mark.parametrize("style", STYLES)
    @pytest.mark.parametrize("name", NAMES)
    def test_a_request_that_does_not_decode(self, style: str, name: str) -> None:
        async def on_loop(request: Any, context: Any) -> bytes:
            return b"%d" % (len([one async for one in request]) if name == "total" else 0)

        async def stream_on_loop(request: Any, context: Any) -> Any:
            if name == "talk":
                async for _ in request:
                    yield b"one"
            yield b"last"

        def in_thread(request: Any, context: Any) -> bytes:
            return b"%d" % (len(list(request)) if name == "total" else 0)

        def stream_in_thread(request: Any, context: Any) -> Any:
            if name == "talk":
                for _ in request:
                    yield b"one"

        kinds = {"loop": (on_loop, stream_on_loop), "thread": (in_thread, stream_in_thread)}
        handler = kinds[style][name in {"stream", "talk"}]
        expected = ("UNKNOWN", "Unexpected <class 'ValueError'>: not this one")
        if style == "thread":
            expected = ("INTERNAL", "Exception deserializing request!")
        with served("ours", style, {name: handler}, request_deserializer=refuse) as target:
            assert ask(target, name)[:3] == ([], *expected)
        if style == "loop" or name in {"unary", "stream"}:
            # In threads grpcio leaves a handler waiting for its next request, for ever.
            with served("grpcio", style, {name: handler}, request_deserializer=refuse) as target:
                assert ask(target, name)[:3] == ([], *expected)

    @pytest.mark.parametrize("style", STYLES)
    @pytest.mark.parametrize("name", ["unary", "total"])
    @pytest.mark.parametrize("encode", [None, bytes, refuse, lambda value: None, lambda value: value])
    def test_none_as_an_answer_ends_the_call_as_in_grpcio(self, style: str, name: str, encode: Any) -> None:
        async def on_loop(request: Any, context: Any) -> None:
            return None

        def in_thread(request: Any, context: Any) -> None:
            return None

        handler = on_loop if style == "loop" else in_thread
        found = ask_both(style, name, lambda _: handler, response_serializer=encode)
        assert found["ours"] == found["grpcio"]

    @pytest.mark.parametrize("style", STYLES)
    @pytest.mark.parametrize("encode", [None, bytes, refuse])
    def test_none_as_a_message_ends_the_call_as_in_grpcio(self, style: str, encode: Any) -> None:
        async def on_loop(request: Any, context: Any) -> Any:
            yield None

        def in_thread(request: Any, context: Any) -> Any:
            yield None

        handler = on_loop if style == "loop" else in_thread
        found = ask_both(style, "stream", lambda _: handler, response_serializer=encode)
        assert found["ours"] == found["grpcio"]

    def test_no_iterator_of_messages(self) -> None:
        found = ask_both("thread", "stream", lambda _: lambda request, context: None)
        assert found["ours"] == found["grpcio"]

    def test_text_of_the_loops_server_is_encoded(self) -> None:
        async def get(request: Any, context: Any) -> str:
            return "grün"

        found = ask_both("loop", "unary", lambda _: get)
        assert found["ours"] == found["grpcio"]


METADATA = {
    "a key with a space": (("a b", "c"),),
    "a key with a capital": (("Ab", "c"),),
    "a key of a pseudo field": ((":path", "c"),),
    "no key": (("", "c"),),
    "a value with a line feed": (("a", "c\n"),),
    "a value that is not ASCII": (("a", "ü"),),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", ["unary", "stream"])
@pytest.mark.parametrize("way", ["head", "trailers"])
@pytest.mark.parametrize("metadata", METADATA)
def test_metadata_that_cannot_be_sent_is_internal(style: str, name: str, way: str, metadata: str) -> None:
    pairs = METADATA[metadata]

    def use(context: Any) -> Any:
        if way == "head":
            return context.send_initial_metadata(pairs)
        return context.set_trailing_metadata(pairs)

    async def on_loop(request: bytes, context: Any) -> bytes:
        done = use(context)
        if done is not None:
            await done
        return b""

    async def stream_on_loop(request: bytes, context: Any) -> Any:
        yield await on_loop(request, context)

    def in_thread(request: bytes, context: Any) -> bytes:
        use(context)
        return b""

    def stream_in_thread(request: bytes, context: Any) -> Any:
        yield in_thread(request, context)

    kinds = {"loop": (on_loop, stream_on_loop), "thread": (in_thread, stream_in_thread)}
    found = ask_both(style, name, lambda _: kinds[style][name == "stream"])
    assert found["ours"][0][1:] == found["grpcio"][0][1:]
    assert found["ours"][0][1:3] == ("INTERNAL", "Invalid metadata")
