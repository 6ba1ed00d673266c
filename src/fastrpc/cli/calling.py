"""`fastrpc call`: one call from the command line."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Annotated, Any, TypeVar

import typer

from fastrpc.cli.printing import print_json, print_value, reported, stderr
from fastrpc.cli.values import read_arguments, read_metadata, refuse_options
from fastrpc.client.client import Client
from fastrpc.errors import CallError, FastRPCError
from fastrpc.registries.base.urls import names_registry
from fastrpc.rpc.reply import Reply
from fastrpc.server.plan import ExitCode
from fastrpc.server.process import loop_factory
from fastrpc.status import Status

__all__ = ["Address", "AsJson", "Codec", "Method", "Timeout", "Values", "call", "hinted", "run_async"]

T = TypeVar("T")

Address = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS",
        help="Where the server is, such as tcp://host:port, or who knows it: registry://host:port/service.",
    ),
]
Method = Annotated[str, typer.Argument(metavar="METHOD", help="Full name, service.method.")]
Values = Annotated[
    list[str] | None,
    typer.Argument(metavar="VALUE|NAME=VALUE", help="Arguments; each value is JSON, else text."),
]
Timeout = Annotated[float, typer.Option("--timeout", "-t", min=0.001, help="Seconds for one call.")]
Codec = Annotated[
    str | None, typer.Option("--codec", help="How arguments are encoded: msgpack (default), json or raw.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON, for machines.")]

#: How long a server may take to say whether it tells signatures; what is known already is told in any case.
ASK_SECONDS = 1.0

OPTIONS = ("--timeout", "--codec", "--metadata", "--json", "--help")


def call(
    address: Address,
    method: Method,
    values: Values = None,
    timeout: Timeout = 5.0,
    codec: Codec = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", "-m", help="KEY=VALUE to send along; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Call a method and print its answer."""
    with reported(ExitCode.USAGE):
        refuse_options(values or (), OPTIONS)
        args, kwargs = read_arguments(values or (), codec=codec)
        client = Client(address)
        options: dict[str, Any] = {"timeout": timeout, "metadata": read_metadata(metadata or ())}
        if codec is not None:
            options["codec"] = codec
        view = client.with_options(**options)

    async def request() -> Reply[Any]:
        async with client:
            return await view.request(method, *args, **kwargs)

    with reported(ExitCode.FAILED, as_json=as_json), hinted(address):
        reply = run_async(request())
    if as_json:
        print_json(
            {
                "value": reply.value,
                "status": "OK",
                "seconds": reply.seconds,
                "endpoint": str(reply.endpoint),
                "metadata": dict(reply.metadata),
            }
        )
        return
    print_value(reply.value)
    stderr.print(f"OK in {reply.seconds * 1e3:.2f} ms from {reply.endpoint}", style="dim")


@contextlib.contextmanager
def hinted(address: str) -> Iterator[None]:
    """Say where signatures can be looked up, when a call does not fit them."""
    try:
        yield
    except CallError as error:
        has_signature = error.status in {Status.UNIMPLEMENTED, Status.INVALID_ARGUMENT}
        if has_signature and not error.hint and _tells_signatures(address):
            error.hint = f"fastrpc list {address} shows methods and signatures"
        raise


def _tells_signatures(address: str) -> bool:
    """Whether `fastrpc list` would show them: a registry has none, and strangers may not be told."""
    if names_registry(address):
        return False

    async def ask() -> None:
        async with Client(address) as client:
            await client.with_options(timeout=ASK_SECONDS).call("fastrpc.reflection.services")

    try:
        run_async(ask())
    except FastRPCError:
        return False
    return True


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop that servers use too."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(work)
