"""The stream among the arguments of a call."""

from typing import Any

from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.client.caller_view import split_iterator
from fastrpc.peers.route_maker import RouteMaker

__all__ = ["split_messages", "takes_stream"]


def split_messages(
    routes: RouteMaker, codec: str, verb: str, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[MethodRoute, tuple[Any, ...], dict[str, Any], Any]:
    """Return a method's route, its arguments without the stream, and the stream.

    The stream is None for `open`, and for a method that takes no stream.

    Raises:
        TypeError: the verb does not fit the kind of method, the stream is missing, or `open` is given a stream.
    """
    messages = None
    if isinstance(method, str) and verb != "open":
        args, kwargs, messages = split_iterator(args, kwargs)
    route = routes.stream_route(method, codec, verb, messages is not None)
    if takes_stream(route) and verb != "open" and messages is None:
        args, kwargs, messages = route.definition.split_stream(args, kwargs)
        _check_messages(route.method, messages)
    if verb == "open" and not isinstance(method, str):
        _check_opened(route, args, kwargs)
    return route, args, kwargs, messages


def takes_stream(route: MethodRoute) -> bool:
    """Return whether a method takes a stream."""
    return route.kind in {"client_stream", "both_ways"}


def _check_opened(route: MethodRoute, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse a stream among the arguments of `open`. Otherwise the error would be about the number of arguments."""
    stream = route.definition.signature.stream
    if stream is not None and (len(args) > len(route.definition.parameters) or stream.name in kwargs):
        other = "call" if route.kind == "client_stream" else "stream"
        raise TypeError(
            f"open() takes the arguments of {route.method} without its stream {stream.name!r}: "
            f"send the messages by hand, or write client.{other}(…) to give all of them"
        )


def _check_messages(method: str, messages: Any) -> None:
    if isinstance(messages, str | bytes) or not (
        hasattr(messages, "__aiter__") or hasattr(messages, "__iter__")
    ):
        raise TypeError(
            f"{method} takes a stream: give an iterable of messages, asynchronous or not, not {type(messages).__name__}"
        )
