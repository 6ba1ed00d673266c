"""`fastrpc call`: one call from the command line."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import typer

from fastrpc.cli.calling.grpc_methods import KnownGrpcMethod, grpc_method
from fastrpc.cli.calling.http import HttpCall, call_by_http
from fastrpc.cli.calling.method_kinds import (
    ASK_SECONDS,
    Kind,
    KindName,
    KnownMethod,
    is_of_another_kind,
    known_method,
    needs_method,
)
from fastrpc.cli.calling.standard_streams import write_lines
from fastrpc.cli.calling.values import read_arguments, read_metadata, refuse_options
from fastrpc.cli.dial_options import (
    DIAL_OPTIONS,
    Authorities,
    Certificate,
    Key,
    ServerName,
    TokenPath,
    dialing,
)
from fastrpc.cli.printing import (
    counted,
    json_text,
    line_of,
    print_json,
    print_note,
    print_value,
    reported,
)
from fastrpc.client.client import Client
from fastrpc.errors import CallError, ConfigError, FastRPCError, StreamEndedError
from fastrpc.gateway.dialing import Dialing, is_http
from fastrpc.gateway.grpc_servers.details import shown_details
from fastrpc.gateway.grpc_servers.reflection import is_grpc
from fastrpc.peers.stream import Stream
from fastrpc.registries.base.urls import names_registry, target_for
from fastrpc.rpc.described_services import SERVICES_METHOD
from fastrpc.rpc.reply import Reply
from fastrpc.status import Status
from fastrpc.workers.plan import ExitCode
from fastrpc.workers.process import loop_factory

__all__ = [
    "Address",
    "CALL_SECONDS",
    "AsJson",
    "CallTimeout",
    "Codec",
    "Method",
    "Timeout",
    "Values",
    "call",
    "described_method",
    "has_descriptors",
    "hinted",
    "kind_hinted",
    "run_async",
    "time_limit",
]

T = TypeVar("T")

#: Seconds for one call by default.
CALL_SECONDS = 5.0

Address = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS",
        help="Where the server is, such as tcp://host:port or grpc://host:port, or the registry that lists it: "
        "registry://host:port or registry://host:port/service.",
    ),
]
CallAddress = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS",
        help="Where the server is, such as tcp://host:port, grpc://host:port or http://host:port, or the registry "
        "that lists it: registry://host:port or registry://host:port/service.",
    ),
]
Method = Annotated[str, typer.Argument(metavar="METHOD", help="Full name, service.method.")]
Values = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="VALUE|NAME=VALUE",
        help="Arguments. A str parameter takes the text as it is, if the server shows its signatures; "
        "other values are JSON, else text.",
    ),
]
Timeout = Annotated[
    float, typer.Option("--timeout", "-t", min=0.001, metavar="SECONDS", help="Seconds for one call.")
]
CallTimeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        "-t",
        min=0.001,
        metavar="SECONDS",
        help=f"Seconds for one call ({CALL_SECONDS:g} by default), or for a whole stream (no limit by default).",
        show_default=False,
    ),
]
Codec = Annotated[
    str | None,
    typer.Option(
        "--codec", metavar="NAME", help="How arguments are encoded: msgpack (default), json or raw."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON, for machines.")]

OPTIONS = ("--timeout", "--codec", "--metadata", "--kind", *DIAL_OPTIONS, "--json", "--help")


def call(
    address: CallAddress,
    method: Method,
    values: Values = None,
    timeout: CallTimeout = None,
    codec: Codec = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", "-m", metavar="KEY=VALUE", help="Metadata to send; may be repeated."),
    ] = None,
    kind: Kind = None,
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: AsJson = False,
) -> None:
    """Call a method and print its answer, or each message of its stream on a line.

    A method that takes a stream gets the lines of standard input: write `-` in the place of its stream.
    """
    texts = values or ()
    with reported(ExitCode.USAGE):
        refuse_options(texts, OPTIONS)
        read_arguments(texts, codec=codec)
        dial = dialing(ca, cert, key, server_name, token_file)
        entries = read_metadata(metadata or ())
        if is_http(address) and codec not in {None, "json"}:
            raise ConfigError(f"--codec is {codec}, calls by HTTP use json", hint="leave it out")
    if is_http(address):
        with reported(ExitCode.FAILED, as_json=as_json):
            call_by_http(
                address, dial, HttpCall(method, texts, entries, kind, timeout, CALL_SECONDS, as_json)
            )
        return
    with reported(ExitCode.USAGE):
        client = dial.client(target_for(address, method.rpartition(".")[0]))
        options: dict[str, Any] = {"metadata": entries}
        if codec is not None:
            options["codec"] = codec
        view = client.with_options(**options)
    with reported(ExitCode.FAILED, as_json=as_json), hinted(address, dial):
        run_async(_call(client, view, _Wanted(address, method, texts, codec, kind, timeout, as_json)))


class _Wanted(NamedTuple):
    """A call in the form of the command line."""

    address: str
    method: str
    texts: Sequence[str]
    codec: str | None
    kind: KindName | None
    timeout: float | None
    as_json: bool


async def _call(client: Client, view: Any, wanted: _Wanted) -> None:
    async with client:
        seconds = wanted.timeout or CALL_SECONDS
        if has_descriptors(wanted.address, wanted.codec):
            await _call_grpc(view, wanted, seconds)
            return
        known = KnownMethod(wanted.method, None, wanted.kind)
        if needs_method(wanted.texts, wanted.codec):
            known = await known_method(view, wanted.method, wanted.kind, seconds)
        try:
            await _run(view, wanted, known)
        except CallError as error:
            if known.is_certain or not is_of_another_kind(error):
                raise
            known = await known_method(view, wanted.method, None, seconds)
            with kind_hinted(known):
                if not known.is_certain:
                    raise
                await _run(view, wanted, known)


async def _call_grpc(view: Any, wanted: _Wanted, seconds: float) -> None:
    known = await described_method(view, wanted.address, wanted.method, wanted.kind, seconds)
    try:
        await _run(view, wanted, known)
    except FastRPCError as error:
        error.details = shown_details(error.details, known.pool)
        raise


def has_descriptors(address: str, codec: str | None) -> bool:
    """Return whether to use the server's descriptors. With a codec, the command line describes the call instead."""
    return is_grpc(address) and codec is None


