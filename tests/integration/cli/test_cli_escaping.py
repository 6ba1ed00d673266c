"""The command line in front of a peer that sends escape sequences, C1 and bidi controls, markup and broken forms."""

import asyncio
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Status
from fastrpc.coordination.registry.service import RegistryService
from tests.support.frame_factory import opening
from tests.support.program import Finished, Program, run_program
from tests.support.raw_peer import RawServer
from tests.support.served import served
from tests.support.wire_frames import Goaway, Request
from tests.support.wire_layout import Reason

pytestmark = pytest.mark.one_loop

#: Clears the screen, sets the title, forges a line, turns the text around, and looks like markup of rich.
EVIL = (
    "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eabc\u2066\u200b\u2028\x7f\rOK\nhint: trust me [red]red[/red] :smile:"
)


@fastrpc.service("evil")
class Evil:
    @fastrpc.method
    async def text(self) -> str:
        return EVIL

    @fastrpc.method
    async def nested(self) -> dict[str, list[str]]:
        return {EVIL: [EVIL, "Grüße, 世界"]}

    @fastrpc.method(codec="raw")
    async def raw(self, data: bytes) -> bytes:
        return EVIL.encode()

    @fastrpc.method
    async def refuse(self) -> None:
        raise fastrpc.CallError(Status.NOT_FOUND, EVIL)

    @fastrpc.method
    async def metadata(self) -> int:
        fastrpc.current_call().reply_metadata["note"] = "Grüße"
        return 1


def description(name: str, text: str) -> dict[str, Any]:
    """Return the reflection of a service, with `text` in every place for a text."""
    parameters = [{"name": text, "type": text, "required": True}]
    method: dict[str, Any] = {
        "name": text,
        "full_name": text,
        "kind": text,
        "signature": text,
        "parameters": parameters,
    }
    method |= {"result": text, "idempotent": False, "timeout": None, "codec": None, "documentation": text}
    return {"name": name, "version": text, "documentation": text, "methods": [method]}


