"""The counts of a process as a record that outlives it, and the sum of such records.

::

    {"name": …, "process": …, "own": {"figures": …, "families": …}, "past": the sums of earlier processes at this place}

A child inherits the counts of its parent at the fork, and subtracts them from its own figures.
"""

import json
from collections.abc import Iterable
from typing import Any

from fastrpc.gauges import Gauge
from fastrpc.metrics.exposition import FamilySum, program_families
from fastrpc.metrics.figures import Sum, figures, method_values, process_values
from fastrpc.metrics.prometheus import family_names
from fastrpc.server.admin.turns import in_turns

__all__ = ["Counted", "CountedSum", "counted_before"]


def counted_before(failing: set[str]) -> dict[str, Any]:
    """Return the counts of this process so far."""
    return {"figures": figures(()), "families": program_families(failing, without=family_names())}


class Counted:
    """The maker of one process's records.

    Args:
        left: the last record of the process that had this place before.
    """

    def __init__(self, name: str, process: int, left: bytes) -> None:
        self._failing: set[str] = set()
        self._head = {"name": name, "process": process}
        past = CountedSum()
        if left:
            past.add(left, None)
        past.subtract(counted_before(self._failing))
        self._past = json.dumps(past.values()).encode()

    def record(self, told: Iterable[Gauge]) -> bytes:
        """Return the record of the present counts, with these gauges."""
        # Encoded one by one, because encoding thousands of methods in one step would block the loop. So would the
        # garbage collector if all their objects existed at the same time.
        methods = b", ".join(json.dumps(row).encode() for row in in_turns(method_values()))
        families = program_families(self._failing, without=family_names())
        head, process = json.dumps(self._head)[:-1], json.dumps(process_values(told))
        begin = f'{head}, "own": {{"figures": {{"process": {process}, "methods": ['.encode()
        return b"".join(
            [
                begin,
                methods,
                f']}}, "families": {json.dumps(families)}}}, "past": '.encode(),
                self._past,
                b"}",
            ]
        )


class CountedSum:
    """The counts of several processes together."""

    def __init__(self) -> None:
        self.figures = Sum()
        self.families = FamilySum()

    def add(self, record: bytes, process: int | None) -> None:
        """Add a record. Its gauges count only if it is from the present process at its place."""
        values = json.loads(record)
        is_alive = values["process"] == process
        self.figures.add(values["own"]["figures"], is_alive=is_alive)
        self.families.add(values["own"]["families"], values["name"] if is_alive else None)
        self.add_values(values["past"])

    def add_values(self, values: dict[str, Any]) -> None:
        """Add the counts of ended processes."""
        self.figures.add(values["figures"], is_alive=False)
        self.families.add(values["families"], None)

    def subtract(self, values: dict[str, Any]) -> None:
        """Subtract earlier counts."""
        self.figures.subtract(values["figures"])
        self.families.add(values["families"], None, -1)

    def values(self) -> dict[str, Any]:
        """Return the sums as plain values."""
        return {"figures": self.figures.figures(), "families": self.families.families()}
