"""Command line: `python -m bench.messages [--rounds 3] [--seconds 1]`: prints each bar with its limit.

The program ends with 1 if a bar is not kept. It needs nats-server and redis-server, and takes some four minutes.
"""

import sys

from bench.beside.command import compare
from bench.messages.bars import BARS
from bench.messages.sides import measure

if __name__ == "__main__":
    sys.exit(compare("bench.messages", __doc__ or "", BARS, measure, seconds=1.0))
