"""Programs whose sources hold no service: a mistake of usage in each way to serve, unless an application is mounted."""

import urllib.request
from pathlib import Path

import pytest

from tests.support.program import Program, run_program


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sources", ["", "[]", "fastrpc.App([])", "services.empty", "[[], services.empty]"])
def test_a_program_without_a_service_says_so_and_ends_with_2(
    tmp_path: Path, sources: str, workers: int
) -> None:
    (tmp_path / "services.py").write_text("def empty():\n    return []\n")
    arguments = f"{sources}, workers={workers}" if sources else f"workers={workers}"
    (tmp_path / "program.py").write_text(
        f"import fastrpc, services\n\nif __name__ == '__main__':\n"
        f"    fastrpc.serve({arguments}, address='tcp://127.0.0.1:0')\n"
    )
    done = run_program(["program.py"], tmp_path)
    assert (done.code, done.output) == (2, "")
    assert "there is no service to serve" in done.errors
    assert "Traceback" not in done.errors


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("source", ["none", "app", "empty"])
def test_the_command_line_reports_a_missing_service_too(tmp_path: Path, source: str, workers: str) -> None:
    (tmp_path / "nothing.py").write_text(
        "import fastrpc\n\nnone = []\napp = fastrpc.App([])\n\n\ndef empty():\n    return []\n"
    )
    command = ["-m", "fastrpc", "run", f"nothing:{source}", "--address", "tcp://127.0.0.1:0"]
    done = run_program([*command, "--workers", workers], tmp_path)
    assert (done.code, done.output) == (2, "")
    said = " ".join(done.errors.split())
    assert "there is no service to serve" in said
    assert "a class under @fastrpc.service" in said


_MOUNTED = """
import fastrpc

async def application(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"mounted"})

http = fastrpc.HTTP(mounts={"/": application})
app = fastrpc.App([], config=fastrpc.ServerConfig(protocols=("http",), http=http))
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_mounted_application_is_served_without_a_service(tmp_path: Path, workers: str) -> None:
    (tmp_path / "only.py").write_text(_MOUNTED)
    command = ["-m", "fastrpc", "run", "only:app", "--address", "tcp://127.0.0.1:0", "--workers", workers]
    with Program(command, tmp_path) as program:
        address = program.wait_output(r"tcp://(127\.0\.0\.1:\d+)")[1]
        with urllib.request.urlopen(f"http://{address}/any", timeout=30) as answer:
            assert answer.read() == b"mounted"
