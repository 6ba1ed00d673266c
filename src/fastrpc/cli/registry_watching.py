"""`fastrpc list REGISTRY --watch`: additions, changes and removals in a registry, until interrupted."""

import time
from contextlib import aclosing
from typing import Any

from fastrpc.cli.calling.command import run_async
from fastrpc.cli.output import Part, shown, stdout
from fastrpc.cli.printing import print_json, reported
from fastrpc.cli.registry_listing import asked, details, split, values_of
from fastrpc.endpoint import Endpoint
from fastrpc.gateway.dialing import Dialing
from fastrpc.registries.base.events import RegistryEvent, events
from fastrpc.server.builtin import BUILTIN_PREFIX
from fastrpc.workers.plan import ExitCode

__all__ = ["print_event", "watch_registry"]

_STYLES = {"added": "green", "changed": "yellow", "removed": "red", "lost": "bold red", "back": "bold green"}

#: The fields of a record, except its address.
_FIELDS = ("weight", "version", "zone", "protocols")


def watch_registry(url: str, service: str | None, dial: Dialing, *, as_json: bool) -> None:
    """Print a line for each event of a registry; `url` may name a service too."""
    with reported(ExitCode.USAGE):
        url, named = split(url)
        registry = dial.registry(url)
    place = url.partition("?")[0]

    async def follow() -> None:
        async with (
            asked(registry),
            aclosing(events(registry, service or named, is_shown=_is_of_user)) as found,
        ):
            async for event in found:
                print_event(event, place, as_json=as_json)

    with reported(ExitCode.FAILED, as_json=as_json):
        run_async(follow())


def print_event(event: RegistryEvent, place: str, *, as_json: bool) -> None:
    """Print an event of a registry on one line.

    Args:
        place: the registry, in the form for people.
    """
    if as_json:
        print_json(_values(event))
    else:
        stdout.print(*_line(event, place))


def _is_of_user(service: str) -> bool:
    return not service.startswith(BUILTIN_PREFIX)


def _values(event: RegistryEvent) -> dict[str, Any]:
    """Return an event as plain values."""
    told: dict[str, Any] = {"time": event.time, "kind": event.kind}
    if event.endpoint is None:
        return told | ({"reason": event.reason} if event.reason else {})
    told |= {"service": event.service} | values_of(event.endpoint)
    return told if event.before is None else told | {"before": values_of(event.before)}


def _line(event: RegistryEvent, place: str) -> list[Part]:
    clock = time.strftime("%H:%M:%S", time.localtime(event.time))
    head: list[Part] = [(clock, "dim"), "  "]
    kind = shown(event.kind, _STYLES[event.kind])
    if event.endpoint is None:
        reason = f": {event.reason}" if event.reason else ""
        return [*head, "registry  ", kind, "  ", shown(f"{place}{reason}")]
    told = details(event.endpoint) if event.before is None else _changes(event.before, event.endpoint)
    place = f"  {event.endpoint}"
    return [
        *head,
        shown(event.service, "bold"),
        "  ",
        kind,
        shown(place),
        shown(f"  {told}" if told else "", "dim"),
    ]


def _changes(before: Endpoint, after: Endpoint) -> str:
    """Return the fields of a record that differ."""
    told = [
        f"{name} {_text(getattr(before, name))} → {_text(getattr(after, name))}"
        for name in _FIELDS
        if getattr(before, name) != getattr(after, name)
    ]
    told += [
        f"{name}={_text(before.labels.get(name))} → {_text(after.labels.get(name))}"
        for name in sorted({*before.labels, *after.labels})
        if before.labels.get(name) != after.labels.get(name)
    ]
    return "  ".join(told)


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str("–" if value in (None, "") else value)
