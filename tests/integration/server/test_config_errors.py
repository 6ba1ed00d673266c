"""A mistake in a program's classes: its traceback shows the line of the program, not the frames of fastrpc."""

import re
from pathlib import Path

import pytest

import fastrpc
from tests.support.program import run_program

pytestmark = pytest.mark.one_loop

CLASSES = """
import asyncio
import contextlib
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

async def calling():
    async with fastrpc.Client("tcp://127.0.0.1:1") as client:
        await client.call(Orders.pay, Card("x"))

"""

#: What a program does, by its last line; it is the line that its reader has to see.
LINES = {
    "a union": 'fastrpc.serve(Orders, address="tcp://127.0.0.1:0")',
    "a class of its own": 'fastrpc.serve(Bank, address="tcp://127.0.0.1:0")',
    "a list": 'fastrpc.serve([Fine, Orders], address="tcp://127.0.0.1:0")',
    "workers": 'fastrpc.serve(Orders, address="tcp://127.0.0.1:0", limits=[1])',
    "an address": 'fastrpc.serve(Fine, address="nonsense://127.0.0.1:0")',
    "a Server": "asyncio.run(within(fastrpc.Server(Orders)))",
    "an added service": "asyncio.run(added())",
    "a listener": "asyncio.run(listening())",
    "a call": "asyncio.run(calling())",
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


def test_frames_of_the_program_below_ours_are_shown_too(tmp_path: Path) -> None:
    told = traceback_of(tmp_path, 'fastrpc.serve(made, address="tcp://127.0.0.1:0")')
    assert "    return broken()\n" in told
    assert '    raise fastrpc.ConfigError("the program says so")\n' in told
    assert len(own_frames(told)) <= 3


def test_every_other_error_keeps_its_frames(tmp_path: Path) -> None:
    told = traceback_of(tmp_path, "fastrpc.serve(lambda: 1 / 0, address='tcp://127.0.0.1:0')")
    assert "ZeroDivisionError" in told
    assert len(own_frames(told)) > 3