async def described_method(
    view: Any, address: str, method: str, kind: KindName | None, seconds: float, *, decodes: bool = True
) -> KnownGrpcMethod:
    """Return a method of a gRPC server, as its reflection describes it.

    Raises:
        CallError: the server has no such method, or no reflection.
        ConfigError: a kind is given although the server states it.
    """
    if kind is not None:
        raise ConfigError(f"--kind has no effect on {address}, which tells its kinds", hint="leave it out")
    asked = view.with_options(timeout=seconds, idempotent=True)
    return await grpc_method(asked, address, method, decodes=decodes)


async def _run(view: Any, wanted: _Wanted, known: KnownMethod | KnownGrpcMethod) -> None:
    args, kwargs, has_input = known.prepare(wanted.texts, wanted.codec)
    if has_input:
        args.insert(0, known.input(wanted.codec))
    limited = view.with_options(timeout=time_limit(known, wanted.timeout))
    if known.gives_stream:
        await _print_stream(limited.stream(known.target, *args, **kwargs), as_json=wanted.as_json)
    else:
        _print_reply(await limited.request(known.target, *args, **kwargs), as_json=wanted.as_json)


async def _print_stream(stream: Stream[Any, Any], *, as_json: bool) -> None:
    """Print each message on a line; after the end, print the facts of the call."""
    line = _json_line if as_json else line_of
    count = 0
    async with stream:
        with contextlib.suppress(StreamEndedError):
            while True:
                messages = await stream.receive_many()
                count += len(messages)
                await write_lines([line(message) for message in messages])
    reply = stream.reply
    if as_json:
        print_json({"messages": count, **_facts(reply)})
        return
    print_note(f"OK in {reply.seconds * 1e3:.2f} ms, {counted(count, 'message')} from {reply.endpoint}")


def _json_line(message: Any) -> str:
    return json_text({"message": message})


def _print_reply(reply: Reply[Any], *, as_json: bool) -> None:
    if as_json:
        print_json({"value": reply.value, **_facts(reply)})
        return
    print_value(reply.value)
    print_note(f"OK in {reply.seconds * 1e3:.2f} ms from {reply.endpoint}")


def _facts(reply: Reply[Any]) -> dict[str, Any]:
    return {
        "status": "OK",
        "seconds": reply.seconds,
        "endpoint": str(reply.endpoint),
        "metadata": dict(reply.metadata),
    }


def time_limit(known: KnownMethod | KnownGrpcMethod, timeout: float | None) -> float | None:
    """Return the seconds for one call. Only methods without streams have a limit by default."""
    return timeout if timeout is not None or known.kind != "unary" else CALL_SECONDS


@contextlib.contextmanager
def kind_hinted(known: KnownMethod | KnownGrpcMethod) -> Iterator[None]:
    """Suggest `--kind` if a server that does not show its signatures refuses a call of the wrong kind."""
    try:
        yield
    except CallError as error:
        if not known.is_certain and is_of_another_kind(error):
            error.hint = "name the kind of stream: --kind server_stream, client_stream or both_ways"
        raise


@contextlib.contextmanager
def hinted(address: str, dial: Dialing) -> Iterator[None]:
    """Point to `fastrpc list` if the arguments do not fit the signature."""
    try:
        yield
    except CallError as error:
        # A refusal by the handler is excluded: the handler runs only if the call fits the signature.
        has_signature = (
            error.status in {Status.UNIMPLEMENTED, Status.INVALID_ARGUMENT} and error.processed == "no"
        )
        if has_signature and not error.hint and _tells_signatures(address, dial):
            error.hint = f"fastrpc list {address} shows methods and signatures"
            if "has no such parameter" in error.message:
                error.hint += "; a text with = in it is given by name: name=text"
        raise


def _tells_signatures(address: str, dial: Dialing) -> bool:
    """Return whether `fastrpc list` shows signatures for the address.

    A registry has none, and the reflection of a server may be off.
    """
    if names_registry(address) or is_grpc(address):
        return False

    async def ask() -> None:
        async with dial.client(address) as client:
            await client.with_options(timeout=ASK_SECONDS).call(SERVICES_METHOD)

    try:
        run_async(ask())
    except FastRPCError:
        return False
    return True


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the kind of loop that servers use."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(work)
