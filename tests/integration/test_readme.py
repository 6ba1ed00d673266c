"""The blocks of README.md work as printed, in the order in which a reader meets them."""

import re
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.program import Finished, Program, run_program
from tests.support.source_tree import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")

#: The addresses of the page, whose ports another program on this machine may use.
PORTS = ("8970", "8972")

BASH = shutil.which("bash")


def blocks(language: str) -> list[str]:
    """Return the blocks of a language in their order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for of, text in found if of == language]


PROGRAMS = {block.partition("\n")[0].removeprefix("# "): block for block in blocks("python")}


class Page:
    """A folder with the programs of the page, at ports that are free."""

    def __init__(self, folder: Path, ports: dict[str, str]) -> None:
        self.folder = folder
        self._ports = ports
        for name, text in PROGRAMS.items():
            (folder / name).write_text(self.placed(text), encoding="utf-8")
        # What the shell finds is this very Python and the package under test.
        (folder / "bin").mkdir()
        for name, options in (("python", ""), ("fastrpc", "-m fastrpc")):
            launcher = folder / "bin" / name
            launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" {options} "$@"\n', encoding="utf-8")
            launcher.chmod(0o755)

    def placed(self, text: str) -> str:
        """Return a text with the ports of this run."""
        return re.sub("|".join(PORTS), lambda match: self._ports[match[0]], text)

    def run(self, *arguments: str) -> Finished:
        """Run Python to its end."""
        return run_program(arguments, self.folder)

    def shell(self, *texts: str) -> Finished:
        """Run blocks in bash, one after the other."""
        (self.folder / "block.sh").write_text(self.placed("\n".join(texts)), encoding="utf-8")
        environment = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "FASTRPC_ADDRESS": self.placed("tcp://127.0.0.1:8972"),
        }
        start = f"import os; os.execv({BASH!r}, ['bash', 'block.sh'])"
        with Program(["-c", start], self.folder, environment) as program:
            return program.wait(120.0)


@pytest.fixture
def page(tmp_path: Path) -> Page:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = [str(one.getsockname()[1]) for one in (first, second)]
    return Page(tmp_path, dict(zip(PORTS, ports, strict=True)))


@pytest.fixture
def server(page: Page) -> Iterator[Program]:
    """Start `python server.py`, which prints nothing: it serves once it can be called."""
    wait = (
        "import fastrpc\nwith fastrpc.SyncClient('tcp://127.0.0.1:8972') as client:\n    client.ready(30)\n"
    )
    with Program(["server.py"], page.folder) as program:
        assert page.run("-c", page.placed(wait)).code == 0
        yield program


def assert_quiet(ended: Finished) -> None:
    """Check that nothing on the way looks like a mistake of the reader."""
    assert not re.search(r"WARNING|ERROR|error:|Traceback", ended.errors), ended


def test_every_block_of_the_page_is_run_here() -> None:
    assert list(PROGRAMS) == ["server.py", "client.py", "blocking_client.py", "many.py", "test_server.py"]
    assert len(blocks("sh")) == 3
    # The commands of the project, which set up what they need.
    (project,) = blocks("")
    assert all(line.startswith("make ") for line in project.splitlines())


def test_clients_call_the_server_which_ends_by_a_signal(page: Page, server: Program) -> None:
    ended = page.run("client.py")
    assert (ended.output, ended.errors) == ("42\n42\n42\n[2, 12]\n", "")
    ended = page.run("blocking_client.py")
    assert (ended.output, ended.errors) == ("42\n", "")
    server.signal(signal.SIGINT)
    ended = server.wait()
    assert (ended.code, ended.output, ended.errors) == (0, "", "")


@pytest.mark.skipif(BASH is None, reason="the blocks are written for bash")
def test_commands_serve_and_call(page: Page) -> None:
    ended = page.shell(blocks("sh")[0], "wait %1; echo server $?")
    assert_quiet(ended)
    output = ended.output
    assert f"serving at {page.placed('tcp://127.0.0.1:8972')} with 4 workers\n" in output
    assert "SERVING\n" in output
    assert "  mul(a: int, b: int) -> int" in output
    assert "\n42\n" in output
    assert re.search(r"^errors +none$", output, re.MULTILINE)
    assert output.endswith("server 0\n")


@pytest.mark.skipif(BASH is None, reason="the blocks are written for bash")
def test_commands_start_a_registry_and_servers_that_a_program_finds(page: Page) -> None:
    # The way to end them stands below the block.
    assert "`kill %2 %3` ends the servers" in README
    end = "kill %2 %3; wait %2 %3; kill %1; wait %1; echo registry $?"
    ended = page.shell(blocks("sh")[1], "python many.py", end)
    assert_quiet(ended)
    output = ended.output
    assert output.count("serving at tcp://127.0.0.1:") == 2
    assert re.search(r"^  tcp://127\.0\.0\.1:\d+ +SERVING", output, re.MULTILINE)
    assert output.splitlines().count("42") == 2
    assert re.search(r"^\{Endpoint\(.*Reply\(42", output, re.MULTILINE)
    assert output.endswith("registry 0\n")


@pytest.mark.skipif(BASH is None, reason="the blocks are written for bash")
def test_a_contract_is_written_and_kept(page: Page) -> None:
    ended = page.shell(blocks("sh")[2], "echo ended $?; cat contract.py")
    assert_quiet(ended)
    assert ended.output.startswith("no changes of what is compared\nnot compared: ")
    assert "ended 0\n" in ended.output
    assert "    async def mul(self, a: int, b: int) -> int: ..." in ended.output


def test_the_test_of_the_page_passes(page: Page) -> None:
    ended = page.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_server.py")
    assert ended.code == 0, ended
    assert "1 passed" in ended.output
