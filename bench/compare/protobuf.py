"""Python modules of `bench.proto`, generated at run time as gRPC's documentation advises."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.compare.paths import BUILD, SOURCES
from bench.compare.peers.base import PeerUnavailableError
from bench.compare.workloads import RECORD_ID, RECORD_NAME, RECORD_SCORE, Workload

PROTO = SOURCES / "bench.proto"
GENERATED = BUILD / "protobuf"

#: gRPC's default limits; its channel arguments lift both.
USUAL_BYTES = 4 * 1024 * 1024
USUAL_CALLS = 1000
NO_SIZE_LIMITS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
MANY_CALLS = (
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
)


def generate_modules(plugin: str = "grpc_python") -> None:
    """Run protoc with its Python plugin and another one, if the source is newer than their output."""
    made = GENERATED / plugin
    if made.exists() and made.stat().st_mtime > PROTO.stat().st_mtime:
        return
    try:
        protoc = importlib.import_module("grpc_tools.protoc")
    except ImportError as error:
        raise PeerUnavailableError(f"{error} (pip install grpcio-tools)") from error
    GENERATED.mkdir(parents=True, exist_ok=True)
    arguments = [f"-I{PROTO.parent}", f"--python_out={GENERATED}", f"--{plugin}_out={GENERATED}", PROTO.name]
    program = Path(sys.executable).with_name(f"protoc-gen-{plugin}")
    if program.exists():
        arguments.insert(0, f"--plugin={program.name}={program}")
    if protoc.main(["protoc", *arguments]):
        raise PeerUnavailableError(f"protoc refused {PROTO.name} for {plugin}")
    made.touch()


def load_messages() -> Any:
    """Return the generated module of messages."""
    return _load("bench_pb2")


def load_services() -> Any:
    """Return the generated module of stubs and servicers."""
    return _load("bench_pb2_grpc")


def load_grpclib_services() -> Any:
    """Return the output of grpclib's plugin: stubs and base classes."""
    return _load("bench_grpc")


def grpc_options(workload: Workload) -> Sequence[tuple[str, int]]:
    """Return the options of gRPC's own stack that a workload needs on either side."""
    sizes = NO_SIZE_LIMITS if workload.payload_bytes >= USUAL_BYTES else ()
    return (*sizes, *(MANY_CALLS if workload.in_flight > USUAL_CALLS else ()))


def build_record(messages: Any) -> Any:
    """Build the workloads' record as a protobuf message, from nothing."""
    return messages.Record(
        id=RECORD_ID,
        name=RECORD_NAME,
        score=RECORD_SCORE,
        tags=["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"],
    )


def build_order(messages: Any, workload: Workload, count: int) -> Any:
    """Build the order of a server stream."""
    return messages.Order(count=count, size=workload.payload_bytes)


def _load(name: str) -> Any:
    if str(GENERATED) not in sys.path:
        sys.path.insert(0, str(GENERATED))
    return importlib.import_module(name)
