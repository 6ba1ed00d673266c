"""mypy and pyright accept the Python blocks of the README and of the user guide, as a program of its reader."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import blocks_of, file_name
from tests.support.source_tree import ROOT
from tests.typing.test_typing import ENVIRONMENT

#: Its programs are written around modules that grpcio-tools makes, which have no types, as grpcio has none.
WITHOUT_TYPES = "grpcio.md"
GUIDE = [page for page in (ROOT / "docs" / "guide").glob("*.md") if page.name != WITHOUT_TYPES]
PAGES = [ROOT / "README.md", *sorted(GUIDE)]

#: A command of a page that writes a module.
WRITES = re.compile(r"^fastrpc (contract \S+) > (\w+\.py)$", re.MULTILINE)
#: A block that writes a .proto file; a later block generates a module from it.
SCHEMA = re.compile(r"^cat > (\w+\.proto) <<'END'\n(.*?)^END$", re.MULTILINE | re.DOTALL)
IMPORT = re.compile(r"^(from|import) (\w+)\b", re.MULTILINE)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package for each page: their files may have the same names."""
    folder = tmp_path_factory.mktemp("pages")
    for page in PAGES:
        package = folder / re.sub(r"\W", "_", str(page.relative_to(ROOT).with_suffix("")))
        package.mkdir()
        write_programs(page.read_text(encoding="utf-8"), package)
    return folder


#: Packages without types; modules that grpcio-tools makes have no types, either.
UNTYPED = re.compile(r"^import (grpc|django)$|^from google\.protobuf", re.MULTILINE)


def write_programs(text: str, package: Path) -> None:
    """Write the files of one page, which import each other inside the package."""
    for block in blocks_of(text):
        if block.language == "python" and (name := file_name(block)) and not UNTYPED.search(block.text):
            (package / name).write_text(block.text, encoding="utf-8")
    for name, schema in SCHEMA.findall(text):
        (package / name).write_text(schema, encoding="utf-8")
    for arguments, name in WRITES.findall(text):
        command = [sys.executable, "-m", "fastrpc", *arguments.split()]
        (package / name).write_text(printed_by(command, package), encoding="utf-8")
    own = {path.stem: path for path in package.glob("*.py")}

    def placed(match: re.Match[str]) -> str:
        if match[2] not in own:
            return match[0]
        return f"from . import {match[2]}" if match[1] == "import" else f"from .{match[2]}"

    for path in own.values():
        path.write_text(IMPORT.sub(placed, path.read_text(encoding="utf-8")), encoding="utf-8")
    (package / "__init__.py").touch()


def printed_by(command: list[str], folder: Path, codes: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout


def test_mypy_accepts_the_programs_of_all_pages(programs: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed (make build installs it)")
    # With the settings of this tree mypy reuses the cache of `make lint`.
    settings = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    command = [sys.executable, "-m", "mypy", *settings, "--no-error-summary", "."]
    assert printed_by(command, programs, (0, 1)) == ""


def test_pyright_accepts_the_programs_of_all_pages(programs: Path) -> None:
    pytest.importorskip("pyright", reason="pyright is not installed (make build installs it)")
    settings = {"extraPaths": [str(ROOT / "src")], "typeCheckingMode": "standard"}
    (programs / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    report = json.loads(printed_by(command, programs, (0, 1)))
    assert report["summary"]["filesAnalyzed"] > len(PAGES)
    assert [(item["file"], item["message"]) for item in report["generalDiagnostics"]] == []
