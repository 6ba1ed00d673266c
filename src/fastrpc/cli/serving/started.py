"""The report of a program that has started to serve: its addresses and services."""

import platform
from dataclasses import asdict
from datetime import datetime
from typing import Any

from fastrpc._version import __version__
from fastrpc.cli.output import rich_text, stdout
from fastrpc.cli.printing import print_json
from fastrpc.workers.plan import Started

__all__ = ["print_box", "print_started", "print_started_json"]


def print_started(started: Started) -> None:
    """Print addresses and services, for people."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    workers = len(started.process_ids)
    stdout.print(f"fastrpc {__version__}, {python}, {started.loop}", style="dim")
    for address in started.addresses:
        suffix = f" with {workers} workers" if workers > 1 else ""
        stdout.print("serving at ", (address, "bold"), suffix)
    for line in _scope_lines(started):
        stdout.print("  ", line)
    for service in started.services:
        stdout.print("  ", (service, "cyan"), f"  {_methods_of(started, service)}")
    for sentence in started.inferred:
        stdout.print("  ", sentence)


def print_started_json(started: Started) -> None:
    """Print addresses and services as JSON, for machines."""
    values: dict[str, Any] = asdict(started)
    print_json(values)


def print_box(started: Started) -> None:
    """Print addresses and services in a box, with the time."""
    lines = [
        f"fastrpc {__version__}, {platform.python_implementation()} {platform.python_version()}, {started.loop}",
        *(f"serving at {address}" for address in started.addresses),
        *(f"  {line}" for line in _scope_lines(started)),
        "",
        *(f"{service}  {_methods_of(started, service)}" for service in started.services),
        *started.inferred,
        "",
        f"started {datetime.now().astimezone():%H:%M:%S}, loads again when a file changes, Ctrl-C ends it",
    ]
    from rich.panel import Panel

    stdout.draw(Panel(rich_text("\n".join(lines)), expand=False), is_folded=True)


def _scope_lines(started: Started) -> list[str]:
    """Return a line for each address in a scope of `any://`."""
    return [f"{scope:<8} {address}" for scope, addresses in started.scopes.items() for address in addresses]


def _methods_of(started: Started, service: str) -> str:
    """Return the methods of a service for callers, and its methods that the server starts by itself."""
    parts = [", ".join(started.services[service])]
    if names := started.background.get(service):
        parts.append(f"started by the server: {', '.join(names)}")
    return "; ".join(filter(None, parts))
