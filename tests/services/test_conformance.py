"""The conformance suite of Connect (connectrpc.com/conformance 1.0.7) asks our server, and directs our client."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source_tree import ROOT

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

FOLDER = Path(__file__).parent / "conformance"


async def report_of(conformance: tuple[Path, Path], folder: Path, mode: str, config: str) -> tuple[int, str]:
    """Run the suite against our server or client; return the number of cases that passed, and the report."""
    program, protos = conformance
    names = [
        f"connectrpc/conformance/v1/{name}.proto"
        for name in ("config", "service", "server_compat", "client_compat")
    ]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", f"--python_out={folder}", *names]
    subprocess.run(protoc, check=True)
    process = await asyncio.create_subprocess_exec(
        program,
        f"--mode={mode}",
        f"--conf={FOLDER / config}",
        "--",
        sys.executable,
        "-m",
        f"tests.support.conformance_{mode}",
        str(folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    async with asyncio.timeout(600):
        output, _ = await process.communicate()
    report = output.decode()
    assert process.returncode == 0, report
    passed = re.search(r"(\d+) passed, 0 failed", report)
    assert passed is not None, report
    return int(passed[1]), report


async def test_a_server_passes_the_cases_of_connect_and_grpc_web(
    conformance: tuple[Path, Path], tmp_path: Path
) -> None:
    passed, report = await report_of(conformance, tmp_path, "server", "config.yaml")
    assert passed > 1_000, report


async def test_a_client_passes_the_cases_of_grpc(conformance: tuple[Path, Path], tmp_path: Path) -> None:
    passed, report = await report_of(conformance, tmp_path, "client", "client.yaml")
    assert passed > 600, report
