"""Endpoint sets for tests: endpoints a, b, c …, a clock that stands still, attempts that fail on demand."""

from types import SimpleNamespace
from typing import Any

from fastrpc._core.balancing.endpoint_set import EndpointSet, Pick
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConnectionLostError
from fastrpc.selectors import RoundRobin

LOST = ConnectionLostError("it broke")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def call(method: str = "arith.mul", key: object = None) -> SimpleNamespace:
    return SimpleNamespace(method=method, hash_key=key, arguments=())


def endpoints(size: int) -> list[Endpoint]:
    return [Endpoint(f"memory://{chr(97 + number)}") for number in range(size)]


def endpoint_set_of(size: int, *, clock: Clock | None = None, **options: Any) -> EndpointSet:
    endpoint_set = EndpointSet(RoundRobin(), clock=clock or Clock(), **options)
    endpoint_set.update(endpoints(size))
    return endpoint_set


def name(pick: Pick) -> str:
    return pick.endpoint.address.path


def usable(endpoint_set: EndpointSet) -> str:
    return "".join(each.address.path for each in endpoint_set.endpoints)


def attempt(
    endpoint_set: EndpointSet, bad: str, error: BaseException = LOST, method: str = "arith.mul"
) -> str:
    """Make one attempt, which fails at the endpoints of `bad`; return where it went."""
    pick = endpoint_set.pick(call(method))
    pick.ended(error if name(pick) in bad else None)
    return name(pick)
