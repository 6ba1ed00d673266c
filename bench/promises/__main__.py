"""Command line: `python -m bench.promises [NAME…]`. Measures, prints, and ends with 1 if a promise is not kept."""

import argparse
import resource
import sys
from collections.abc import Sequence

from bench.promises.measures import MEASURES

#: File descriptors for the sockets of one side and the other open files of a process.
DESCRIPTORS = 12_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the requested promises, or all; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.promises", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *MEASURES], metavar="NAME", help=", ".join(MEASURES))
    names = parser.parse_args(arguments).names or list(MEASURES)
    _allow_descriptors()
    kept = True
    for name in names:
        print(f"{name}: measuring …", file=sys.stderr)
        found = MEASURES[name]()
        for finding in found if isinstance(found, list) else [found]:
            print(finding, flush=True)
            kept = kept and finding.is_kept
    return 0 if kept else 1


def _allow_descriptors() -> None:
    """Raise the limit of open files for this process and its children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
