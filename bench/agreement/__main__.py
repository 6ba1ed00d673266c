"""Command line: `python -m bench.agreement [--rounds 3] [--seconds 3]`: prints each bar with its limit.

The program ends with 1 if a bar is not kept. It needs Go, and takes some four minutes once etcd is built.
"""

import sys

from bench.agreement.bars import BARS
from bench.agreement.sides import measure
from bench.beside.command import compare

if __name__ == "__main__":
    sys.exit(compare("bench.agreement", __doc__ or "", BARS, measure))
