"""Make streams from the arguments of a verb. The program starts them."""

from typing import Any, Generic, TypeVar, cast

from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.caller_view import ViewOptions
from fastrpc._core.client.client_call import made_by
from fastrpc.errors import FastRPCError
from fastrpc.peers.packing import pack_arguments
from fastrpc.peers.route_maker import RouteMaker
from fastrpc.peers.stream import Stream
from fastrpc.peers.stream_arguments import split_messages, takes_stream

__all__ = ["BaseStreamMaker", "StreamMaker"]

M = TypeVar("M")


class BaseStreamMaker(Generic[M]):
    """Makes the streams of one caller, a `Client` or a `SyncClient`. `M` is the class of the streams."""

    def __init__(self, routes: RouteMaker, idle_seconds: float) -> None:
        self._routes = routes
        self._idle_seconds = idle_seconds

    def make(self, verb: str, view: Any, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> M:
        """Return a stream that has not started. The stream parameter is taken from the arguments, except for `open`.

        Raises:
            TypeError: the verb does not accept this kind of method, or the stream is missing.
        """
        options = view._options
        route, args, kwargs, messages = split_messages(
            self._routes, options.codec, verb, method, args, kwargs
        )
        return self._stream(options, view.hash_key, route, (args, kwargs), messages)

    def _stream(
        self, options: ViewOptions, hash_key: Any, route: MethodRoute, given: Any, messages: Any
    ) -> M:
        raise NotImplementedError


class StreamMaker(BaseStreamMaker[Stream[Any, Any]]):
    """Makes the streams of one caller; `open` and `retry` make their attempts."""

    def _stream(
        self, options: ViewOptions, hash_key: Any, route: MethodRoute, given: Any, messages: Any
    ) -> Stream[Any, Any]:
        return Stream(self, options, hash_key, route, given, messages=messages)

    async def call(self, call: AwaitedCall) -> Any:
        """Call a method that streams only its input, and return its one answer."""
        if made_by(call) == "notify":
            raise TypeError(
                f"{call.method} takes a stream, which a notification cannot send: write client.call(…)"
            )
        args, kwargs = cast(Any, call._streamed)
        method = call.route.definition.function if takes_stream(call.route) else call.method
        async with self.make("call", call, method, args, kwargs or {}) as stream:
            value = await stream.receive()
            return stream.reply if made_by(call) == "request" else value

    async def _first_attempt(self, call: AwaitedCall, connection: Any) -> AwaitedCall:
        """Return the first attempt of a stream, ready to be sent on a connection."""
        attempt = call._attempt_on(connection, 0)
        await pack_arguments(attempt)
        return attempt

    async def open(self, stream: Stream[Any, Any]) -> None:
        """Return after an attempt has started, or raise the error that prevents it."""
        raise NotImplementedError

    def retry(self, stream: Stream[Any, Any], error: FastRPCError) -> bool:
        """Start another attempt after `error` ended the last one. Return False if no attempt follows."""
        raise NotImplementedError
