"""A gateway with a contract takes each value in JSON that the server itself takes, and gives the same answer."""

import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from fastrpc import Client, Server, ServerConfig
from fastrpc.gateway.forwarding import Forwarder, forwarded_methods, forwarding_service
from fastrpc.rpc.service import service_definition
from tests.support.contract_kinds import EVERY
from tests.support.http_talk import HttpClient
from tests.unit.cli.contracts.test_round_trip import contract_module, source_module

pytestmark = pytest.mark.one_loop

#: Values that are tried for each kind; values of the kind itself come first.
MOST = 60


def variants(value: Any) -> Iterator[Any]:
    """Yield values near to one: of other types, forms of text, with parts that are missing, surplus or changed."""
    if isinstance(value, bool):
        yield from (int(value), str(value).lower())
    elif isinstance(value, int | float):
        yield from (str(value), float(value), int(value), value + 0.5, bool(value))
    elif isinstance(value, str):
        yield from (value.upper(), value.lower(), f" {value}", "", 0, 1.5, value[:10], value.replace("-", ""))
        yield from (
            value.replace("T", " "),
            value.replace("Z", "+00:00"),
            value.replace("Z", "+05:30"),
            value.rstrip("="),
            [value],
        )
    elif isinstance(value, list):
        yield from (value + value[:1], value[:-1], [], {})
        for at, item in enumerate(value):
            yield from ([*value[:at], other, *value[at + 1 :]] for other in variants(item))
    elif isinstance(value, dict):
        yield from ({**value, "surplus": 1}, list(value.values()), {}, [value])
        for key, item in value.items():
            yield {other: kept for other, kept in value.items() if other != key}
            yield from ({**value, key: other} for other in (None, *variants(item)))


@contextlib.asynccontextmanager
async def both(name: str) -> AsyncIterator[tuple[Any, HttpClient, HttpClient]]:
    """Yield the module of a kind, its server by HTTP, and a gateway before it."""
    source = source_module(name)
    contract, _ = contract_module(name)
    config = ServerConfig(protocols=("native", "http"))
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(Server(source.Round(), config=config))
        address = await server.listen("tcp://127.0.0.1:0")
        client = await stack.enter_async_context(Client(address))
        methods = forwarded_methods(service_definition(contract.Round))
        service = forwarding_service("round", methods, Forwarder(client))
        gateway = await stack.enter_async_context(Server(service, config=config))
        before = await gateway.listen("tcp://127.0.0.1:0")
        yield (
            source,
            await stack.enter_async_context(await HttpClient.to(address)),
            await stack.enter_async_context(await HttpClient.to(before)),
        )


@pytest.mark.parametrize("name", EVERY)
async def test_a_gateway_accepts_the_values_that_the_server_accepts(name: str) -> None:
    async with both(name) as (source, server, gateway):
        own = []
        for text in EVERY[name].values:
            with contextlib.suppress(
                TypeError
            ):  # Not one of msgspec's: it is tried by the values of all kinds.
                own.append(json.loads(msgspec.json.encode(eval(text, vars(source)))))
        near = itertools.chain.from_iterable(map(variants, own))
        anything: tuple[Any, ...] = (None, 1, "a", 1.5, True, [], {}, [1], ["a"], {"a": 1})
        bodies = dict.fromkeys(json.dumps({"value": value}) for value in (*own, *anything, *near))
        for body in itertools.islice(bodies, MOST):
            taken = await server.ask("POST", "/round/give", body.encode())
            if taken.status == 200:
                passed = await gateway.ask("POST", "/round/give", body.encode())
                assert passed.status == 200, (body, passed.body)
                assert passed.body == taken.body, body
