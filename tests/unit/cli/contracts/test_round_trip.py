"""A contract is the class of its service in all that callers notice: for every kind of type and default.

Each kind is served by a class, written as a contract, and imported again. The two have no differences, calls by the
contract give the same results as calls by the class, and a change of the class is found.
"""

import functools
import itertools
import sys
from types import ModuleType
from typing import Any

import msgspec
import pytest

from fastrpc.cli.contracts.check import changes
from fastrpc.cli.contracts.text import written_contract
from fastrpc.gateway.forwarding import Forwarder, forwarded_methods, forwarding_service
from fastrpc.rpc.described_services import ServiceDescription, read_descriptions
from fastrpc.rpc.description import describe_services
from fastrpc.rpc.service import service_definition
from fastrpc.testing import connected
from tests.support.contract_kinds import EVERY, HEAD, IMPORTS, Kind

pytestmark = pytest.mark.one_loop

_numbers = itertools.count()


def imported(source: str) -> ModuleType:
    module = ModuleType(f"round_{next(_numbers)}")
    sys.modules[module.__name__] = module
    exec(compile(source, module.__name__, "exec", dont_inherit=True), vars(module))
    return module


def source_of(kind: Kind) -> str:
    return (
        f"{HEAD}\n{kind.classes}\n\n@fastrpc.service('round')\nclass Round:\n"
        "    @fastrpc.method\n"
        f"    async def give(self, value: {kind.type}) -> {kind.type}:\n        return value\n"
        "    @fastrpc.method\n"
        f"    async def told(self, value: {kind.type}) -> str:\n        return repr(value)\n"
    )


@functools.cache
def source_module(name: str) -> ModuleType:
    """Return the module of a kind, which all tests of it share."""
    return imported(source_of(EVERY[name]))


@functools.cache
def contract_module(name: str) -> tuple[ModuleType, str]:
    """Return the contract of a kind's service, imported, and its text."""
    return contract_of(source_module(name))


def told(*services: Any) -> list[ServiceDescription]:
    return read_descriptions(msgspec.json.decode(msgspec.json.encode(describe_services(services))), "a test")


def contract_of(module: ModuleType) -> tuple[ModuleType, str]:
    written = written_contract(told(module.Round))
    assert written.warnings == []
    return imported(written.text), written.text


def test_there_are_many_kinds() -> None:
    assert len(EVERY) >= 65


@pytest.mark.parametrize("name", EVERY)
async def test_a_written_contract_equals_its_service(name: str) -> None:
    kind = EVERY[name]
    source = source_module(name)
    contract, text = contract_module(name)
    assert list(changes(told(source.Round), told(contract.Round))) == []
    assert list(changes(told(contract.Round), told(source.Round))) == []
    assert written_contract(told(contract.Round)).text == text
    exec(IMPORTS, vars(contract))
    async with connected(source.Round()) as client:
        # A gateway with the contract accepts the values that the server accepts.
        gateway = forwarding_service(
            "round", forwarded_methods(service_definition(contract.Round)), Forwarder(client)
        )
        async with connected(gateway) as caller:
            for value in kind.values:
                own, others = eval(value, vars(source)), eval(value, vars(contract))
                assert repr(await client.call(source.Round.told, own)) == repr(
                    await client.call(contract.Round.told, others)
                )
                answer = await client.call(contract.Round.give, others)
                assert answer == completed(others, answer)
                assert type(answer) is type(others)
                assert repr(await caller.call(source.Round.give, own)) == repr(
                    await client.call(source.Round.give, own)
                )


#: Kinds with defaults, except one whose value comes in another time zone: an instant is sent in UTC.
DEFAULTED = [
    name for name in EVERY if name.startswith(("dataclass, ", "struct, ")) and not name.endswith("zone")
]


@pytest.mark.parametrize("name", DEFAULTED)
async def test_a_gateway_takes_objects_without_their_defaults(name: str) -> None:
    source = source_module(name)
    contract, _ = contract_module(name)
    async with connected(source.Round()) as client:
        methods = forwarded_methods(service_definition(contract.Round))
        async with connected(forwarding_service("round", methods, Forwarder(client))) as caller:
            given = await caller.call(source.Round.told, {"first": 1, "other": 2})
            assert given == await client.call(source.Round.told, {"first": 1, "other": 2})


def completed(sent: Any, received: Any) -> Any:
    """Return the sent value, with the defaults that only the server knows."""
    for name in getattr(type(sent), "__annotations__", {}):
        if getattr(sent, name, None) is msgspec.UNSET:
            setattr(sent, name, getattr(received, name))
    return sent


@pytest.mark.parametrize("name", EVERY)
def test_a_change_is_found(name: str) -> None:
    kind = EVERY[name]
    before, after = kind.change
    text = source_of(kind)
    assert before in text
    changed = imported(text.replace(before, after))
    contract, _ = contract_module(name)
    assert list(changes(told(contract.Round), told(changed.Round))) != []
