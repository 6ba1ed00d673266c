"""Markdown tables, and how their cells show ratios."""

from collections.abc import Sequence

__all__ = ["NOTHING", "share_cell", "table", "times_cell"]

#: What stands in a cell where nothing was measured.
NOTHING = "–"


def table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is text and whose others are figures."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *body]) + "\n"


def times_cell(times: float) -> str:
    """Return a multiple with three digits that matter."""
    return f"{times:,.2f} ×" if times < 10 else f"{times:,.0f} ×"


def share_cell(share: float) -> str:
    """Return a share in percent, small ones with a decimal."""
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"