def lying(method: str, answer: Any) -> fastrpc.Interceptor:
    """Return an interceptor that answers a method by itself."""

    async def lie(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
        return answer if call.method == method else await proceed(call)

    return lie


async def command(folder: Path, *arguments: str, **environment: str) -> Finished:
    return await asyncio.to_thread(run_program, ["-m", "fastrpc", *arguments], folder, environment)


def assert_readable(ended: Finished) -> None:
    """Check that nothing was printed that a terminal acts upon, and that no line was forged."""
    assert "Traceback" not in ended.errors, ended
    assert "defect of fastrpc" not in ended.errors, ended
    for text in (ended.output, ended.errors):
        hidden = {character for character in text if unicodedata.category(character)[0] in "CZ"}
        assert hidden <= {" ", "\n"}, ended
    assert not [line for line in ended.errors.splitlines() if line.startswith(("hint: trust", "OK\n"))]


CALLS: dict[str, Callable[[str], list[str]]] = {
    "a text": lambda address: ["call", address, "evil.text"],
    "keys and values": lambda address: ["call", address, "evil.nested"],
    "bytes": lambda address: ["call", address, "evil.raw", "x", "--codec", "raw"],
    "an error": lambda address: ["call", address, "evil.refuse"],
    "an error of bench": lambda address: ["bench", address, "evil.refuse", "-d", "0.1"],
    "a text for machines": lambda address: ["call", address, "evil.nested", "--json"],
    "an error for machines": lambda address: ["call", address, "evil.refuse", "--json"],
    "a method of ours": lambda address: ["call", address, f"evil.{EVIL}"],
}


@pytest.mark.parametrize("what", CALLS)
async def test_answers_reach_the_terminal_escaped(what: str, tmp_path: Path) -> None:
    async with served(Evil(), scheme="tcp") as address:
        ended = await command(tmp_path, *CALLS[what](address))
    assert_readable(ended)
    assert "x1b[2J" in ended.output + ended.errors or "u001b[2J" in ended.output + ended.errors
    assert "[red]red[/red] :smile:" in ended.output + ended.errors


async def test_printed_json_keeps_the_meaning_of_the_peers_text(tmp_path: Path) -> None:
    async with served(Evil(), scheme="tcp") as address:
        for_people = await command(tmp_path, "call", address, "evil.nested")
        for_machines = await command(tmp_path, "call", address, "evil.nested", "--json")
    expected = {EVIL: [EVIL, "Grüße, 世界"]}
    assert json.loads(for_people.output) == expected
    assert json.loads(for_machines.output)["value"] == expected
    assert "Grüße, 世界" in for_people.output


async def test_a_terminal_gets_colours_but_no_character_of_the_peer(tmp_path: Path) -> None:
    async with served(Evil(), scheme="tcp") as address:
        ended = await command(
            tmp_path, "call", address, "evil.nested", FORCE_COLOR="1", NO_COLOR="", TERM="xterm-256color"
        )
    assert "\x1b[2J" not in ended.output
    assert "\x1b]0" not in ended.output
    assert "\u202e" not in ended.output


async def test_reflection_is_listed_escaped(tmp_path: Path) -> None:
    lies = lying("fastrpc.reflection.services", [description(EVIL, EVIL)])
    async with served(Evil(), scheme="tcp", interceptors=[lies]) as address:
        listed = await command(tmp_path, "list", address)
        missing = await command(tmp_path, "list", address, "evil")
        as_json = await command(tmp_path, "list", address, "--json")
    for ended in (listed, missing, as_json):
        assert_readable(ended)
    assert (listed.code, missing.code) == (0, 1)
    # A line for the service and one for its method.
    assert len(listed.output.splitlines()) == 2
    assert json.loads(as_json.output)[0]["name"] == EVIL


@pytest.mark.parametrize("answer", [7, "text", [1], [{}], [{"name": 1}], {"name": "a"}], ids=repr)
async def test_reflection_of_another_form_is_an_error_in_words(answer: Any, tmp_path: Path) -> None:
    async with served(
        Evil(), scheme="tcp", interceptors=[lying("fastrpc.reflection.services", answer)]
    ) as address:
        listed = await command(tmp_path, "list", address)
        called = await command(tmp_path, "call", address, "evil.metadata")
    assert listed.code == 1
    assert "does not describe its services" in listed.errors
    assert_readable(listed)
    assert (called.code, called.output) == (0, "1\n")


@pytest.mark.parametrize("answer", [EVIL, 7, None, ["SERVING"]], ids=ascii)
async def test_health_of_an_unknown_form_is_one_line_and_a_failure(answer: Any, tmp_path: Path) -> None:
    async with served(Evil(), scheme="tcp", interceptors=[lying("fastrpc.health.check", answer)]) as address:
        ended = await command(tmp_path, "health", address)
    assert ended.code == 1
    assert_readable(ended)
    assert len(ended.output.splitlines()) <= 1


async def refuse_with_evil(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
    raise fastrpc.CallError(Status.PERMISSION_DENIED, EVIL)


async def test_words_of_a_registry_reach_terminal_and_log_escaped(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import fastrpc\n\n\n@fastrpc.service('arith')\nclass Arith:\n"
        "    @fastrpc.method\n    async def one(self) -> int:\n        return 1\n"
    )
    async with served(RegistryService(), scheme="tcp", interceptors=[refuse_with_evil]) as address:
        url = address.replace("tcp://", "registry://")
        for arguments in (["list", url], ["list", f"{url}/arith"], ["call", url, "arith.one"]):
            ended = await command(tmp_path, *arguments)
            assert_readable(ended)
            assert ended.code == 1

        def register() -> str:
            arguments = ["-m", "fastrpc", "run", "app:Arith", "-a", "tcp://127.0.0.1:0", "-r", url]
            with Program(arguments, tmp_path) as server:
                return server.wait_errors(r"fastrpc.registry: arith: .*owned.*\n")[0]

        logged = await asyncio.to_thread(register)
    assert logged[:-1].isprintable()


async def test_the_reason_of_a_goaway_is_escaped(tmp_path: Path) -> None:
    async with RawServer() as server:
        calling = asyncio.ensure_future(command(tmp_path, "call", server.address, "evil.text"))
        peer = await server.accept()
        peer.send(opening(True))
        await peer.next(Request)
        peer.send(Goaway(1, Reason.PROTOCOL, final=True, text=EVIL.encode()).encode())
        ended = await calling
    assert ended.code == 1
    assert "owned" in ended.errors
    assert_readable(ended)


async def test_an_argument_that_is_not_utf8_is_a_usage_error(tmp_path: Path) -> None:
    async with served(Evil(), scheme="tcp") as address:
        ended = await command(tmp_path, "call", address, "evil.raw", "\udcff")
    assert ended.code == 2
    assert "is not UTF-8" in ended.errors
    assert_readable(ended)


async def test_characters_that_the_terminal_lacks_are_escaped(tmp_path: Path) -> None:
    async with served(Evil(), scheme="tcp") as address:
        for arguments in (["evil.nested"], ["evil.nested", "--json"]):
            ended = await command(tmp_path, "call", address, *arguments, PYTHONIOENCODING="ascii")
            assert (ended.code, ended.output.isascii()) == (0, True)
            assert r"\u4e16" in ended.output
