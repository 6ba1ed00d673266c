"""Print the result of each way: `python -m tests.support.held_memory [WAY…]`; `all at once` is also a way."""

import sys

from tests.support.held_memory.measure import measured
from tests.support.held_memory.ways import MIXED, WAYS

if __name__ == "__main__":
    for name in sys.argv[1:] or [*(way.name for way in WAYS), "all at once"]:
        found = measured(MIXED, 0.1) if name == "all at once" else measured([name])
        print("kept    " if found.is_kept else "NOT KEPT", found, flush=True)
