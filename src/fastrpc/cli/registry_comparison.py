"""`fastrpc list A --compare B`: the differences between two registries."""

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import typer

from fastrpc.cli.calling.command import run_async
from fastrpc.cli.output import shown, stdout
from fastrpc.cli.printing import print_json, reported
from fastrpc.cli.registry_listing import asked, listed, split
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError
from fastrpc.gateway.dialing import Dialing
from fastrpc.workers.plan import ExitCode

__all__ = ["compare_registries"]

#: The fields of a record, except its address.
_FIELDS = ("weight", "zone", "version", "labels", "protocols")

_Lists = dict[str, tuple[Endpoint, ...]]


class _Difference(NamedTuple):
    """An endpoint that one registry lacks, or whose records in the two registries differ."""

    service: str
    endpoints: tuple[Endpoint | None, Endpoint | None]

    @property
    def address(self) -> str:
        first, second = self.endpoints
        return str(first or second)

    def text(self, names: tuple[str, str]) -> str:
        first, second = self.endpoints
        if first is None or second is None:
            return f"only in {names[first is None]}"
        parts = []
        for name in _FIELDS:
            values = getattr(first, name), getattr(second, name)
            if values[0] != values[1]:
                parts.append(f"{name} {_told(values[0])} and {_told(values[1])}")
        return ", ".join(parts)


def compare_registries(
    urls: tuple[str, str], service: str | None, timeout: float, dial: Dialing, *, as_json: bool
) -> None:
    """Print the differences of two registries; exit with 1 if there are any."""
    with reported(ExitCode.USAGE):
        places, named = zip(*(split(url) for url in urls), strict=True)
        wanted = {one for one in (service, *named) if one is not None}
        if len(wanted) > 1:
            raise ConfigError(f"{' and '.join(sorted(wanted))} are two services", hint="name one of them")
        registries = [dial.registry(place) for place in places]
    of = next(iter(wanted), None)

    async def ask(registry: Any) -> _Lists:
        async with asked(registry):
            return await listed(registry, of, timeout)

    async def ask_both() -> list[_Lists]:
        return await asyncio.gather(*map(ask, registries))

    with reported(ExitCode.FAILED, as_json=as_json):
        first, second = run_async(ask_both())
    found = list(_differences(first, second))
    if as_json:
        print_json([_values(one) for one in found])
    else:
        _print(found, (places[0].partition("?")[0], places[1].partition("?")[0]))
    if found:
        raise typer.Exit(ExitCode.FAILED)


def _differences(first: _Lists, second: _Lists) -> Iterator[_Difference]:
    for service in sorted({*first, *second}):
        lists = [{one.address: one for one in lists.get(service, ())} for lists in (first, second)]
        for address in sorted({*lists[0], *lists[1]}, key=str):
            both = lists[0].get(address), lists[1].get(address)
            if both[0] != both[1]:
                yield _Difference(service, both)


def _print(found: list[_Difference], names: tuple[str, str]) -> None:
    if not found:
        stdout.print("no differences")
    services = dict.fromkeys(one.service for one in found)
    for number, service in enumerate(services):
        if number:
            stdout.print()
        stdout.print(shown(service, "bold"))
        stdout.table(
            [[shown(f"  {one.address}")], [shown(one.text(names), "yellow")]]
            for one in found
            if one.service == service
        )


def _values(one: _Difference) -> dict[str, Any]:
    records = [
        None if endpoint is None else {name: _plain(getattr(endpoint, name)) for name in _FIELDS}
        for endpoint in one.endpoints
    ]
    return {"name": one.service, "address": one.address, "first": records[0], "second": records[1]}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, int | str) else dict(value)


def _told(value: Any) -> str:
    return str(_plain(value)) if value else "none"
