"""The facts about a method before a call: its kind, its parameters, and the place of its stream."""

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import typer

from fastrpc.cli.calling.standard_streams import read_lines
from fastrpc.cli.calling.values import needs_types, read_arguments, read_message
from fastrpc.errors import CallError, ConfigError, FastRPCError
from fastrpc.rpc.described_services import SERVICES_METHOD, MethodDescription, read_descriptions
from fastrpc.status import Status

__all__ = [
    "ASK_SECONDS",
    "INPUT_MARK",
    "Kind",
    "KindName",
    "KnownMethod",
    "Prepared",
    "is_of_another_kind",
    "known_method",
    "needs_method",
]

#: Seconds to wait for the signatures of a server.
ASK_SECONDS = 1.0

#: The argument that stands for the messages on standard input.
INPUT_MARK = "-"

#: Codecs whose payload is one value, or one message.
_OF_ONE_VALUE = frozenset({"protobuf", "raw"})


class KindName(StrEnum):
    """The kinds of methods, as reflection names them."""

    UNARY = "unary"
    CLIENT_STREAM = "client_stream"
    SERVER_STREAM = "server_stream"
    BOTH_WAYS = "both_ways"


Kind = Annotated[
    KindName | None,
    typer.Option(
        "--kind",
        help="The kind of the method; needed only if the server does not show its signatures.",
    ),
]


class Prepared(NamedTuple):
    """The arguments of a call; `has_input` if its messages come from standard input."""

    args: list[Any]
    kwargs: dict[str, Any]
    has_input: bool


class KnownMethod:
    """A method, as its server or `--kind` describes it, if either does."""

    def __init__(self, name: str, told: MethodDescription | None, kind: KindName | None) -> None:
        self.name = name
        #: The method in the form that clients accept.
        self.target: Any = name
        self.is_certain = told is not None or kind is not None
        self.kind: str = kind or ("unary" if told is None else told.kind)
        self._told = told

    @property
    def gives_stream(self) -> bool:
        return self.kind in {"server_stream", "both_ways"}

    @property
    def takes_stream(self) -> bool:
        return self.kind in {"client_stream", "both_ways"}

    def prepare(self, texts: Sequence[str], codec: str | None) -> Prepared:
        """Parse the texts of the command line; return the arguments of the call.

        Raises:
            ConfigError: the place of the stream is not marked, an argument is wrong, or there are more arguments than
                the codec allows.
        """
        rest = list(texts)
        if self.takes_stream:
            marks = {INPUT_MARK, f"{self._stream_name}={INPUT_MARK}"}
            at = next((number for number, text in enumerate(rest) if text in marks), None)
            if at is None:
                raise ConfigError(
                    f"{self.name} takes a stream of messages",
                    hint=f"write {INPUT_MARK} in place of the stream, and give its messages as lines on standard input",
                )
            del rest[at]
        types = {} if self._told is None else {one.name: one.type for one in self._told.parameters}
        args, kwargs = read_arguments(rest, codec=codec, types=types)
        if codec in _OF_ONE_VALUE and (kwargs or len(args) > 1):
            raise ConfigError(
                f"{self.name} by codec {codec} takes one value, given by position",
                hint="give one, or leave --codec out",
            )
        return Prepared(args, kwargs, self.takes_stream)

    async def input(self, codec: str | None) -> AsyncIterator[Any]:
        """Yield the messages on standard input, one per line."""
        stream = None if self._told is None else self._told.stream
        kind = "" if stream is None else stream.type
        async for line in read_lines():
            # An empty line is a message only if messages may be texts.
            if line or codec == "raw" or kind == "str":
                yield read_message(line, codec, kind)

    @property
    def _stream_name(self) -> str:
        stream = None if self._told is None else self._told.stream
        return "" if stream is None else stream.name


async def known_method(view: Any, name: str, kind: KindName | None, timeout: float) -> KnownMethod:
    """Ask the server for the description of a method."""
    return KnownMethod(name, await _description(view, name, timeout), kind)


async def _description(view: Any, method: str, timeout: float) -> MethodDescription | None:
    """Return the server's description of a method; None if its reflection is off."""
    try:
        asked = view.with_options(
            timeout=min(timeout, ASK_SECONDS), idempotent=True, codec="msgpack", metadata=None
        )
        services = read_descriptions(await asked.call(SERVICES_METHOD), "the server")
    except FastRPCError:
        return None  # The call itself reports the cause.
    methods = (one for service in services for one in service.methods)
    return next((one for one in methods if method in (one.full_name, *one.aliases)), None)


def needs_method(texts: Sequence[str], codec: str | None) -> bool:
    """Return whether the types of a call's arguments are known only to the server."""
    is_marked = any(text == INPUT_MARK or text.endswith(f"={INPUT_MARK}") for text in texts)
    return is_marked or needs_types(texts, codec=codec)


def is_of_another_kind(error: CallError) -> bool:
    """Return whether a server refused a call because the method is of another kind, such as a stream."""
    is_refusal = error.status is Status.INVALID_ARGUMENT and error.processed == "no"
    return is_refusal and "stream" in f"{error.message} {error.hint}"
