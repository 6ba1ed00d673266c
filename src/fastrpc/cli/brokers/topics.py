"""`fastrpc topics`: the topics of a broker and their groups."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from fastrpc.brokers.base import GroupState, TopicSettings
from fastrpc.brokers.broker import Broker
from fastrpc.cli.brokers.opened import BrokerURL, run_with_broker
from fastrpc.cli.calling.command import AsJson
from fastrpc.cli.dial_options import Authorities, Certificate, Key, ServerName, TokenPath, dialing
from fastrpc.cli.output import stdout
from fastrpc.cli.printing import counted, print_json, print_note

__all__ = ["topics"]


def topics(
    broker: BrokerURL,
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: AsJson = False,
) -> None:
    """Print the topics of a broker and their groups: how many messages wait, are under way, or are dead."""

    async def asked(opened: Broker) -> tuple[Sequence[TopicSettings], Sequence[GroupState]]:
        return await opened.backend.topics(), await opened.groups()

    dial = partial(dialing, ca, cert, key, server_name, token_file)
    found, groups = run_with_broker(broker, dial, asked, as_json=as_json)
    if as_json:
        print_json({"topics": list(map(asdict, found)), "groups": list(map(asdict, groups))})
        return
    if not found:
        print_note("no topic is declared, or this caller may see none of them")
    for topic in found:
        stdout.print((topic.name, "bold"), f"  {_kind(topic)}")
        for group in groups:
            if group.topic == topic.name:
                stdout.print(f"  {group.name}", _state(group))


def _kind(topic: TopicSettings) -> str:
    if topic.keep_seconds is None:
        return f"a queue of {', '.join(topic.groups)}, {topic.max_bytes:,} bytes at most"
    return f"a log of {topic.keep_seconds:,.0f} s and {topic.max_bytes:,} bytes at most"


def _state(group: GroupState) -> str:
    parts = [
        f"  {group.lag:,} behind",
        *([f"the oldest for {group.oldest_seconds:,.0f} s"] if group.lag else []),
        f"{group.under_way:,} under way",
        f"{group.dead:,} dead",
        counted(group.members, "member"),
        *([f"{group.expired:,} expired"] if group.expired else []),
        *(["ordered"] if group.is_ordered else []),
        *([f"of {group.pattern}"] if group.pattern != group.topic else []),
    ]
    return ", ".join(parts)
