"""`fastrpc publish` and `fastrpc subscribe`: messages of a broker, from the command line."""

import sys
from functools import partial
from typing import Annotated

import typer

from fastrpc.brokers.base import Place, Published
from fastrpc.brokers.base.places import place_of
from fastrpc.brokers.broker import Broker
from fastrpc.brokers.message import Message
from fastrpc.cli.brokers.opened import BrokerURL, run_with_broker
from fastrpc.cli.calling.command import AsJson
from fastrpc.cli.calling.values import read_message
from fastrpc.cli.dial_options import Authorities, Certificate, Key, ServerName, TokenPath, dialing
from fastrpc.cli.output import stdout
from fastrpc.cli.printing import line_of, plain_value, print_json, reported
from fastrpc.errors import ConfigError
from fastrpc.workers.plan import ExitCode

__all__ = ["publish", "subscribe"]


def publish(
    broker: BrokerURL,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="A name such as orders.new.")],
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="JSON, or a text; - reads the bytes of standard input.")
    ],
    message_key: Annotated[
        str | None,
        typer.Option("--message-key", metavar="KEY", help="Messages of a key stay in order where asked for."),
    ] = None,
    message_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="A message of an id is kept once, for a while."),
    ] = None,
    delay: Annotated[
        float, typer.Option("--delay", metavar="SECONDS", help="Seconds before the first delivery.", min=0)
    ] = 0.0,
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: AsJson = False,
) -> None:
    """Publish a message, and print its sequence number and id.

    A topic that no declared topic covers is declared as a log that keeps messages for a week.
    """
    with reported(ExitCode.USAGE):
        content = sys.stdin.buffer.read() if value == "-" else read_message(value)
    dial = partial(dialing, ca, cert, key, server_name, token_file)
    published = run_with_broker(
        broker,
        dial,
        lambda opened: opened.publish(topic, content, key=message_key, id=message_id, delay=delay),
        as_json=as_json,
        makes=True,
    )
    _print_published(published, as_json=as_json)


def subscribe(
    broker: BrokerURL,
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A topic, or a pattern below one.")],
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="GROUP", help="Share the messages of this group. [default: see all]"),
    ] = None,
    place: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="PLACE",
            help="Where a new group begins: oldest, new, an instant such as 2026-01-31T12:00:00Z, or a sequence "
            "number. [default: new]",
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", metavar="COUNT", help="End after this number of messages.", min=1)
    ] = None,
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each message as a line of JSON.")] = False,
) -> None:
    """Print messages until interrupted; each message is acknowledged once it is printed."""
    with reported(ExitCode.USAGE):
        if place is not None and group is None:
            raise ConfigError(
                "--from is given without --group: without a group only new messages are delivered",
                hint="name a group: --group NAME",
            )
        start = place_of(place or "new")

    follow = partial(_follow, pattern=pattern, group=group, start=start, count=count, as_json=as_json)
    dial = partial(dialing, ca, cert, key, server_name, token_file)
    run_with_broker(broker, dial, follow, as_json=as_json)


async def _follow(
    opened: Broker, *, pattern: str, group: str | None, start: Place, count: int | None, as_json: bool
) -> None:
    """Print messages, `count` at most."""
    left = count
    # Messages are read as bytes, so that a message of any form can be shown.
    subscribing = opened.subscribe(pattern, bytes, group=group, start=start, in_flight=min(count or 100, 100))
    async with subscribing as messages:
        async for message in messages:
            _print_message(message, as_json=as_json)
            await message.ack()
            left = None if left is None else left - 1
            if left == 0:
                return


def _print_published(published: Published, *, as_json: bool) -> None:
    if as_json:
        names = ("sequence", "id", "is_duplicate")
        print_json({name: getattr(published, name) for name in names})
    else:
        note = "  a duplicate: it was kept before" if published.is_duplicate else ""
        stdout.print(f"{published.sequence}  {published.id}{note}")


def _print_message(message: Message[bytes], *, as_json: bool) -> None:
    if not as_json:
        stdout.print(f"{message.sequence}  {message.topic}  {line_of(message.value)}")
        return
    print_json(
        {
            "topic": message.topic,
            "sequence": message.sequence,
            "id": message.id,
            "key": message.key,
            "delivery": message.delivery,
            "publisher": message.publisher,
            "published_at": message.published_at,
            "headers": message.headers,
        }
        | plain_value(message.value)
    )
