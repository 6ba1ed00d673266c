"""A mistake in a program's classes: its traceback shows the line of the program, not the frames of fastrpc."""

import re
import socket
from pathlib import Path

import pytest

import fastrpc
from tests.support.program import run_program

pytestmark = pytest.mark.one_loop

CLASSES = """
import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import fastrpc
from fastrpc.testing import connected

@dataclass
class Card:
    number: str

@dataclass
class Invoice:
    days: int

@fastrpc.service("orders")
class Orders:
    @fastrpc.method
    async def pay(self, by: Card | Invoice) -> str: ...

    @fastrpc.method
    async def watch(self, by: Card | Invoice) -> str: ...

    @fastrpc.method
    def list(self, by: Card | Invoice) -> AsyncIterator[str]: ...

    @fastrpc.method
    async def put(self, by: AsyncIterator[Card | Invoice]) -> str: ...

class Money: ...

@fastrpc.service("bank")
class Bank:
    @fastrpc.method
    async def pay(self, money: Money) -> None: ...

@fastrpc.service("fine")
class Fine:
    @fastrpc.method
    async def ping(self) -> None: ...

def broken():
    raise fastrpc.ConfigError("the program says so")

def made():
    return broken()

async def within(manager):
    async with manager:
        pass

async def added():
    async with fastrpc.Server(Fine) as server:
        server.add(Orders())

async def listening():
    await fastrpc.Server(Orders).listen("tcp://127.0.0.1:0")

async def calling(verb):
    async with fastrpc.Client("tcp://127.0.0.1:1") as client:
        await verb(client)

def calling_now(verb):
    with fastrpc.SyncClient("tcp://127.0.0.1:1") as client:
        verb(client)

"""

#: The mistakes of programs, each with the last line of the program, which its reader has to see.
LINES = {
    "a union": 'fastrpc.serve(Orders, address="tcp://127.0.0.1:0")',
    "a class of its own": 'fastrpc.serve(Bank, address="tcp://127.0.0.1:0")',
    "a list": 'fastrpc.serve([Fine, Orders], address="tcp://127.0.0.1:0")',
    "workers": 'fastrpc.serve(Orders, address="tcp://127.0.0.1:0", limits=[1])',
    "an address": 'fastrpc.serve(Fine, address="nonsense://127.0.0.1:0")',
    "a Server": "asyncio.run(within(fastrpc.Server(Orders)))",
    "an added service": "asyncio.run(added())",
    "a listener": "asyncio.run(listening())",
}

#: How a program calls a method first.
VERBS = {
    "call": "client.call(Orders.pay, Card('x'))",
    "request": "client.request(Orders.pay, Card('x'))",
    "notify": "client.notify(Orders.pay, Card('x'))",
    "a view": "client.with_options(timeout=1).call(Orders.pay, Card('x'))",
    "a proxy": "client.bind(Orders).pay(Card('x'))",
    "a proxy that streams": "client.bind(Orders).list(Card('x'))",
    "call_many": "client.call_many(Orders.pay, [(Card('x'),)])",
    "broadcast": "client.broadcast(Orders.pay, Card('x'))",
    "fork": "client.fork(Orders.pay, Card('x'))",
    "stream": "client.stream(Orders.list, Card('x'))",
    "open": "client.open(Orders.put)",
    "a stream of messages": "client.call(Orders.put, [Card('x')])",
}


#: Options of calls that are refused at once.
OPTIONS = {
    "a codec": "codec='nonsense'",
    "a compressor": "compressor='nonsense'",
    "a timeout": "timeout=-1",
    "a fail mode": "fail_mode='nonsense'",
    "an endpoint": "endpoint='nonsense'",
    "an endpoint of another client": "endpoint='tcp://127.0.0.1:2'",
    "metadata": "metadata=3",
    "a priority": "priority='high'",
    "an unknown option": "tiemout=1",
}


def traceback_of(folder: Path, line: str) -> str:
    """Return the traceback of a program that ends with this line."""
    (folder / "orders.py").write_text(CLASSES + line + "\n")
    done = run_program(["orders.py"], folder)
    assert done.code != 0
    assert done.errors.count("Traceback (most recent call last)") == 1
    return done.errors


