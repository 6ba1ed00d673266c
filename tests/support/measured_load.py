"""A short run of a compiled load generator, long enough for the kernel's count of processor time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bench.compare.measurement import LoadOrder
from bench.compare.processes import choose_cores, run_client

__all__ = ["run_load"]

#: A run of a tenth of a second is doubled so often at most.
DOUBLINGS = 4


def run_load(command_of: Callable[[LoadOrder], Sequence[str]], order: LoadOrder) -> dict[str, Any]:
    """Return the report of the generator; a server without a tick of the kernel's clock runs longer."""
    result = run_client(command_of(order), choose_cores().client, 1)
    for _ in range(DOUBLINGS):
        if result["server_cpu_seconds"]:
            break
        order = replace(order, seconds=2 * order.seconds)
        result = run_client(command_of(order), choose_cores().client, 1)
    return result
