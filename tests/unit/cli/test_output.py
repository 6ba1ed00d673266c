"""Lines on standard output and error: the same text with and without rich, which only a terminal needs."""

import io
import json
import subprocess
import sys

import pytest

from fastrpc.cli.output import Output, Part, rich_text, shown

PARTS: dict[str, tuple[Part, ...]] = {
    "plain": ("serving at tcp://127.0.0.1:1",),
    "styled": (("error: ", "bold red"), "it failed\n       twice"),
    "of a peer": (shown("\x1b[2J\u202e[red]x[/red] :smile:\n", "dim"), "end"),
    "tabs and an empty line": ("a\tb\n\nc ",),
    "longer than a line": ("word " * 100,),
    "nothing": (),
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def nothing_chooses_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def printed(output: Output, file: io.StringIO, monkeypatch: pytest.MonkeyPatch, *parts: Part) -> str:
    monkeypatch.setattr(sys, "stdout", file)
    output.print(*parts)
    return file.getvalue()


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_a_pipe_gets_the_text_that_rich_would_write(
    parts: tuple[Part, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = printed(Output(), io.StringIO(), monkeypatch, *parts)
    drawn = io.StringIO()
    monkeypatch.setattr(sys, "stdout", drawn)
    Output().draw(rich_text(*parts))
    assert plain == drawn.getvalue()
    assert "\x1b" not in plain


def test_a_terminal_gets_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(Output(), Terminal(), monkeypatch, ("error: ", "bold"), "x") == "\x1b[1merror: \x1b[0mx\n"


def test_a_terminal_gets_no_control_characters_of_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(Output(), Terminal(), monkeypatch, shown("\x1b[2Jx")) == "\\x1b[2Jx\n"


def test_a_pipe_gets_styles_where_the_environment_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1m" in printed(Output(), io.StringIO(), monkeypatch, ("x", "bold"))


def test_nothing_is_written_where_standard_output_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    Output().print("x")


#: Runs a command and prints which modules that took.
LOADED = """
import json, sys
from fastrpc.cli.application import run_command_line
sys.argv[0] = "fastrpc"
code = run_command_line()
sys.stdout.flush()
loaded = [name for name in sys.modules if name.startswith(("rich.", "fastrpc."))]
print("\\n" + json.dumps([code, loaded]))
"""


def loaded_by(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 2, done
    return set(modules)


#: A command, ended by an argument that is wrong, and its module.
WRONG = {
    "run": (["run", "no-import-string"], "serving"),
    "call": (["call", "nowhere", "a.b"], "calling"),
    "list": (["list", "nowhere"], "listing"),
    "health": (["health", "nowhere"], "checking"),
    "bench": (["bench", "nowhere", "a.b"], "benchmark"),
    "put": (["put", "nowhere", "/none/file"], "copying"),
    "contract": (["contract", "a:b", "c:d"], "contracting"),
    "registry": (["registry", "-a", "nowhere"], "registering"),
}


@pytest.mark.parametrize(("arguments", "module"), WRONG.values(), ids=WRONG)
def test_a_command_loads_neither_rich_nor_what_only_others_need(arguments: list[str], module: str) -> None:
    loaded = loaded_by(*arguments)
    assert f"fastrpc.cli.{module}" in loaded
    assert {name for name in loaded if name.startswith("rich.") and name != "rich._extension"} == set()
    needed = {"listing": {"calling", "checking"}, "contracting": {"calling", "checking", "listing"}}
    shared = {"calling"} if module in {"checking", "benchmark", "copying"} else set()
    shared |= {"serving"} if module == "registering" else set()
    commands = {f"fastrpc.cli.{name}" for _, name in WRONG.values()}
    assert loaded & commands == {
        f"fastrpc.cli.{name}" for name in {module} | shared | needed.get(module, set())
    }
