"""The command line of a comparison: `python -m PACKAGE [--rounds 3] [--seconds 3]`."""

import argparse
import os
from collections.abc import Callable, Sequence

from bench.beside.bars import Bar, Bound, Figures

__all__ = ["compare"]


def compare(
    package: str,
    description: str,
    bars: Sequence[Bar | Bound],
    measure: Callable[[int, float], Figures],
    arguments: Sequence[str] | None = None,
    *,
    seconds: float = 3.0,
) -> int:
    """Measure all sides by turns, and print each bar with its limit; return the exit status: 1 if a bar is not kept."""
    parser = argparse.ArgumentParser(prog=f"python -m {package}", description=description)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each side; medians count")
    parser.add_argument("--seconds", type=float, default=seconds, help="of each measurement")
    given = parser.parse_args(arguments)
    figures = measure(given.rounds, given.seconds)
    findings = [bar.found(figures) for bar in bars]
    print(f"times of one operation, medians of {given.rounds}; load average {os.getloadavg()[0]:.1f}")
    for finding in findings:
        print(finding)
    return 0 if all(finding.is_kept for finding in findings) else 1
