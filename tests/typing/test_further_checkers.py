"""pyrefly and ty on the same programs, and on the examples: they agree with mypy but for the lines listed here.

A line of a list that its checker takes as mypy does fails the test as well: the list then is to be shortened.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.source_tree import ROOT
from tests.typing.test_typing import BAD, ENVIRONMENT, MARK

FOLDER = Path(__file__).parent
PROGRAMS = sorted([*FOLDER.glob("good*.py"), FOLDER / "services.py", BAD])
EXAMPLES = sorted((ROOT / "tests" / "examples").glob("*.py"))

#: The folders of the modules that they import.
SEARCHED = [str(ROOT), str(ROOT / "src"), str(ROOT / "tests" / "examples")]

_TY = re.compile(r"(.+?):(\d+):\d+: error\[")


class Line(NamedTuple):
    """A line of a program."""

    file: str
    text: str


_GATHERED = 'assert_type(await asyncio.gather(*(client.call(Arith.same, name) for name in "abc")), list[str])'
_UPLOADED = 'assert_type(await client.call(Photos.put, fastrpc.Upload(pieces(), filename="b"), "a"), int)'
_LISTED = 'return [line.split()[1] for line in said.splitlines() if "tcp://" in line]'

#: Lines that a checker refuses, and mypy accepts.
REFUSED = {
    "pyrefly": {
        # A name that the loop binds in front of the error.
        Line("demo.py", "check(number == 2, error.message)"),
        Line("good.py", _GATHERED),
        # `call_many` of a method with a default, whose arguments are given by tuples of several lengths.
        Line("good.py", "assert_type(await client.call_many(mul, [(6, 7)]), list[int])"),
        Line("good.py", "assert_type(await client.call_many(Clock.at, [(2026, 1)]), list[datetime])"),
        Line("good.py", "assert_type(client.call_many(Clock.at, [(2026, 1)]), list[datetime])"),
        Line("good.py", "assert_type("),
        *(
            Line(
                "good.py",
                f"{call}client.call_many(Clock.at, [(2026, 1)], return_exceptions=True), list[datetime | FastRPCError]",
            )
            for call in ("", "await ")
        ),
    },
    "ty": {
        Line("demo.py", _LISTED),
        # An error code of mypy that it does not know.
        Line("demo.py", "await client.call(method, *values)  # type: ignore[call-overload]"),
        Line("good.py", "assert_type(fastrpc.coordination.RegistryServer, type[RegistryServer])"),
        # Generic methods.
        Line("good.py", "assert_type(await client.call(Arith.same, 5), int)"),
        Line("good.py", _GATHERED),
        Line("good.py", 'assert_type(client.call(Arith.same, "a"), str)'),
        Line("good_streams.py", _UPLOADED),
    },
}

#: Wrong lines that a checker accepts, and mypy refuses.
ACCEPTED = {
    "pyrefly": {
        Line("bad.py", "@fastrpc.service"),
        # The arguments of a function under `@fastrpc.function`.
        Line("bad.py", 'await client.call(mul, "6")'),
        Line("bad.py", "await client.call(mul, 6, 7, 8)"),
        Line("bad.py", "await client.call(mul, c=6)"),
    },
    "ty": {
        # Coroutines that are never awaited.
        Line("bad.py", "client.call(Arith.mul, 6, 7)"),
        Line("bad.py", "client.notify(Arith.ping)"),
        # Names in `Unpack[TypedDict]`.
        Line("bad.py", "client.with_options(deadline=1)"),
        Line("bad.py", "await services.with_options(tiemout=1).call(Arith.mul, 6, 7)"),
    },
}


def run_pyrefly(program: str, folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the file and the line of each error."""
    paths = json.dumps(SEARCHED)
    settings = folder / "pyrefly.toml"
    settings.write_text(
        f"python-interpreter-path = {json.dumps(sys.executable)}\nsearch-path = {paths}\n", encoding="utf-8"
    )
    files = map(str, [*PROGRAMS, *EXAMPLES])
    done = subprocess.run(
        [program, "check", "--config", str(settings), "--output-format", "json", *files],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    for item in json.loads(done.stdout)["errors"]:
        if item["severity"] == "error":
            yield item["path"], item["line"]


def run_ty(program: str, folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the file and the line of each error."""
    paths = [f"--extra-search-path={path}" for path in SEARCHED]
    files = map(str, [*PROGRAMS, *EXAMPLES])
    done = subprocess.run(
        [program, "check", "--python", sys.prefix, *paths, "--output-format", "concise", *files],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    for path, number in _TY.findall(done.stdout):
        yield path, int(number)


CHECKERS = {"pyrefly": run_pyrefly, "ty": run_ty}


@pytest.fixture(scope="module", params=CHECKERS)
def checked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, set[tuple[str, int]]]:
    """The name of a checker, and the lines that it refuses."""
    name: str = request.param
    program = shutil.which(name, path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip(f"{name} is not installed (make build installs it)")
    found = CHECKERS[name](program, tmp_path_factory.mktemp(name))
    return name, {(Path(path).name, line) for path, line in found}


def lines_of(path: Path) -> dict[int, str]:
    return dict(enumerate(path.read_text(encoding="utf-8").splitlines(), 1))


def test_they_refuse_the_lines_that_mypy_refuses(checked: tuple[str, set[tuple[str, int]]]) -> None:
    name, refused = checked
    marked = {number: text for number, text in lines_of(BAD).items() if text.endswith(MARK)}
    accepted = {
        Line(BAD.name, text.removesuffix(MARK).strip())
        for number, text in marked.items()
        if (BAD.name, number) not in refused
    }
    assert accepted == ACCEPTED[name]


def test_they_accept_the_lines_that_mypy_accepts(checked: tuple[str, set[tuple[str, int]]]) -> None:
    name, refused = checked
    texts = {path.name: lines_of(path) for path in (*PROGRAMS, *EXAMPLES)}
    wrong = {
        Line(file, texts[file][number].strip())
        for file, number in refused
        if not (file == BAD.name and texts[file][number].endswith(MARK))
    }
    assert wrong == REFUSED[name]
