"""Lines on standard output and error: the same text with and without rich, which only a terminal needs."""

import io
import json
import re
import subprocess
import sys

import pytest

from fastrpc.cli.output import Part, StyledOutput, rich_text, shown
from fastrpc.cli.serving.started import print_box
from fastrpc.workers.plan import Started

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


def printed(output: StyledOutput, file: io.StringIO, monkeypatch: pytest.MonkeyPatch, *parts: Part) -> str:
    monkeypatch.setattr(sys, "stdout", file)
    output.print(*parts)
    return file.getvalue()


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_a_pipe_gets_the_text_that_rich_would_write(
    parts: tuple[Part, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = printed(StyledOutput(), io.StringIO(), monkeypatch, *parts)
    drawn = io.StringIO()
    monkeypatch.setattr(sys, "stdout", drawn)
    StyledOutput().draw(rich_text(*parts))
    assert plain == drawn.getvalue()
    assert "\x1b" not in plain


def test_a_box_folds_a_service_of_many_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = io.StringIO()
    monkeypatch.setattr(sys, "stdout", drawn)
    methods = [f"method_{number}" for number in range(20)]
    print_box(Started(addresses=(), services={"shop": methods}, loop="uvloop", process_ids=(1,)))
    assert [word for word in re.findall(r"\w+", drawn.getvalue()) if word.startswith("method_")] == methods


def test_a_terminal_gets_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        printed(StyledOutput(), Terminal(), monkeypatch, ("error: ", "bold"), "x")
        == "\x1b[1merror: \x1b[0mx\n"
    )


def test_a_terminal_gets_no_control_characters_of_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(StyledOutput(), Terminal(), monkeypatch, shown("\x1b[2Jx")) == "\\x1b[2Jx\n"


def test_a_pipe_gets_styles_where_the_environment_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1m" in printed(StyledOutput(), io.StringIO(), monkeypatch, ("x", "bold"))


def test_nothing_is_written_where_standard_output_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    StyledOutput().print("x")


def test_a_pipe_gets_a_line_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    long = "word " * 50 + "end"
    StyledOutput().table(
        [[["a", ("bc", "red")], [shown("\x1b", "dim")], [""]], [["d"], [long], [("x", "dim")]]]
    )
    StyledOutput().table([])
    assert file.getvalue() == f"abc   \\x1b\nd     {long}   x\n"


def test_a_terminal_gets_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    file = Terminal()
    monkeypatch.setattr(sys, "stdout", file)
    StyledOutput().table([[["a"], [("b", "bold")]]])
    assert file.getvalue() == "a   \x1b[1mb\x1b[0m\n"


#: Runs commands, each in a fork of an interpreter that has imported their common modules, and prints the further
#: modules.
LOADED = """
import json, os, sys
from fastrpc.cli.application import run_command_line
for arguments in json.loads(sys.argv[1]):
    if os.fork() == 0:
        sys.argv = ["fastrpc", *arguments]
        code = run_command_line()
        sys.stdout.flush()
        loaded = [name for name in sys.modules if name.startswith(("rich.", "fastrpc."))]
        print("\\n" + json.dumps([code, loaded]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """What each command of `WRONG` loads."""
    commands = json.dumps([arguments for arguments, _ in WRONG.values()])
    done = subprocess.run(
        [sys.executable, "-c", LOADED, commands], capture_output=True, text=True, check=True, timeout=60
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert [code for code, _ in found] == [2] * len(WRONG), done
    return {name: set(modules) for name, (_, modules) in zip(WRONG, found, strict=True)}


#: A command, ended by an argument that is wrong, and its module.
WRONG = {
    "run": (["run", "no-import-string"], "serving"),
    "call": (["call", "nowhere", "a.b"], "calling.command"),
    "list": (["list", "nowhere"], "listing"),
    "health": (["health", "nowhere"], "checking"),
    "bench": (["bench", "nowhere", "a.b"], "benchmark.command"),
    "put": (["put", "nowhere", "/none/file"], "copying"),
    "contract": (["contract", "a:b", "c:d"], "contracts.command"),
    "registry": (["registry", "-a", "nowhere"], "registering"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_command_loads_neither_rich_nor_modules_of_other_commands(
    name: str, loaded: dict[str, set[str]]
) -> None:
    modules, module = loaded[name], WRONG[name][1]
    assert f"fastrpc.cli.{module}" in modules
    assert {name for name in modules if name.startswith("rich.") and name != "rich._extension"} == set()
    needed = {"listing": {"calling.command", "checking"}}
    needed["contracts.command"] = {"calling.command", "checking", "listing"}
    shared = {"calling.command"} if module in {"checking", "benchmark.command", "copying"} else set()
    shared |= {"serving"} if module == "registering" else set()
    commands = {f"fastrpc.cli.{name}" for _, name in WRONG.values()}
    assert modules & commands == {
        f"fastrpc.cli.{name}" for name in {module} | shared | needed.get(module, set())
    }
