"""`fastrpc.App`: a program states how it is served, by any command."""

import dataclasses
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, ConfigError, Limits, ServerConfig, SyncClient
from tests.support.program import Program, command_line, run_program

PROGRAM = """
import os
import sys

import fastrpc


@fastrpc.service("texts")
class Texts:
    @fastrpc.method
    async def same(self, text: str) -> str:
        return text

    @fastrpc.method
    async def secret(self) -> str:
        raise ValueError("swordfish")

    @fastrpc.method
    async def process(self) -> int:
        return os.getpid()


async def shout(call, proceed):
    value = await proceed(call)
    return value.upper() if isinstance(value, str) else value


config = fastrpc.ServerConfig(expose_errors=True, limits=fastrpc.Limits(concurrent_calls=77, streams=7))
app = fastrpc.App([Texts], interceptors=[shout], config=config)


def opened() -> Texts:
    print("opened in", os.getpid(), flush=True)
    return Texts()


def annotated() -> fastrpc.App:
    print("made in", os.getpid())
    return fastrpc.App(opened, interceptors=[shout], config=config)


def unannotated():
    print("made in", os.getpid())
    return fastrpc.App([opened], interceptors=[shout], config=config)


async def coroutine() -> fastrpc.App:
    return app


def broken() -> fastrpc.App:
    return Texts()


def failing() -> fastrpc.App:
    raise LookupError("no database")


nested = fastrpc.App([app])
beside = [app, Texts]
alone = [app]
"""

