import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.compare import processes
from bench.compare.paths import ROOT
from bench.compare.processes import ProcessFailedError, choose_cores, run_client, running_server

CORE = choose_cores().client

ANNOUNCE = (
    "import json, os, sys; print(json.dumps({'address': 'here', 'processes': [os.getpid()]}), flush=True);"
)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_end(process: int) -> None:
    """Wait until it is a zombie: ended, and not yet reaped by whoever started it."""
    while Path(f"/proc/{process}/stat").read_text().split()[2] != "Z":
        os.sched_yield()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def no_patience_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_SECONDS", 0.3)


@pytest.fixture
def no_patience_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "END_SECONDS", 0.3)


def test_a_server_ends_with_the_block_by_its_input() -> None:
    with running_server(python(ANNOUNCE + "sys.stdin.read()"), CORE) as server:
        assert server.address == "here"
        assert is_running(server.processes[0])
        assert server.peak_bytes() > 1_000_000
    assert not is_running(server.processes[0])


def test_a_server_ends_when_the_block_fails() -> None:
    with (
        pytest.raises(ZeroDivisionError),
        running_server(python(ANNOUNCE + "sys.stdin.read()"), CORE) as server,
    ):
        raise ZeroDivisionError
    assert not is_running(server.processes[0])


@pytest.mark.usefixtures("no_patience_at_the_end")
def test_a_server_that_ignores_input_and_signals_is_killed() -> None:
    stubborn = "import signal, threading; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    with running_server(python(stubborn + ANNOUNCE + "threading.Event().wait()"), CORE) as server:
        pass
    assert not is_running(server.processes[0])


@pytest.mark.usefixtures("no_patience_at_the_start", "no_patience_at_the_end")
def test_a_silent_server_is_abandoned_and_ended() -> None:
    silent = running_server(python("import threading; threading.Event().wait()"), CORE)
    with pytest.raises(ProcessFailedError, match="announced no address"), silent:
        pass


def test_a_server_that_fails_to_start_tells_why() -> None:
    failing = running_server(python("raise OSError('the port is taken')"), CORE)
    with pytest.raises(ProcessFailedError, match="the port is taken"), failing:
        pass


def test_a_server_that_dies_under_load_fails_the_measurement() -> None:
    ending = running_server(python(ANNOUNCE), CORE)
    with pytest.raises(ProcessFailedError, match="ended under load"), ending as server:
        wait_for_end(server.processes[0])


def test_the_last_line_of_a_client_is_its_result() -> None:
    assert run_client(python("print('warming'); print('{\"calls\": 3}')"), CORE, 1) == {"calls": 3}


def test_a_client_that_fails_tells_why() -> None:
    with pytest.raises(ProcessFailedError, match=r"ended with 1\n(?s:.*)wrong answer"):
        run_client(python("raise ValueError('wrong answer')"), CORE, 1)


@pytest.mark.usefixtures("no_patience_at_the_start")
def test_a_client_that_hangs_is_abandoned_and_ended(tmp_path: Path) -> None:
    code = (
        f"import os, threading; open('{tmp_path}/id', 'w').write(str(os.getpid())); threading.Event().wait()"
    )
    with pytest.raises(ProcessFailedError, match="no result after"):
        run_client(python(code), CORE, 3)
    assert not is_running(int((tmp_path / "id").read_text()))


def test_both_sides_stay_on_their_cores() -> None:
    show = python("import os, json; print(json.dumps({'cores': sorted(os.sched_getaffinity(0))}))")
    before = os.sched_getaffinity(0)
    assert run_client(show, CORE, 1) == {"cores": [CORE]}
    assert os.sched_getaffinity(0) == before


def test_an_interrupted_comparison_leaves_no_process_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.compare", "--peers=c_echo", "--workloads=W1", "--seconds=30"]
    run = subprocess.Popen([*command, f"--output={tmp_path}"], cwd=ROOT, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 20
    children: list[int] = []
    while len(children) < 2 and time.monotonic() < limit:  # server and client
        children = [
            int(child) for child in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        ]
    run.send_signal(signal.SIGTERM)
    assert run.wait(10) == 128 + signal.SIGTERM
    assert len(children) == 2
    assert not any(is_running(child) for child in children)
