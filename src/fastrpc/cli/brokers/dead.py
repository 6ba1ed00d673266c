"""`fastrpc dead`: the dead letters of a group."""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Annotated, Any, Literal

import typer

from fastrpc.brokers.base import DeadLetter
from fastrpc.brokers.broker import Broker
from fastrpc.cli.brokers.opened import BrokerURL, run_with_broker
from fastrpc.cli.calling.command import AsJson
from fastrpc.cli.dial_options import Authorities, Certificate, Key, ServerName, TokenPath, dialing
from fastrpc.cli.output import stdout
from fastrpc.cli.printing import counted, line_of, plain_value, print_json, print_note, reported
from fastrpc.errors import ConfigError
from fastrpc.workers.plan import ExitCode

__all__ = ["dead"]

_Verb = Literal["list", "show", "replay", "discard"]


def dead(
    broker: BrokerURL,
    verb: Annotated[
        _Verb,
        typer.Argument(
            metavar="list|show|replay|discard",
            help="List them, show them with their values, deliver them again, or forget them.",
            show_default=False,
        ),
    ],
    group: Annotated[str, typer.Argument(metavar="GROUP", help="Such as billing.bill.", show_default=False)],
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID…]", help="Ids of messages.")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Replay or discard all of them.")] = False,
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: AsJson = False,
) -> None:
    """Manage the dead letters of a group: messages that its subscribers gave up.

    A replay goes to this group alone, as delivery 1. Exit code 1 if an id does not exist.
    """
    dial = partial(dialing, ca, cert, key, server_name, token_file)
    chosen = ids or []
    if verb in ("list", "show"):
        letters = run_with_broker(broker, dial, partial(_letters, group), as_json=as_json)
        _print_letters([one for one in letters if not chosen or one.id in chosen], verb, as_json=as_json)
        missing = set(chosen).difference(one.id for one in letters)
    else:
        _check_chosen(verb, group, chosen, is_all=is_all)
        count = run_with_broker(broker, dial, partial(_changed, verb, group, chosen), as_json=as_json)
        _print_count(verb, group, count, as_json=as_json)
        missing = set(chosen) if count < len(set(chosen)) else set()
    if missing:
        print_note(f"not all of these are dead letters of {group}: {', '.join(sorted(missing))}")
        raise typer.Exit(ExitCode.FAILED)


def _check_chosen(verb: str, group: str, ids: Sequence[str], *, is_all: bool) -> None:
    with reported(ExitCode.USAGE):
        if bool(ids) is is_all:
            raise ConfigError(
                f"{verb} takes the ids of messages, or --all", hint=f"dead BROKER list {group} shows them"
            )


def _print_count(verb: str, group: str, count: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"group": group, "count": count})
    else:
        done = "delivered again" if verb == "replay" else "forgotten"
        stdout.print(f"{counted(count, 'message')} {done}")


async def _letters(group: str, opened: Broker) -> Sequence[DeadLetter]:
    return await opened.dead_letters(group)


async def _changed(verb: str, group: str, ids: Sequence[str], opened: Broker) -> int:
    return await (opened.replay if verb == "replay" else opened.discard)(group, *ids)


def _print_letters(letters: Sequence[DeadLetter], verb: str, *, as_json: bool) -> None:
    for letter in letters:
        if as_json:
            print_json(_plain(letter, with_value=verb == "show"))
            continue
        stdout.print(
            f"{letter.id}  {letter.topic}  {letter.died_at:%Y-%m-%d %H:%M:%S}  "
            f"delivery {letter.deliveries}  {line_of(letter.reason.encode())}"
        )
        if verb == "show":
            shown = {"key": letter.key, "publisher": letter.publisher, "error": letter.error or None}
            for name, text in (*shown.items(), *letter.headers.items()):
                if text is not None:
                    stdout.print(f"  {name}: ", line_of(text.encode()))
            stdout.print("  ", line_of(letter.body))


def _plain(letter: DeadLetter, *, with_value: bool) -> dict[str, Any]:
    names = [one.name for one in fields(letter) if one.name not in ("body", "headers")]
    found = {name: getattr(letter, name) for name in names} | {"headers": dict(letter.headers)}
    return found | (plain_value(letter.body) if with_value else {})
