"""Command line: `python -m bench.guard [--update]`.

Counts the instructions of the hot paths and compares them with counts.json. Ends with 1 if a count differs by more than
5 %: a count that grew must become smaller or be recorded in the same commit; a count that fell is recorded, so that it
cannot grow back unseen. In another environment than the recorded one, counts within the limit pass as well: most new
versions of a package change nothing. Otherwise the last recording commit is built and counted too, and compared.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.compare.paths import ROOT
from bench.guard.counting import CountingFailedError, count_commit, count_tree, environment, last_commit_of
from bench.guard.record import Counts, Record, faults

RECORD = Path(__file__).with_name("counts.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Count and compare, or record; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=__doc__)
    parser.add_argument("--update", action="store_true", help="record what was counted")
    options = parser.parse_args(arguments)
    if shutil.which("valgrind") is None:
        print("guard: skipped, valgrind is not installed")
        return 1 if os.environ.get("CI") else 0
    counts = count_tree(ROOT, ROOT / "src")
    if options.update:
        show(Record.read(RECORD).counts, counts)
        Record(environment(), counts).write(RECORD)
        return 0
    before = recorded_counts(counts)
    if before is None:
        show({}, counts)
        print(
            "guard: skipped, the record was made in another environment and there is no commit to compare with"
        )
        return 0
    show(before, counts)
    found = faults(before, counts)
    for fault in found:
        print(f"guard: {fault}", file=sys.stderr)
    if found:
        print(
            "guard: if that is meant, record it in the same commit: make guard ARGS=--update", file=sys.stderr
        )
    return 1 if found else 0


def recorded_counts(counts: Counts) -> Counts | None:
    """Return the record as it would have been counted here, or None if that is unknown.

    Args:
        counts: the present counts; a record close to all of them is used in any environment.
    """
    record, here = Record.read(RECORD), environment()
    if record.environment == here:
        return record.counts
    for name in sorted({*record.environment, *here}):
        if record.environment.get(name) != here.get(name):
            print(f"guard: recorded with {name} {record.environment.get(name)}, here it is {here.get(name)}")
    if not faults(record.counts, counts):
        return record.counts
    commit = last_commit_of(RECORD)
    if commit is None:
        return None
    print(f"guard: building {commit[:12]}, which recorded last, to compare with it")
    return count_commit(commit)


def show(before: Counts, now: Counts) -> None:
    """Print the counts next to the recorded ones."""
    print(f"{'instructions a call':<42} {'recorded':>10} {'now':>10}")
    for name, count in now.items():
        change = f"{count / before[name] - 1:+8.1%}" if name in before else ""
        recorded = f"{before[name]:,.1f}" if name in before else "–"
        print(f"{name:<42} {recorded:>10} {count:>10,.1f} {change}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CountingFailedError as error:
        sys.exit(f"guard: {error}")
