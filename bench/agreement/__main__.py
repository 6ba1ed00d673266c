"""Command line: `python -m bench.agreement [--rounds 3] [--seconds 3]`: prints each bar with its limit.

It ends with 1 if one is not kept. It needs Go, and takes some four minutes once etcd is built.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from bench.agreement.bars import BARS
from bench.agreement.sides import measure


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all sides in turn, and print what came of it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.agreement", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each side; medians count")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    given = parser.parse_args(arguments)
    figures = measure(given.rounds, given.seconds)
    findings = [bar.found(figures) for bar in BARS]
    print(f"times of one operation, medians of {given.rounds}; load average {os.getloadavg()[0]:.1f}")
    for finding in findings:
        print(finding)
    return 0 if all(finding.is_kept for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
