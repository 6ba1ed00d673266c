"""Markdown tables."""

from collections.abc import Sequence

__all__ = ["NOTHING", "table"]

#: What stands in a cell where nothing was measured.
NOTHING = "–"


def table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is text and whose others are figures."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *body]) + "\n"
