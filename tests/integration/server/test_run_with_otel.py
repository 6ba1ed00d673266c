"""`fastrpc run --otel`: the SDK of OpenTelemetry in each process that serves."""

import re
import signal
from pathlib import Path

import pytest

from fastrpc import SyncClient
from tests.support.program import command_line

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
    """Return what a program prints from its start over one call to its end."""
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


def test_the_environment_may_ask_for_it(tmp_path: Path) -> None:
    output = output_of_a_run(tmp_path, "texts:app", environment={**CONSOLE, "FASTRPC_OTEL": "true"})
    assert '"rpc.method": "texts/same"' in output


def test_nothing_is_traced_unless_asked(tmp_path: Path) -> None:
    assert "rpc.method" not in output_of_a_run(tmp_path, "texts:app")


def test_a_provider_of_the_program_stands(tmp_path: Path) -> None:
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
