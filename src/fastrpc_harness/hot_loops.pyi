from typing import Any

from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.balancing.hash_ring import HashRing
from fastrpc._core.balancing.selectors import BaseSelector
from fastrpc._core.base.histogram import MethodCounters
from fastrpc._core.base.timer_wheel import TimerWheel
from fastrpc._core.native.call_table import CallTable
from fastrpc._core.wire.native import NativeProtocol

def parse_frames(protocol: NativeProtocol, count: int, data: bytes) -> int:
    """Parse one frame `count` times; return the bytes consumed."""

def write_frames(protocol: NativeProtocol, count: int, data: bytes) -> int:
    """Write the frame that `data` holds `count` times; return the bytes written."""

def add_and_take(table: CallTable, count: int, first_id: int, in_flight: int, entry: object) -> None:
    """Add and take `count` entries, `in_flight` being open meanwhile."""

def add_and_cancel(wheel: TimerWheel, count: int, due_ns: int) -> None:
    """Add and cancel `count` timers, 64 being linked meanwhile."""

def expire(wheel: TimerWheel, count: int, now_ns: int, span_ns: int) -> None:
    """Add `count` timers evenly over `span_ns`, then advance tick by tick and pop all of them."""

def count_calls(counters: MethodCounters, count: int, elapsed_ns: int) -> None:
    """Count `count` whole calls of rising length."""

def count_in_budget(budget: RetryBudget, count: int) -> None:
    """Count `count` calls a microsecond apart."""

def pick(selector: BaseSelector, count: int, keys: list[Any]) -> None:
    """Pick and observe `count` times, one key after the other."""

def place(endpoint_set: EndpointSet, count: int, keys: list[Any]) -> None:
    """Place and end `count` attempts, one key after the other, a microsecond apart."""

def find_nodes(ring: HashRing, count: int, keys: list[str]) -> int:
    """Take and give back the nodes of `count` keys, hashing included; return how many were found."""
