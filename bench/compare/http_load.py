"""The load of the HTTP workloads: one generator for every server, `c_http.c`, h2load or wrk."""

from collections.abc import Mapping
from typing import Any

import msgspec

from bench.compare.generators import Request, command_of
from bench.compare.measurement import LoadOrder
from bench.compare.workloads import (
    RECORD_ID,
    RECORD_NAME,
    RECORD_SCORE,
    RECORD_TAGS,
    WORKLOADS,
    Workload,
)
from bench.compare.yardsticks import build_yardstick, yardstick_program

__all__ = ["GENERATOR", "HELLO", "HELLO_PATH", "RECORD_PATH", "answer_to", "build_generator", "load_command"]

GENERATOR = "c_http"

#: Where every server has its two methods.
RECORD_PATH = "/bench/record"
HELLO_PATH = "/bench/hello"

#: The answer of `HELLO_PATH`, as a text in JSON.
HELLO = "hello, world"

RECORD: Mapping[str, Any] = {
    "id": RECORD_ID,
    "name": RECORD_NAME,
    "score": RECORD_SCORE,
    "tags": RECORD_TAGS,
}


def build_generator() -> None:
    """Compile the generator; raise PeerUnavailableError where that cannot be."""
    build_yardstick(GENERATOR)


def answer_to(workload: str) -> str:
    """Return the body that a server has to answer."""
    value = RECORD if WORKLOADS[workload].operation == "http_record" else HELLO
    return msgspec.json.encode(value).decode()


def load_command(order: LoadOrder, *, parameter: str | None = None) -> list[str]:
    """Return the command that loads a server at any address; `parameter` names the record in the body, if set."""
    workload = WORKLOADS[order.workload]
    request = _request(workload, parameter)
    if workload.generator is not None:
        return command_of(workload.generator, order, request)
    options = {
        "path": request.path,
        "expect": request.expected,
        "connections": workload.in_flight,
        "sample": workload.sample_every,
        "warm": order.warm_seconds,
        "seconds": order.seconds,
        "server": order.server_processes[0],
    }
    if request.body is not None:
        options["body"] = request.body
    address = f"tcp://{order.address.rpartition('//')[2]}"
    return [
        str(yardstick_program(GENERATOR)),
        "load",
        address,
        *(f"--{name}={value}" for name, value in options.items()),
    ]


def _request(workload: Workload, parameter: str | None) -> Request:
    expected = answer_to(workload.name)
    if workload.operation != "http_record":
        return Request(path=HELLO_PATH, expected=expected)
    body = msgspec.json.encode({parameter: RECORD} if parameter else RECORD).decode()
    return Request(path=RECORD_PATH, body=body, expected=expected)
