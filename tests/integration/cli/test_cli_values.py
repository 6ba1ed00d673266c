"""The values of arguments of `fastrpc call`: read by the signature, if the server shows it."""

import asyncio
import json
from pathlib import Path
from typing import Any, NewType

import pytest

import fastrpc
from fastrpc import ServerConfig, Status
from tests.support.program import Finished, run_program
from tests.support.served import SCHEMES, served

pytestmark = pytest.mark.one_loop

UserName = NewType("UserName", str)


@fastrpc.service("desk")
class Desk:
    @fastrpc.method
    async def kinds(
        self, text: str, maybe: str | None = None, *, number: int = 0, either: int | str = 0
    ) -> list[Any]:
        return [text, maybe, number, either]

    @fastrpc.method
    async def by_name(self, user: UserName) -> str:
        return user

    @fastrpc.method
    async def refuse(self, b: int) -> None:
        raise fastrpc.CallError(Status.INVALID_ARGUMENT, "b must not be 0")


async def command(folder: Path, *arguments: str) -> Finished:
    return await asyncio.to_thread(run_program, ["-m", "fastrpc", *arguments], folder)


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "memory"])
async def test_text_for_a_text_parameter_is_not_parsed(scheme: str, tmp_path: Path) -> None:
    async with served(Desk(), scheme=scheme) as address:
        for arguments, expected in (
            (["123", "456"], ["123", "456", 0, 0]),
            (["true", "null", "number=7", "either=8"], ["true", None, 7, 8]),
            (["text=[1]", "either=[2]"], ["[1]", None, 0, "[2]"]),
            (["123", "--codec", "json"], ["123", None, 0, 0]),
        ):
            ended = await command(tmp_path, "call", address, "desk.kinds", *arguments)
            assert json.loads(ended.output) == expected, ended
        ended = await command(tmp_path, "call", address, "desk.by_name", "7")
        assert ended.output == '"7"\n'


async def test_without_reflection_values_are_json_or_else_text(tmp_path: Path) -> None:
    async with served(Desk(), scheme="tcp", config=ServerConfig(reflection=False)) as address:
        ended = await command(tmp_path, "call", address, "desk.kinds", '"123"', "number=7")
        assert json.loads(ended.output) == ["123", None, 7, 0]
        refused = await command(tmp_path, "call", address, "desk.kinds", "123")
    assert refused.code == 1
    assert "expected `str`, got `int`" in refused.errors


async def test_refusal_of_the_handler_gets_no_hint_about_its_signature(tmp_path: Path) -> None:
    async with served(Desk(), scheme="tcp") as address:
        ended = await command(tmp_path, "call", address, "desk.refuse", "0")
    assert (ended.code, ended.errors) == (1, "error: INVALID_ARGUMENT: b must not be 0\n")
