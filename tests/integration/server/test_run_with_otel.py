"""`fastrpc run --otel`: the SDK of OpenTelemetry in each process that serves."""

import contextlib
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastrpc import SyncClient
from tests.support.program import Program, command_line

pytest.importorskip("opentelemetry.sdk")

PROGRAM = """
import os

import fastrpc

{configured}

@fastrpc.service("texts")
class Texts:
    @fastrpc.method
    async def same(self, text: str) -> str:
        return text

app = fastrpc.App([Texts])
services = [Texts]
"""

CONSOLE = {
    "OTEL_TRACES_EXPORTER": "console",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_SERVICE_NAME": "the-texts",
}


def output_of_a_run(
    folder: Path, *options: str, configured: str = "", environment: dict[str, str] | None = None
) -> str:
    """Return the standard output of a program from its start over one call to its end."""
    (folder / "texts.py").write_text(PROGRAM.format(configured=configured))
    address = f"unix://{folder / 'socket'}"
    command = ["run", *options, "--address", address]
    with command_line(command, folder, CONSOLE if environment is None else environment) as program:
        with SyncClient(address) as client:
            assert client.with_options(timeout=30, wait_for_ready=True).call("texts.same", "x") == "x"
        program.signal(signal.SIGTERM)
        done = program.wait()
    assert done.code == 0, done
    return done.output


@pytest.mark.parametrize("source", ["texts:app", "texts:services"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_each_call_is_a_span_that_has_left_when_the_server_ends(
    source: str, workers: str, tmp_path: Path
) -> None:
    output = output_of_a_run(tmp_path, source, "--otel", "--workers", workers)
    assert re.findall(r'"rpc.method": "(.*)"', output) == ["texts/same"]
    assert '"service.name": "the-texts"' in output


def test_the_environment_may_request_tracing(tmp_path: Path) -> None:
    output = output_of_a_run(tmp_path, "texts:app", environment={**CONSOLE, "FASTRPC_OTEL": "true"})
    assert '"rpc.method": "texts/same"' in output


def test_nothing_is_traced_unless_asked(tmp_path: Path) -> None:
    assert "rpc.method" not in output_of_a_run(tmp_path, "texts:app")


def test_a_provider_of_the_program_is_kept(tmp_path: Path) -> None:
    configured = """
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
provider = TracerProvider(resource=Resource.create({"service.name": "mine"}))
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
""".replace("{", "{{").replace("}", "}}")
    output = output_of_a_run(tmp_path, "texts:app", "--otel", configured=configured.format())
    assert '"service.name": "mine"' in output
    assert "the-texts" not in output


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_exporter_that_is_not_installed_is_named(workers: str, tmp_path: Path) -> None:
    (tmp_path / "texts.py").write_text(PROGRAM.format(configured=""))
    environment = {**CONSOLE, "OTEL_TRACES_EXPORTER": "nowhere"}
    address = f"unix://{tmp_path / 'socket'}"
    command = ["run", "texts:app", "--otel", "--workers", workers, "--address", address]
    with command_line(command, tmp_path, environment) as program:
        done = program.wait()
    assert done.code == 3
    assert "--otel" in done.errors
    assert "nowhere" in done.errors


CALLING = """
import json
import os

import fastrpc
from fastrpc.interceptors import OpenTelemetry

ASYNC = fastrpc.Client("unix://back")
SYNC = fastrpc.SyncClient("unix://back")
OWN = fastrpc.SyncClient("unix://back", interceptors=[OpenTelemetry()])


@fastrpc.service("front")
class Front:
    @fastrpc.method
    async def by_async(self) -> str:
        return await ASYNC.call("back.seen")

    @fastrpc.method
    def by_sync(self) -> str:
        return SYNC.call("back.seen")

    @fastrpc.method
    def by_own(self) -> str:
        return OWN.call("back.seen")

    @fastrpc.method
    async def of_itself(self) -> None:
        await ASYNC.call("fastrpc.health.check")
        await ASYNC.call("fastrpc.reflection.services")

    @fastrpc.method
    async def streamed(self) -> list[str]:
        async with ASYNC.stream("back.stream") as stream:
            return [one async for one in stream]
"""

BACK = """
from collections.abc import AsyncIterator

import fastrpc


@fastrpc.service("back")
class Back:
    @fastrpc.method
    async def seen(self) -> str:
        return fastrpc.current_call().metadata.get("traceparent", "")

    @fastrpc.method
    async def stream(self) -> AsyncIterator[str]:
        yield fastrpc.current_call().metadata.get("traceparent", "")
"""


@contextmanager
def front_before_back(folder: Path, *options: str) -> Iterator[tuple[SyncClient, Program]]:
    """Run a program that calls another one; yield a client of it."""
    (folder / "front.py").write_text(CALLING)
    (folder / "back.py").write_text(BACK)
    back = ["run", "back:Back", "--address", f"unix://{folder / 'back'}"]
    front = ["run", "front:Front", *options, "--address", f"unix://{folder / 'front'}"]
    with command_line(back, folder), contextlib.ExitStack() as stack:
        with SyncClient(f"unix://{folder / 'back'}") as called:
            called.ready(timeout=30)
        program = stack.enter_context(command_line(front, folder, CONSOLE))
        with SyncClient(f"unix://{folder / 'front'}") as client:
            yield client.with_options(timeout=30, wait_for_ready=True), program
        program.signal(signal.SIGTERM)
        assert program.wait().code == 0


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("method", ["by_async", "by_sync", "by_own", "streamed"])
def test_clients_made_outside_handlers_pass_the_trace_on(method: str, workers: str, tmp_path: Path) -> None:
    with front_before_back(tmp_path, "--otel", "--workers", workers) as (client, program):
        found = client.call(f"front.{method}")
        parent = found[0] if method == "streamed" else found
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", parent)
    called = "back/stream" if method == "streamed" else "back/seen"
    assert re.findall(r'"rpc.method": "(.*)"', program.output) == [called, f"front/{method}"]
    assert set(re.findall(r'"trace_id": "0x(.*)"', program.output)) == {parent[3:35]}


def test_reflection_and_health_make_no_spans(tmp_path: Path) -> None:
    with front_before_back(tmp_path, "--otel") as (client, program):
        client.call("fastrpc.health.check")
        client.call("fastrpc.reflection.services")
        client.call("front.of_itself")
    assert re.findall(r'"rpc.method": "(.*)"', program.output) == ["front/of_itself"]


def test_without_otel_clients_pass_no_trace_on(tmp_path: Path) -> None:
    with front_before_back(tmp_path) as (client, _):
        assert client.call("front.by_async") == client.call("front.by_sync") == ""
