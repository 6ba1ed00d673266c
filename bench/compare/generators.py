"""External load generators: `h2load` of nghttp2 for gRPC and HTTP, `wrk` for HTTP; they load all servers alike.

`python -m bench.compare.generators NAME ORDER REQUEST` runs one and prints a Measurement. The first answer is checked
before. h2load gives no percentiles, and wrk runs for whole seconds.
"""

import http.client
import importlib
import json
import math
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from bench.compare.measurement import LoadOrder, Measurement, ProcessorClocks
from bench.compare.paths import ROOT, SOURCES
from bench.compare.peers.base import PeerUnavailableError
from bench.compare.workloads import WORKLOADS

__all__ = [
    "H2LOAD",
    "Request",
    "WrongAnswersError",
    "command_of",
    "find_generator",
    "read_h2load",
    "read_wrk",
]

#: The method of raw bytes, at every gRPC server.
ECHO_PATH = "/bench.Raw/Echo"

#: Until h2load and wrk have connected and printed, beyond their window.
SPARE_SECONDS = 15.0


class WrongAnswersError(Exception):
    """The generator failed, or the server answered something else than the workload asks for."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The request that a generator repeats."""

    path: str
    #: Sent by POST; without it the request is a GET.
    body: str | None = None
    #: The body of the answer.
    expected: str = ""


def find_generator(name: str) -> Path:
    """Return the program; raise PeerUnavailableError if it is neither installed nor fetched by `ci/setup_bench`."""
    name = name.partition("_")[0]
    fetched = ROOT / ".cache" / name / f"run-{name}"
    if path := shutil.which(name) or (fetched.exists() and fetched):
        return Path(path)
    raise PeerUnavailableError(f"no {name} found (make compare fetches it)")


def command_of(name: str, order: LoadOrder, request: Request) -> list[str]:
    """Return the command of a generator for an order."""
    worker = [sys.executable, "-m", "bench.compare.generators", name]
    return [*worker, json.dumps(asdict(order)), json.dumps(asdict(request))]


class H2Load:
    """The client of a gRPC server: one connection with all calls in flight."""

    def prepare(self) -> None:
        find_generator("h2load")

    def client_command(self, order: LoadOrder) -> list[str]:
        return command_of("h2load", order, Request(path=ECHO_PATH))


H2LOAD = H2Load()


def _run_h2load(order: LoadOrder, request: Request) -> Measurement:
    workload, host = WORKLOADS[order.workload], _host_of(order)
    _check_echo(host, request.path, workload.payload)
    frame = b"\0" + len(workload.payload).to_bytes(4, "big") + workload.payload
    options = ["--header=content-type: application/grpc", "--header=te: trailers"]
    return _loaded_by_h2load(order, request, frame, len(frame), options)


def _run_h2load_http1(order: LoadOrder, request: Request) -> Measurement:
    return _run_h2load_http(order, request, ["--h1"])


def _run_h2load_http2(order: LoadOrder, request: Request) -> Measurement:
    return _run_h2load_http(order, request, [])


def _run_h2load_http(order: LoadOrder, request: Request, options: Sequence[str]) -> Measurement:
    _check_answer(_host_of(order), request)
    assert request.body is not None
    options = [*options, "--header=content-type: application/json"]
    return _loaded_by_h2load(order, request, request.body.encode(), len(request.expected), options)


def _loaded_by_h2load(
    order: LoadOrder, request: Request, content: bytes, answer_bytes: int, options: Sequence[str]
) -> Measurement:
    workload = WORKLOADS[order.workload]
    with tempfile.NamedTemporaryFile() as body:
        body.write(content)
        body.flush()
        command = [
            str(find_generator("h2load")),
            f"--clients={workload.connections}",
            f"--max-concurrent-streams={workload.in_flight // workload.connections}",
            f"--data={body.name}",
            *options,
            f"http://{_host_of(order)}{request.path}",
        ]
        _output_of([*command, f"--duration={order.warm_seconds * 1e3:.0f}ms"], order)
        window = _Window(order)
        output = _output_of([*command, f"--duration={order.seconds * 1e3:.0f}ms"], order)
        client_cpu, server_cpu = window.close()
    calls, seconds = read_h2load(output, answer_bytes)
    return Measurement(
        calls=calls,
        seconds=seconds,
        client_cpu_seconds=client_cpu,
        server_cpu_seconds=server_cpu,
        p50_seconds=0.0,
        p99_seconds=0.0,
        p999_seconds=0.0,
        samples=0,
    )


