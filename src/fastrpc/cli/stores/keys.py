"""`fastrpc kv`: the keys of a store, from the command line."""

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, TypeVar

import typer

from fastrpc.cli.calling.command import AsJson
from fastrpc.cli.dial_options import Authorities, Certificate, ServerName, TokenPath, dialing
from fastrpc.cli.dial_options import Key as KeyFile
from fastrpc.cli.opened import run_with, store_at
from fastrpc.cli.output import stdout
from fastrpc.cli.printing import line_of, plain_value, print_json, print_note, reported
from fastrpc.coordination.changes import Change
from fastrpc.coordination.store import Store
from fastrpc.coordination.values import decode_value
from fastrpc.gateway.dialing import Dialing
from fastrpc.handlers.import_string import import_from_string
from fastrpc.stores.base import Item
from fastrpc.workers.plan import ExitCode

__all__ = ["delete", "get", "kv", "list_keys", "put", "watch"]

kv = typer.Typer(
    no_args_is_help=True, help="Read, write and watch the keys of a store.", rich_markup_mode="markdown"
)

T = TypeVar("T")

StoreURL = Annotated[
    str,
    typer.Argument(metavar="STORE", help="Such as store://host:port?token_file=FILE.", show_default=False),
]
Key = Annotated[str, typer.Argument(metavar="KEY", help="Words joined by `/`.", show_default=False)]
Expect = Annotated[
    int | None, typer.Option("--expect", metavar="REVISION", help="The key must have it; 0: no item.", min=0)
]


@kv.command("get", epilog="Example: fastrpc kv get store://127.0.0.1:8969 shop/limits")
def get(
    store: StoreURL,
    key: Key,
    ca: Authorities = None,
    cert: Certificate = None,
    key_file: KeyFile = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: AsJson = False,
) -> None:
    """Print the value of a key; exit code 1 if the key does not exist."""
    dial = partial(dialing, ca, cert, key_file, server_name, token_file)
    item = _run(store, dial, lambda opened: opened.get(key), as_json=as_json)
    if item is None:
        print_note(f"{key} does not exist")
        raise typer.Exit(ExitCode.FAILED)
    if as_json:
        print_json(_shown(item))
    elif sys.stdout.isatty():
        stdout.print(line_of(item.value))
    else:
        sys.stdout.buffer.write(item.value)
        sys.stdout.flush()


@kv.command("put", epilog="Example: fastrpc kv put store://127.0.0.1:8969 shop/limits '{\"rate\": 10}'")
def put(
    store: StoreURL,
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="A text; - reads standard input.")],
    kind: Annotated[
        str | None, typer.Option("--type", metavar="MODULE:CLASS", help="Write it only if it fits this type.")
    ] = None,
    expect: Expect = None,
    ca: Authorities = None,
    cert: Certificate = None,
    key_file: KeyFile = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: AsJson = False,
) -> None:
    """Store the value of a key unchanged, and print the revision."""
    encoded = sys.stdin.buffer.read() if value == "-" else value.encode()
    with reported(ExitCode.USAGE):
        if kind is not None:
            decode_value(key, encoded, import_from_string(kind))
    dial = partial(dialing, ca, cert, key_file, server_name, token_file)
    revision = _run(
        store, dial, lambda opened: opened.put(key, encoded, expect=expect), as_json=as_json, makes=True
    )
    if as_json:
        print_json({"key": key, "revision": revision})
    else:
        stdout.print(str(revision))


@kv.command("delete", epilog="Example: fastrpc kv delete store://127.0.0.1:8969 shop/limits")
def delete(
    store: StoreURL,
    key: Key,
    expect: Expect = None,
    ca: Authorities = None,
    cert: Certificate = None,
    key_file: KeyFile = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: AsJson = False,
) -> None:
    """Remove a key; exit code 1 if it did not exist."""
    dial = partial(dialing, ca, cert, key_file, server_name, token_file)
    was_there = _run(store, dial, lambda opened: opened.delete(key, expect=expect), as_json=as_json)
    if as_json:
        print_json({"key": key, "deleted": was_there})
    if not was_there:
        print_note(f"{key} does not exist")
        raise typer.Exit(ExitCode.FAILED)


@kv.command("list", epilog="Example: fastrpc kv list store://127.0.0.1:8969 shop/")
def list_keys(
    store: StoreURL,
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="Empty, or words that end in `/`.")] = "",
    ca: Authorities = None,
    cert: Certificate = None,
    key_file: KeyFile = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each item as a line of JSON.")] = False,
) -> None:
    """Print the keys of a prefix, each with its revision."""

    async def list_all(opened: Store) -> None:
        after, is_cut = "", True
        while is_cut:
            found = await opened.list(prefix, after=after)
            for item in found:
                if as_json:
                    print_json(_shown(item))
                else:
                    stdout.print(item.key, f"  {item.revision}")
            is_cut, after = found.is_cut, found[-1].key if found else ""

    _run(store, partial(dialing, ca, cert, key_file, server_name, token_file), list_all, as_json=as_json)


@kv.command("watch", epilog="Example: fastrpc kv watch store://127.0.0.1:8969 shop/")
def watch(
    store: StoreURL,
    watched: Annotated[
        str, typer.Argument(metavar="KEY|PREFIX/", help="A key, or a prefix that ends in `/`; empty: all.")
    ] = "",
    after: Annotated[
        int | None, typer.Option("--after", metavar="REVISION", help="Begin after it. [default: now]", min=0)
    ] = None,
    ca: Authorities = None,
    cert: Certificate = None,
    key_file: KeyFile = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each change as a line of JSON.")] = False,
) -> None:
    """Print each change of a key or prefix until interrupted."""

    async def follow(opened: Store) -> None:
        async with opened.watch(watched, after=after) as changes:
            async for change in changes:
                _print_change(change, as_json=as_json)

    _run(store, partial(dialing, ca, cert, key_file, server_name, token_file), follow, as_json=as_json)


def _print_change(change: Change[bytes], *, as_json: bool) -> None:
    if as_json:
        item = {} if change.item is None else _shown(change.item)
        print_json({"kind": change.kind, "key": change.key, "revision": change.revision} | item)
    else:
        value = "" if change.item is None else f"  {line_of(change.item.value)}"
        stdout.print(f"{change.revision}  {change.kind}  {change.key}{value}")


def _shown(item: Item[bytes]) -> dict[str, Any]:
    """Return an item as plain values."""
    place = {"revision": item.revision, "created": item.created, "lease": item.lease}
    return {"key": item.key} | plain_value(item.value) | place


def _run(
    url: str,
    dial: Callable[[], Dialing],
    work: Callable[[Store], Awaitable[T]],
    *,
    as_json: bool,
    makes: bool = False,
) -> T:
    return run_with(
        "store://127.0.0.1:8969",
        url,
        lambda place: store_at(dial(), place, makes=makes),
        work,
        as_json=as_json,
    )
