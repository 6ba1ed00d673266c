"""`fastrpc list` of a registry: its services, their endpoints and the health of each."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import typer

from fastrpc.cli.calling.command import run_async
from fastrpc.cli.checking import HEALTH_STYLES
from fastrpc.cli.output import shown, stdout
from fastrpc.cli.printing import print_error, print_json, print_note, reported
from fastrpc.client.client import Client
from fastrpc.client.plan import LOOK_SECONDS
from fastrpc.client.probing import HEALTH_METHOD
from fastrpc.config import TLS, ClientConfig, Timeouts
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import CallError, ConfigError, FastRPCError, StoreError
from fastrpc.gateway.dialing import Dialing
from fastrpc.registries.base.registry import WatchedRegistry, tls_for
from fastrpc.registries.base.urls import names_service, split_target
from fastrpc.server.builtin import BUILTIN_PREFIX
from fastrpc.status import Status
from fastrpc.workers.plan import ExitCode

__all__ = ["asked", "details", "list_registry", "listed", "split", "values_of"]

#: The health of an endpoint that does not answer (UNREACHABLE), lacks the health service (UNKNOWN), or requires a token
#: for it (UNAUTHENTICATED).
UNREACHABLE = "UNREACHABLE"
UNKNOWN = "UNKNOWN"
UNAUTHENTICATED = "UNAUTHENTICATED"

_RIGHT_HINT = (
    'a rule of the registry\'s policy gives the right: read = ["…"]; --token-file shows another token'
)

#: The most services whose endpoints are requested at the same time: each request needs a thread, and a connection to
#: the registry.
WATCHED_AT_ONCE = 32

#: The most servers that are checked at the same time, each over a separate connection.
ASKED_AT_ONCE = 256

#: Seconds within which each of several scopes has to answer. A local network answers within 0.3 s, or not at all.
SCOPES_SECONDS = 0.5

#: Closing waits only briefly for a server that does not answer.
_TIMEOUTS = Timeouts(linger=0.1)

Found = dict[str, list[tuple[Endpoint, str]]]


def list_registry(url: str, service: str | None, timeout: float, dial: Dialing, *, as_json: bool) -> None:
    """Print services, endpoints and their health; `url` may name a service too."""
    with reported(ExitCode.USAGE):
        url, named = split(url)
        service = service or named
        registry = dial.registry(url)

    async def look() -> Found:
        async with asked(registry):
            # A DNS name is a host name, so the servers there have no service of that name.
            wanted = _Wanted(service, timeout, url.lower().startswith("dns:"), dial.config.tls)
            return await _look(registry, wanted)

    with reported(ExitCode.FAILED, as_json=as_json):
        found = run_async(look())
    if service is not None and not found[service]:
        print_error(f"{url.partition('?')[0]} lists no endpoint of {service!r}")
        raise typer.Exit(ExitCode.FAILED)
    if as_json:
        print_json([_values(name, endpoints) for name, endpoints in found.items()])
    else:
        _print(found)


def split(url: str) -> tuple[str, str | None]:
    """Return the registry of a URL, and the service if the URL names one."""
    return (split_target(url) if names_service(url) else None) or (url, None)


@contextlib.asynccontextmanager
async def asked(registry: WatchedRegistry) -> AsyncIterator[None]:
    """Add hints to errors of a registry in the block; close the registry at the end."""
    try:
        yield
    except StoreError as error:
        if error.status is Status.UNAVAILABLE:
            error.hint = error.hint or "check the address, and that the registry runs there"
        elif error.status is Status.PERMISSION_DENIED:
            error.hint = error.hint or _RIGHT_HINT
        raise
    finally:
        await registry.aclose()


async def listed(
    registry: WatchedRegistry, service: str | None, timeout: float
) -> dict[str, tuple[Endpoint, ...]]:
    """Return the endpoints of one service, or of all services.

    Raises:
        StoreError: the registry refuses, or did not report all services in time.
    """
    names = [service] if service is not None else await _names(registry)
    return dict(zip(names, await _lists(registry, names, timeout), strict=True))


class _Wanted(NamedTuple):
    """The query and its options."""

    service: str | None
    timeout: float
    #: Whether servers are asked for their health as a whole.
    overall: bool
    tls: TLS | None


async def _look(registry: WatchedRegistry, wanted: _Wanted) -> Found:
    lists = await listed(registry, wanted.service, wanted.timeout)
    served: dict[Address, list[str]] = {}
    tls = {}
    for name, endpoints in lists.items():
        for endpoint in endpoints:
            served.setdefault(endpoint.address, []).append(name)
            tls[endpoint.address] = tls_for(registry, endpoint, wanted.tls)
    places = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(address: Address) -> dict[str, str]:
        async with places:
            return await _health(address, served[address], wanted, tls[address])

    answers = dict(zip(served, await asyncio.gather(*map(ask, served)), strict=True))
    return {
        name: [(endpoint, answers[endpoint.address][name]) for endpoint in endpoints]
        for name, endpoints in lists.items()
    }


async def _names(registry: WatchedRegistry) -> list[str]:
    # Only the registries of fastrpc have `services`: the interface does not require it.
    services = getattr(registry, "services", None)
    if services is None:
        raise ConfigError(
            f"{registry!r} cannot list its services", hint="give the name of a service after the URL"
        )
    names: list[str] = await asyncio.to_thread(services)
    return [name for name in names if not name.startswith(BUILTIN_PREFIX)]


async def _lists(
    registry: WatchedRegistry, services: list[str], timeout: float
) -> list[tuple[Endpoint, ...]]:
    ends = asyncio.get_running_loop().time() + timeout
    places = asyncio.Semaphore(WATCHED_AT_ONCE)
    told = 0

    async def told_of(service: str) -> tuple[Endpoint, ...]:
        nonlocal told
        async with places:
            try:
                endpoints = await _endpoints(registry, service, ends)
            except TimeoutError:
                if told:
                    text = f"reported the endpoints of {told} of {len(services)} services in {timeout:g} s"
                    raise StoreError(f"{registry!r} {text}", hint="--timeout gives it more time") from None
                raise StoreError(f"{registry!r} did not answer for {timeout:g} s") from None
        told += 1
        return endpoints

    asking = [asyncio.ensure_future(told_of(service)) for service in services]
    try:
        return await asyncio.gather(*asking)
    finally:
        # After a failure the other requests are cancelled.
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def _endpoints(registry: WatchedRegistry, service: str, ends: float) -> tuple[Endpoint, ...]:
    """Return the endpoints of a service.

    Raises:
        StoreError: the registry refuses, or cannot be reached.
        TimeoutError: the registry reported nothing before `ends`, a time of the loop.
    """
    loop = asyncio.get_running_loop()
    if loop.time() >= ends:
        raise TimeoutError
    async with registry.watch(service) as watch:
        first = asyncio.ensure_future(anext(watch))
        try:
            while not first.done() and (left := ends - loop.time()) > 0 and not _is_final(watch.error):
                await asyncio.wait([first], timeout=min(left, LOOK_SECONDS))
            if first.done():
                if hasattr(registry, "members"):
                    # Perhaps only one scope has answered so far: give the others time.
                    await asyncio.sleep(min(max(0.0, ends - loop.time()), SCOPES_SECONDS))
                return (watch.latest or first.result()).endpoints
        finally:
            first.cancel()
        raise watch.error or TimeoutError


def _is_final(error: Exception | None) -> bool:
    """Return whether a registry refused for a permanent reason."""
    return isinstance(error, StoreError) and error.status is not Status.UNAVAILABLE


async def _health(address: Address, services: list[str], wanted: _Wanted, tls: TLS | None) -> dict[str, str]:
    """Return the health of each service of a server, or of the whole server, within the time.

    The command's token is sent only to the registry. Otherwise any server that may register a service there would get
    it.
    """
    config = ClientConfig(timeouts=_TIMEOUTS, tls=tls)
    async with Client(address, config=config) as client:
        view = client.with_options(timeout=wanted.timeout, idempotent=True)
        answers: list[Any] = await view.call_many(
            HEALTH_METHOD, [("" if wanted.overall else name,) for name in services], return_exceptions=True
        )
    return {name: _said(answer) for name, answer in zip(services, answers, strict=True)}


def _said(answer: Any) -> str:
    if isinstance(answer, CallError):
        return UNAUTHENTICATED if answer.status is Status.UNAUTHENTICATED else UNKNOWN
    return UNREACHABLE if isinstance(answer, FastRPCError) else str(answer)


def _values(service: str, endpoints: list[tuple[Endpoint, str]]) -> dict[str, Any]:
    return {
        "name": service,
        "endpoints": [
            {"address": str(endpoint), "health": health} | values_of(endpoint)
            for endpoint, health in endpoints
        ],
    }


def values_of(endpoint: Endpoint) -> dict[str, Any]:
    """Return a record as plain values."""
    return {
        "address": str(endpoint),
        "version": endpoint.version,
        "zone": endpoint.zone,
        "weight": endpoint.weight,
        "labels": dict(endpoint.labels),
    }


def _print(found: Found) -> None:
    for number, (service, endpoints) in enumerate(found.items()):
        if number:
            stdout.print()
        stdout.print(shown(service, "bold"))
        stdout.table(
            [
                [shown(f"  {endpoint}")],
                [shown(health, HEALTH_STYLES.get(health, "red"))],
                [shown(details(endpoint), "dim")],
            ]
            for endpoint, health in endpoints
        )
    if not found:
        stdout.print("no services")
    if any(health == UNAUTHENTICATED for endpoints in found.values() for _, health in endpoints):
        print_note(
            f"{UNAUTHENTICATED}: the server reports its health only to callers with a token. The token of "
            "--token-file is shown to the registry only; fastrpc health ADDRESS --token-file FILE asks one server"
        )


def details(endpoint: Endpoint) -> str:
    """Return the fields of a record, except its address, for a line."""
    parts = [f"{name} {value}" for name in ("version", "zone") if (value := getattr(endpoint, name))]
    if endpoint.weight != 1:
        parts.append(f"weight {endpoint.weight}")
    return "  ".join([*parts, *(f"{name}={value}" for name, value in sorted(endpoint.labels.items()))])