SERVE = """
import sys
import program
import fastrpc

fastrpc.serve(getattr(program, sys.argv[1]), address=sys.argv[2], workers=int(sys.argv[3]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "serving.py").write_text(SERVE)
    return tmp_path


@contextmanager
def started(
    start: str, app: str, folder: Path, *options: str, workers: int = 1
) -> Iterator[tuple[Program, str]]:
    """Start a program and yield it with its address."""
    address = f"unix://{folder / 'socket'}"
    common = ["--address", address, *options]
    if start == "serve":
        with Program(["serving.py", app, address, str(workers)], folder) as program:
            yield program, address
    elif start == "run":
        with command_line(["run", f"program:{app}", "--workers", str(workers), *common], folder) as program:
            yield program, address
    else:
        with command_line(["dev", f"program:{app}", *common], folder) as program:
            yield program, address


def ended(program: Program) -> None:
    program.signal(signal.SIGTERM)
    assert program.wait().code == 0


@pytest.mark.parametrize(
    ("start", "workers", "app"),
    [
        ("run", 1, "app"),
        ("run", 1, "alone"),
        ("run", 2, "app"),
        ("serve", 1, "app"),
        ("serve", 1, "annotated"),
        ("serve", 2, "unannotated"),
        ("dev", 1, "app"),
        ("dev", 1, "unannotated"),
    ],
)
def test_the_interceptors_and_the_config_of_an_app_are_used(
    start: str, workers: int, app: str, folder: Path
) -> None:
    with started(start, app, folder, workers=workers) as (program, address), SyncClient(address) as client:
        patient = client.with_options(timeout=20, wait_for_ready=True)
        assert patient.call("texts.same", "loud") == "LOUD"
        with pytest.raises(CallError, match="ValueError: swordfish"):
            client.call("texts.secret")
        ended(program)


@pytest.mark.parametrize(
    ("start", "workers", "app"),
    [
        ("run", 2, "annotated"),
        ("run", 1, "unannotated"),
        ("serve", 2, "unannotated"),
        ("serve", 1, "annotated"),
    ],
)
def test_a_function_that_makes_it_runs_once_before_the_fork_and_sources_in_each_worker(
    start: str, workers: int, app: str, folder: Path
) -> None:
    with started(start, app, folder, workers=workers) as (program, address):
        with SyncClient(address) as client:
            client.with_options(timeout=20, wait_for_ready=True).call("texts.process")
        program.signal(signal.SIGTERM)
        output = program.wait().output
    made = [line for line in output.splitlines() if line.startswith("made in")]
    opened = {line for line in output.splitlines() if line.startswith("opened in")}
    assert made == [f"made in {program.process_id}"]
    assert len(opened) == workers
    if workers > 1:
        assert f"opened in {program.process_id}" not in opened


def test_flags_override_an_app(folder: Path) -> None:
    (folder / "settings.toml").write_text("expose_errors = false\n[limits]\nstreams = 5\n")
    options = ("--config", str(folder / "settings.toml"))
    with started("run", "app", folder, *options) as (program, address), SyncClient(address) as client:
        patient = client.with_options(timeout=20, wait_for_ready=True)
        assert patient.call("texts.same", "loud") == "LOUD"
        with pytest.raises(CallError) as failed:
            client.call("texts.secret")
        assert "swordfish" not in str(failed.value)
        ended(program)


@pytest.mark.parametrize(
    ("app", "text"),
    [
        ("coroutine", "coroutine returned a coroutine, it must return an App"),
        ("broken", "broken returned a Texts, it must return an App"),
        ("failing", "no database"),
        ("nested", "an App is not a source of services"),
        ("beside", "an App has to be the only source"),
    ],
)
def test_a_wrong_part_is_told_at_the_start(app: str, text: str, folder: Path) -> None:
    address = f"unix://{folder / 'socket'}"
    with command_line(["run", f"program:{app}", "--address", address], folder) as program:
        done = program.wait()
    assert done.code == 3
    assert text in " ".join(done.errors.split())
    assert "never awaited" not in done.errors


def test_no_setting_may_be_given_twice(folder: Path) -> None:
    program = (
        "import dataclasses, program, fastrpc, fastrpc.auth, fastrpc.limits\n"
        "try:\n    fastrpc.serve(program.app, address='unix://socket', {})\n"
        "except fastrpc.ConfigError as error:\n    print(error)"
    )
    # One without a registry may be served with one.
    program = program.replace(
        "program.app,", "dataclasses.replace(program.app, registry='static://127.0.0.1:9'),", 1
    )
    for given, name in (
        ("interceptors=[program.shout]", "interceptors"),
        ("config=fastrpc.ServerConfig(expose_errors=True)", "config"),
        ("authenticate=fastrpc.auth.StaticTokens({'a': fastrpc.Identity('ann')})", "authenticate"),
        ("authorize=lambda identity, route: True", "authorize"),
        ("limits=[fastrpc.limits.RateLimit(1, 1)]", "limits"),
        ("registry='registry://127.0.0.1:9'", "registry"),
    ):
        done = run_program(["-c", program.format(given)], folder)
        assert f"{name} is given together with an App" in done.output


def test_it_is_frozen_and_checks_what_it_is_given() -> None:
    async def plain(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
        return await proceed(call)

    config = ServerConfig(limits=Limits(connections=5))
    app = fastrpc.App([int], interceptors=[plain], config=config)
    assert (app.sources, app.interceptors, app.config) == ([int], (plain,), config)
    assert fastrpc.App(int).config == ServerConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        app.config = ServerConfig()  # type: ignore[misc]
    with pytest.raises(ConfigError, match=r"interceptors\[0\] is 5"):
        fastrpc.App([int], interceptors=[5])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="config is a dict"):
        fastrpc.App([int], config={})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="authenticate is int"):
        fastrpc.App([int], authenticate=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="authorize is int"):
        fastrpc.App([int], authorize=5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="limits"):
        fastrpc.App([int], limits=[5])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="no registry has the scheme 'nowhere'"):
        fastrpc.App([int], registry="nowhere://h:1")
    with pytest.raises(ConfigError, match="5 is not a registry"):
        fastrpc.App([int], registry=5)  # type: ignore[arg-type]
    assert "planted" not in repr(fastrpc.App([int], registry="registry://127.0.0.1:9?token=planted"))
    with pytest.raises(TypeError):
        fastrpc.App([int], [plain])  # type: ignore[call-arg, misc]
