"""`fastrpc call`: one call from the command line."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator, Sequence
from typing import Annotated, Any, TypeVar

import typer

from fastrpc.cli.descriptions import ASK_SECONDS, SERVICES_METHOD, parameter_types
from fastrpc.cli.printing import print_json, print_note, print_value, reported
from fastrpc.cli.values import needs_types, read_arguments, read_metadata, refuse_options
from fastrpc.client.client import Client
from fastrpc.errors import CallError, FastRPCError
from fastrpc.registries.base.urls import names_registry
from fastrpc.rpc.reply import Reply
from fastrpc.server.plan import ExitCode
from fastrpc.server.process import loop_factory
from fastrpc.status import Status

__all__ = [
    "Address",
    "AsJson",
    "Codec",
    "Method",
    "Timeout",
    "Values",
    "call",
    "hinted",
    "run_async",
    "target_for",
    "typed_arguments",
]

T = TypeVar("T")

Address = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS",
        help="Where the server is, such as tcp://host:port, or the registry that lists it: registry://host:port "
        "or registry://host:port/service.",
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
Codec = Annotated[
    str | None,
    typer.Option(
        "--codec", metavar="NAME", help="How arguments are encoded: msgpack (default), json or raw."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON, for machines.")]

OPTIONS = ("--timeout", "--codec", "--metadata", "--json", "--help")


def call(
    address: Address,
    method: Method,
    values: Values = None,
    timeout: Timeout = 5.0,
    codec: Codec = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", "-m", metavar="KEY=VALUE", help="Metadata to send; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Call a method and print its answer."""
    texts = values or ()
    with reported(ExitCode.USAGE):
        refuse_options(texts, OPTIONS)
        read_arguments(texts, codec=codec)
        client = Client(target_for(address, method.rpartition(".")[0]))
        options: dict[str, Any] = {"timeout": timeout, "metadata": read_metadata(metadata or ())}
        if codec is not None:
            options["codec"] = codec
        view = client.with_options(**options)

    async def request() -> Reply[Any]:
        async with client:
            args, kwargs = await typed_arguments(view, method, texts, codec, timeout)
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
    print_note(f"OK in {reply.seconds * 1e3:.2f} ms from {reply.endpoint}")


async def typed_arguments(
    view: Any, method: str, texts: Sequence[str], codec: str | None, timeout: float
) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and named arguments; fetch the parameter types from the server if they decide."""
    types = await parameter_types(view, method, timeout) if needs_types(texts, codec=codec) else {}
    return read_arguments(texts, codec=codec, types=types)


def target_for(address: str, service: str) -> str:
    """Return the target: for a registry URL without a service, the service of the method there."""
    place, mark, options = address.partition("?")
    scheme, _, rest = place.partition("://")
    if not service or not names_registry(address) or scheme.lower() == "dns" or rest.partition("/")[2]:
        return address
    return f"{scheme}://{rest.rstrip('/')}/{service}{mark}{options}"


@contextlib.contextmanager
def hinted(address: str) -> Iterator[None]:
    """Point to `fastrpc list` when the arguments do not fit the signature."""
    try:
        yield
    except CallError as error:
        # Not for a refusal by the handler: the call fitted its signature.
        has_signature = (
            error.status in {Status.UNIMPLEMENTED, Status.INVALID_ARGUMENT} and error.processed == "no"
        )
        if has_signature and not error.hint and _tells_signatures(address):
            error.hint = f"fastrpc list {address} shows methods and signatures"
        raise


def _tells_signatures(address: str) -> bool:
    """Return whether `fastrpc list` would show them: a registry has none, and reflection may be off."""
    if names_registry(address):
        return False

    async def ask() -> None:
        async with Client(address) as client:
            await client.with_options(timeout=ASK_SECONDS).call(SERVICES_METHOD)

    try:
        run_async(ask())
    except FastRPCError:
        return False
    return True


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop that servers use too."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(work)
