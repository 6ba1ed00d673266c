"""Memory that is full: as much is counted for a connection as the process may take."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from fastrpc._core.server.memory_budget import MemoryBudget, budgets

__all__ = ["MIB", "full"]

MIB: Final = 1 << 20


@contextmanager
def full(bytes_more: int = 65 * MIB, budget: MemoryBudget | None = None) -> Iterator[None]:
    """Count `bytes_more` bytes for a connection, of the server with a budget, until the block ends."""
    budget = budget or next(budget for budget in budgets if budget.engines)
    connection = next(iter(budget.engines)).connection
    budget.count_answer(connection, bytes_more)
    try:
        yield
    finally:
        budget.count_answer(connection, -bytes_more)