def read_h2load(output: str, answer_bytes: int) -> tuple[int, float]:
    """Return the calls and seconds that h2load printed; raise WrongAnswersError if answers have fewer bytes."""
    calls, data = _figure(r"(\d+) succeeded", output), _figure(r"\((\d+)\) data", output)
    if not calls or _figure(r"(\d+) failed", output) or data < calls * answer_bytes:
        raise WrongAnswersError(f"not every answer is an echo:\n{output}")
    return int(calls), calls / _figure(r"([\d.]+) req/s", output)


def _check_echo(host: str, path: str, payload: bytes) -> None:
    grpc = importlib.import_module("grpc")
    with grpc.insecure_channel(host) as channel:
        if channel.unary_unary(path)(payload, timeout=SPARE_SECONDS) != payload:
            raise WrongAnswersError("the answer is not the payload")


def _run_wrk(order: LoadOrder, request: Request) -> Measurement:
    workload, host = WORKLOADS[order.workload], _host_of(order)
    _check_answer(host, request)
    command = [
        str(find_generator("wrk")),
        "--threads=1",
        f"--connections={workload.in_flight}",
        f"--duration={math.ceil(order.seconds)}s",
        f"--script={SOURCES / 'wrk.lua'}",
        f"http://{host}{request.path}",
        *(["--", request.body] if request.body is not None else []),
    ]
    window = _Window(order)
    output = _output_of(command, order)
    client_cpu, server_cpu = window.close()
    seen = read_wrk(output)
    measurement: Measurement = msgspec.convert(
        {**seen, "client_cpu_seconds": client_cpu, "server_cpu_seconds": server_cpu}, Measurement
    )
    return measurement


def read_wrk(output: str) -> dict[str, float]:
    """Return the figures that `wrk.lua` printed; raise WrongAnswersError unless every answer is a success."""
    seen: dict[str, float] = json.loads(output.splitlines()[-1])
    if seen.pop("failed") or not seen["calls"]:
        raise WrongAnswersError(f"not every answer is a success:\n{output}")
    return seen


def _check_answer(host: str, request: Request) -> None:
    connection = http.client.HTTPConnection(host, timeout=SPARE_SECONDS)
    try:
        connection.request(
            "GET" if request.body is None else "POST",
            request.path,
            request.body,
            {} if request.body is None else {"Content-Type": "application/json"},
        )
        answer = connection.getresponse().read()
    finally:
        connection.close()
    if json.loads(answer) != json.loads(request.expected):
        raise WrongAnswersError(f"the answer is {answer!r}")


class _Window:
    """Processor time of both sides while a generator runs, from its start to its end."""

    def __init__(self, order: LoadOrder) -> None:
        self._clocks = ProcessorClocks(order.server_processes)
        self._server = self._clocks.read(0).server_cpu
        self._client = _time_of_children()

    def close(self) -> tuple[float, float]:
        """Return the seconds of the client and of the server."""
        return _time_of_children() - self._client, self._clocks.read(0).server_cpu - self._server


def _time_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _output_of(command: Sequence[str], order: LoadOrder) -> str:
    outcome = subprocess.run(
        command, capture_output=True, text=True, timeout=order.seconds + SPARE_SECONDS, check=False
    )
    if outcome.returncode:
        raise WrongAnswersError(f"{Path(command[0]).name} ended with {outcome.returncode}:\n{outcome.stderr}")
    return outcome.stdout


def _figure(pattern: str, output: str) -> float:
    found = re.search(pattern, output)
    if found is None:
        raise WrongAnswersError(f"the output has no {pattern!r}:\n{output}")
    return float(found[1])


def _host_of(order: LoadOrder) -> str:
    return order.address.rpartition("//")[2]


_RUNNERS: Mapping[str, Callable[[LoadOrder, Request], Measurement]] = {
    "h2load": _run_h2load,
    "h2load_http1": _run_h2load_http1,
    "h2load_http2": _run_h2load_http2,
    "wrk": _run_wrk,
}


def main(arguments: Sequence[str]) -> None:
    """Run the generator that the arguments name."""
    name, order, request = arguments
    try:
        measurement = _RUNNERS[name](
            msgspec.json.decode(order, type=LoadOrder), msgspec.json.decode(request, type=Request)
        )
    except WrongAnswersError as error:
        sys.exit(str(error))
    print(json.dumps(asdict(measurement)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
