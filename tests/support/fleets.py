"""Fleets for tests: endpoints a, b, c …, a clock that stands still, attempts that fail where they are told to."""

from types import SimpleNamespace
from typing import Any

from fastrpc._core.fleet import Fleet, Placement
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


def fleet_of(size: int, *, clock: Clock | None = None, **options: Any) -> Fleet:
    fleet = Fleet(RoundRobin(), clock=clock or Clock(), **options)
    fleet.update(endpoints(size))
    return fleet


def name(placement: Placement) -> str:
    return placement.endpoint.address.path


def usable(fleet: Fleet) -> str:
    return "".join(each.address.path for each in fleet.endpoints)


def attempt(fleet: Fleet, bad: str, error: BaseException = LOST, method: str = "arith.mul") -> str:
    """Make one attempt, which fails at the endpoints of `bad`; return where it went."""
    placement = fleet.pick(call(method))
    placement.ended(error if name(placement) in bad else None)
    return name(placement)
