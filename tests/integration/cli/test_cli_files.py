"""`fastrpc get` and `fastrpc put`: each command in a separate process."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastrpc.files import FileService
from fastrpc.testing import serving
from tests.support.program import PACKAGE_ROOT, Finished, Program, run_program
from tests.support.transfers import content, digest_of, parts_in

DATA = content(3_000_000)
SHA256 = digest_of(DATA).sha256


class Desk:
    """A folder that is served, and the one in which commands run."""

    def __init__(self, folder: Path, address: str) -> None:
        self.there, self.here = folder / "there", folder / "here"
        self.address = address

    def run(self, *arguments: str) -> Finished:
        verb, *rest = arguments
        return run_program(["-m", "fastrpc", verb, self.address, *rest], self.here)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    for name in ("there", "here"):
        (tmp_path / name).mkdir()
    services = [
        FileService(tmp_path / "there", writable=True),
        FileService(tmp_path / "there", name="docs"),
    ]
    with serving(services) as address:
        yield Desk(tmp_path, address)


def test_put_and_get_copy_a_file(desk: Desk) -> None:
    (desk.there / "sub").mkdir()
    (desk.here / "a.bin").write_bytes(DATA)
    done = desk.run("put", "a.bin", "sub/b.bin")
    assert (done.code, done.output) == (0, f"{SHA256}  sub/b.bin\n")
    # No bar, and nothing that moves a cursor, where there is no terminal.
    assert re.fullmatch(r"3,000,000 bytes in [\d.]+ s\n", done.errors)
    done = desk.run("get", "sub/b.bin")
    assert (done.code, done.output) == (0, f"{SHA256}  b.bin\n")
    assert (desk.here / "b.bin").read_bytes() == (desk.there / "sub" / "b.bin").read_bytes() == DATA


def test_omitted_names_are_taken_from_the_source(desk: Desk) -> None:
    (desk.here / "sub").mkdir()
    (desk.here / "sub" / "a").write_bytes(b"abc")
    assert desk.run("put", "sub/a").code == 0
    assert (desk.there / "a").read_bytes() == b"abc"
    assert desk.run("get", "a", "sub").code == 0
    assert desk.run("get", "a", "c").code == 0
    assert (desk.here / "c").read_bytes() == b"abc"


def test_json_is_one_line_for_machines(desk: Desk) -> None:
    (desk.there / "a").write_bytes(DATA)
    done = desk.run("get", "a", "--json")
    answer = json.loads(done.output)
    assert answer.pop("seconds") > 0
    assert answer == {"source": "a", "target": "a", "size": len(DATA), "sha256": SHA256}
    assert done.errors == ""
    refused = desk.run("get", "nothing", "--json")
    assert json.loads(refused.output)["status"] == "NOT_FOUND"
    assert refused.code == 1


def test_an_earlier_attempt_is_continued_unless_told_otherwise(desk: Desk) -> None:
    (desk.there / "a").write_bytes(DATA)
    part = desk.here / "a.fastrpc-part"
    for options in ((), ("--no-resume",)):
        part.write_bytes(DATA[:1_000_000])
        assert desk.run("get", "a", *options).output == f"{SHA256}  a\n"
        assert parts_in(desk.here) == []
    part = desk.there / "b.fastrpc-part"
    for options in ((), ("--no-resume",)):
        part.write_bytes(DATA[:1_000_000])
        assert desk.run("put", "a", "b", *options).output == f"{SHA256}  b\n"
        assert parts_in(desk.there) == []


def test_another_service_is_named(desk: Desk) -> None:
    (desk.there / "a").write_bytes(b"abc")
    assert desk.run("get", "a", "--service", "docs").code == 0
    refused = desk.run("put", "a", "b", "--service", "docs")
    assert refused.code == 1
    assert "these files can only be read" in refused.errors
    unknown = desk.run("get", "a", "--service", "shop")
    assert unknown.code == 1
    assert "hint: the server has no file service 'shop'; --service names another one" in unknown.errors


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("get", "../a"), 1, "it has the part '..'"),
        (("get", "nothing"), 1, "there is no 'nothing'"),
        (("put", __file__, "nothing/b"), 1, "there is no 'nothing/b', or no folder for it"),
        (("get", "sub/"), 2, "'' is not the name of a file"),
        (("get", "..", "x"), 1, "it has the part '..'"),
        (("get", ".."), 2, "'..' is not the name of a file"),
        (("get", "a", "nothing/b"), 1, "nothing/b: No such file or directory"),
        (("get", "a", "--service", "a b"), 2, "'a b' is not a service name"),
        (("put", "nothing"), 2, "nothing is not a file"),
        (("put", "."), 2, ". is not a file"),
        (("get",), 2, "Missing argument 'NAME'"),
        (("put",), 2, "Missing argument 'PATH'"),
    ],
)
def test_mistakes_are_reported(arguments: tuple[str, ...], code: int, text: str, desk: Desk) -> None:
    (desk.there / "a").write_bytes(b"abc")
    done = desk.run(*arguments)
    assert (done.code, text in done.errors) == (code, True), done
    assert "Traceback" not in done.errors
    assert os.listdir(desk.here) == []


def test_an_interrupted_copy_is_continued(tmp_path: Path) -> None:
    program = """
import asyncio
from collections.abc import AsyncIterator
import fastrpc
from fastrpc.files import FileService

class Slow(FileService):
    @fastrpc.method(idempotent=True)
    async def read(self, path: str, offset: int = 0, version: str = "") -> AsyncIterator[bytes]:
        async for piece in super().read(path, offset, version):
            yield piece
            print("sent", flush=True)
            await asyncio.sleep(1_000)

async def serve():
    async with fastrpc.Server(Slow(".")) as server:
        print("serving at", await server.listen("tcp://127.0.0.1:0"), flush=True)
        await server.serve_forever()

asyncio.run(serve())
"""
    (tmp_path / "a").write_bytes(DATA)
    here = tmp_path / "here"
    here.mkdir()
    with Program(["-c", program], tmp_path) as server:
        address = server.wait_output(r"serving at (\S+)")[1]
        with Program(["-m", "fastrpc", "get", address, "a"], here) as command:
            server.wait_output("sent")
            command.signal(signal.SIGINT)
            ended = command.wait()
        assert ended.code == 130
        assert "Traceback" not in ended.errors
    with serving(FileService(tmp_path)) as address:
        assert run_program(["-m", "fastrpc", "get", address, "a"], here).output == f"{SHA256}  a\n"


def test_a_terminal_sees_a_bar(desk: Desk) -> None:
    (desk.there / "a").write_bytes(DATA)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fastrpc", "get", desk.address, "a"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT), "COLUMNS": "120", "TERM": "xterm"}
    with subprocess.Popen(
        command, cwd=desk.here, stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                block = os.read(ours, 4_096)
            except OSError:  # Linux: the other end was closed.
                break
            if not block:
                break
            shown += block
        assert process.wait(30) == 0
    os.close(ours)
    assert "MiB" in shown.decode()
    assert "━" in shown.decode()


def test_help_names_the_commands() -> None:
    done = run_program(["-m", "fastrpc", "--help"], Path())
    assert re.search(r"\bget\b.*Copy a file from a server to this machine", done.output)
    assert re.search(r"\bput\b.*Copy a file from this machine to a server", done.output)


def test_the_command_line_loads_the_transfers_only_for_them() -> None:
    program = (
        "import sys, fastrpc.cli.application; "
        "print([name for name in sys.modules if name.startswith('fastrpc.files')])"
    )
    assert run_program(["-c", program], Path(), is_anew=True).output == "[]\n"
