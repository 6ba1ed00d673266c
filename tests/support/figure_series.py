"""Figures of one series for the console's history."""

from collections.abc import Mapping
from types import MappingProxyType

from fastrpc.console.history import FigureHistory, SeriesKey, Totals

__all__ = ["add_series"]


def add_series(
    history: FigureHistory,
    key: SeriesKey,
    began: float,
    ended: float,
    totals: Totals,
    durations: Mapping[int, int] = MappingProxyType({}),
    owner: str = "",
) -> None:
    """Add the counts of one series between two instants."""
    history.add(began, ended, [(key, (totals, durations))], owner)
