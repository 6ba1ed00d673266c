"""The conformance suite of Connect (connectrpc.com/conformance 1.0.7) asks our server."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source_tree import ROOT

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

FOLDER = Path(__file__).parent / "conformance"


async def test_a_server_passes_the_cases_of_connect_and_grpc_web(
    conformance: tuple[Path, Path], tmp_path: Path
) -> None:
    program, protos = conformance
    names = [f"connectrpc/conformance/v1/{name}.proto" for name in ("config", "service", "server_compat")]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", f"--python_out={tmp_path}", *names]
    subprocess.run(protoc, check=True)
    process = await asyncio.create_subprocess_exec(
        program,
        "--mode=server",
        f"--conf={FOLDER / 'config.yaml'}",
        "--",
        sys.executable,
        "-m",
        "tests.support.conformance_server",
        str(tmp_path),
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
    assert int(passed[1]) > 1_000, report
