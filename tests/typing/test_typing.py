"""mypy and pyright on the same files: nothing refused in `good*.py`, every marked line in `bad.py`."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastrpc.rpc.marshals import check_service
from fastrpc.rpc.service import service_definition
from tests.support.source_tree import ROOT
from tests.typing import services

FOLDER = Path(__file__).parent
BAD = FOLDER / "bad.py"
#: Ends a line that every checker must refuse.
MARK = "# error"

#: A sanitizer's library is for our extensions, which the checkers do not load; node would not start with it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}

#: File name -> line -> the errors of the checker.
Errors = dict[str, dict[int, str]]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def run_mypy(folder: Path) -> Errors:
    """Check the folder with the strict settings of this tree, so that mypy reuses the cache of `make lint`.

    Nothing it says of other files counts.
    """
    command = [sys.executable, "-m", "mypy", "--output", "json"]
    files = [str(path) for path in sorted(FOLDER.glob("*.py*"))]
    done = run([*command, *files])
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found: Errors = {}
    for item in map(json.loads, done.stdout.splitlines()):
        if item["severity"] == "error":
            found.setdefault(Path(item["file"]).name, {}).setdefault(item["line"], item["message"])
    return found


def run_pyright(folder: Path) -> Errors:
    """Check the folder with pyright's strict mode."""
    # The paths of a project are relative to its file.
    settings = {
        "include": [os.path.relpath(FOLDER, folder)],
        "extraPaths": [os.path.relpath(path, folder) for path in (ROOT, ROOT / "src")],
        "typeCheckingMode": "strict",
    }
    project = folder / "pyrightconfig.json"
    project.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = run([*command, "--project", str(project)])
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"], done.stdout
    found: Errors = {}
    for item in report["generalDiagnostics"]:
        if item["severity"] == "error":
            line = item["range"]["start"]["line"] + 1
            found.setdefault(Path(item["file"]).name, {}).setdefault(line, item["message"])
    return found


@pytest.fixture(scope="module", params=[run_mypy, run_pyright], ids=["mypy", "pyright"])
def errors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Errors:
    """The errors of one checker for the whole folder."""
    check: Callable[[Path], Errors] = request.param
    checker = check.__name__.removeprefix("run_")
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed (make build installs it)")
    return check(tmp_path_factory.mktemp("checker"))


def test_every_promise_holds(errors: Errors) -> None:
    assert {name: lines for name, lines in errors.items() if name != BAD.name} == {}


def test_every_wrong_line_is_refused(errors: Errors) -> None:
    refused = errors.get(BAD.name, {})
    assert {line: text for line, text in _marked_lines().items() if line not in refused} == {}


def test_only_the_wrong_lines_are_refused(errors: Errors) -> None:
    marked = _marked_lines()
    refused = errors.get(BAD.name, {})
    assert {line: message for line, message in refused.items() if line not in marked} == {}


@pytest.mark.parametrize(
    "source", [value for value in vars(services).values() if hasattr(value, "__fastrpc_service__")]
)
def test_code_that_type_checkers_accept_works_at_run_time(source: object) -> None:
    check_service(service_definition(source))


def _marked_lines() -> dict[int, str]:
    lines = BAD.read_text(encoding="utf-8").splitlines()
    return {number: text.strip() for number, text in enumerate(lines, 1) if text.endswith(MARK)}


def test_the_types_of_grpc_aio_are_counted() -> None:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed (make build installs it)")
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--pythonpath",
        sys.executable,
        "--outputjson",
        "--ignoreexternal",
    ]
    # pyright asks the interpreter where modules are, which a checkout does not tell by itself.
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*command, "--verifytypes", "fastrpc.grpc.aio"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)["typeCompleteness"]
    assert report["pyTypedPath"]
    exported = {symbol["name"] for symbol in report["symbols"] if symbol["isExported"]}
    assert {
        f"fastrpc.grpc.aio.{name}" for name in ("insecure_channel", "secure_channel", "server")
    } <= exported
