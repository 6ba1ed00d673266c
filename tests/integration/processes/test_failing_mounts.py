"""Programs with a mounted application that cannot start, or does not come to an end of that."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.support.program import Program
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

PROGRAM = """
import asyncio
import os
from pathlib import Path

import fastrpc


@fastrpc.service("work")
class Work:
    @fastrpc.method
    async def where(self) -> int:
        return os.getpid()


async def sound(scope, receive, send):
    for step in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{step}"
        Path(f"{step}-{os.getpid()}").touch()
        await send({"type": f"lifespan.{step}.complete"})


async def failed(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def raising(scope, receive, send):
    await receive()
    raise LookupError("no database")


async def second(scope, receive, send):
    await receive()
    try:
        Path("first").mkdir()
    except FileExistsError:
        while not Path("served").exists():
            await asyncio.sleep(0.01)
        raise LookupError("no second database") from None
    await send({"type": "lifespan.startup.complete"})
    Path("served").touch()
    await receive()
    # A shutdown that takes longer than the time of processes that are ended at once.
    await asyncio.sleep(0.5)
    Path("closed").touch()
    await send({"type": "lifespan.shutdown.complete"})


async def hanging(scope, receive, send):
    await receive()
    Path(f"hanging-{os.getpid()}").touch()
    try:
        await asyncio.Event().wait()
    finally:
        Path(f"ended-{os.getpid()}").touch()


# The longest prefix starts first.
mounts = {"/": "work:APPLICATION", "/sound": sound}
config = fastrpc.ServerConfig(protocols=("http",), http=fastrpc.HTTP(mounts=mounts))
app = fastrpc.App([Work], config=config)
"""


def program(folder: Path, application: str, workers: int) -> Program:
    text = PROGRAM.replace("APPLICATION", application)
    (folder / "work.py").write_text(text)
    address = f"unix://{folder / 'socket'}"
    return Program(["-m", "fastrpc", "run", "work:app", "-a", address, "-w", str(workers)], folder)


def names(folder: Path, step: str) -> set[str]:
    """Return the processes whose applications came to a step."""
    return {path.name.partition("-")[2] for path in folder.glob(f"{step}-*")}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("application", "reason"),
    [
        ("failed", "the application at / could not start: no database"),
        ("raising", "the application at / could not start: LookupError: no database"),
        ("absent", "absent"),
    ],
)
def test_a_program_whose_application_cannot_start_exits_with_3_and_names_the_application(
    application: str, reason: str, workers: int, tmp_path: Path
) -> None:
    with program(tmp_path, application, workers) as serving:
        done = serving.wait()
    assert (done.code, done.output) == (3, "")
    assert reason in " ".join(done.errors.split())
    assert not (tmp_path / "socket").exists()
    # An application that had started in the same process is shut down.
    assert names(tmp_path, "startup") == names(tmp_path, "shutdown")


def test_a_worker_that_cannot_start_lets_other_workers_shut_their_applications_down(tmp_path: Path) -> None:
    with program(tmp_path, "second", 2) as serving:
        done = serving.wait()
    assert (done.code, done.output) == (3, "")
    assert "no second database" in done.errors
    assert (tmp_path / "closed").exists()
    assert names(tmp_path, "startup") == names(tmp_path, "shutdown")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_program_whose_application_hangs_in_its_startup_is_ended_by_a_signal(
    workers: int, number: signal.Signals, tmp_path: Path
) -> None:
    with program(tmp_path, "hanging", workers) as serving:
        await eventually(lambda: len(names(tmp_path, "hanging")) == workers)
        serving.signal(number)
        done = await asyncio.to_thread(serving.wait)
    assert (done.code, done.output) == (130, "")
    # Each was cancelled, and not killed.
    assert names(tmp_path, "ended") == names(tmp_path, "hanging")
    assert names(tmp_path, "startup") == names(tmp_path, "shutdown") == names(tmp_path, "hanging")
    assert "Traceback" not in done.errors