def own_frames(told: str) -> list[str]:
    package = str(Path(fastrpc.__file__).parent)
    return [
        one for one in re.findall(r'File "([^"]+)"', told) if package in one or one.startswith("src/fastrpc/")
    ]


@pytest.mark.parametrize("what", LINES)
def test_the_line_of_the_program_is_shown_with_few_of_ours(tmp_path: Path, what: str) -> None:
    told = traceback_of(tmp_path, LINES[what])
    assert f"    {LINES[what]}\n" in told
    assert len(own_frames(told)) <= 3
    assert "msgspec/inspect.py" not in told
    assert told.splitlines()[-1].startswith(("fastrpc.errors.ConfigError: ", "TypeError: "))


@pytest.mark.parametrize("by", ["calling_now({})", "asyncio.run(calling({}))"])
@pytest.mark.parametrize("verb", VERBS)
def test_the_line_of_a_first_call_is_shown_with_few_of_ours(tmp_path: Path, verb: str, by: str) -> None:
    told = traceback_of(tmp_path, by.format(f"lambda client: {VERBS[verb]}"))
    assert VERBS[verb] in told
    assert 0 < len(own_frames(told)) <= 3
    assert told.splitlines()[-1].startswith("fastrpc.errors.ConfigError: Orders.")


@pytest.mark.parametrize("by", ["calling_now({})", "asyncio.run(calling({}))"])
@pytest.mark.parametrize("option", OPTIONS)
def test_the_line_of_a_refused_option_is_shown_with_few_of_ours(tmp_path: Path, option: str, by: str) -> None:
    verb = f"client.with_options({OPTIONS[option]}).call(Fine.ping)"
    told = traceback_of(tmp_path, by.format(f"lambda client: {verb}"))
    assert verb in told
    assert 0 < len(own_frames(told)) <= 3
    assert told.splitlines()[-1].startswith(("fastrpc.errors.ConfigError: ", "TypeError: with_options()"))


def test_frames_of_an_interceptor_of_a_blocking_client_are_shown_too(tmp_path: Path) -> None:
    told = traceback_of(
        tmp_path,
        "async def around(call, proceed):\n    broken()\n\n"
        "fastrpc.SyncClient('tcp://127.0.0.1:1', interceptors=[around]).call(Fine.ping)",
    )
    assert "    broken()\n" in told
    assert '    raise fastrpc.ConfigError("the program says so")\n' in told
    assert len(own_frames(told)) <= 3


def test_frames_of_the_program_below_ours_are_shown_too(tmp_path: Path) -> None:
    told = traceback_of(tmp_path, 'fastrpc.serve(made, address="tcp://127.0.0.1:0")')
    assert "    return broken()\n" in told
    assert '    raise fastrpc.ConfigError("the program says so")\n' in told
    assert len(own_frames(told)) <= 3


@pytest.mark.parametrize(
    "line",
    [
        "fastrpc.serve(Fine, address=ADDRESS)",
        "fastrpc.serve(Fine, address=ADDRESS, workers=2)",
        "asyncio.run(fastrpc.Server(Fine).listen(ADDRESS))",
    ],
)
@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_a_taken_address_is_shown_with_few_of_our_frames(tmp_path: Path, scheme: str, line: str) -> None:
    family = socket.AF_INET if scheme == "tcp" else socket.AF_UNIX
    with socket.socket(family) as taken:
        taken.bind(("127.0.0.1", 0) if scheme == "tcp" else str(tmp_path / "taken"))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}" if scheme == "tcp" else str(tmp_path / "taken")
        address = f"{scheme}://{place}"
        told = traceback_of(tmp_path, line.replace("ADDRESS", repr(address)))
    assert line.replace("ADDRESS", repr(address)) in told
    assert len(own_frames(told)) <= 3
    *_, error, hint = told.splitlines()
    assert re.fullmatch(rf"OSError: \[Errno \d+\] cannot listen at {address}: Address already in use", error)
    assert hint == "hint: another program listens there: stop it, or give another address"


def test_every_other_error_keeps_its_frames(tmp_path: Path) -> None:
    told = traceback_of(tmp_path, "fastrpc.serve(lambda: 1 / 0, address='tcp://127.0.0.1:0')")
    assert "ZeroDivisionError" in told
    assert len(own_frames(told)) > 3
