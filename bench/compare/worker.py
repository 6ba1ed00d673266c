"""One side of a Python peer in a process of its own: `python -m bench.compare.worker serve|load …`.

serve MODULE PEER WORKLOAD DIRECTORY    announces its address, ends when standard input closes
load MODULE PEER ORDER                  ORDER is a LoadOrder as JSON; prints the Measurement as JSON
"""

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from bench.compare.measurement import LoadOrder
from bench.compare.peers.base import PythonPeer
from bench.compare.workloads import WORKLOADS


def main(arguments: Sequence[str]) -> None:
    """Run the side that the arguments name."""
    part, module, name, *rest = arguments
    peers: tuple[PythonPeer, ...] = importlib.import_module(module).PEERS
    peer = next(peer for peer in peers if peer.name == name)
    if part == "serve":
        workload, directory = rest
        peer.serve(Path(directory), WORKLOADS[workload])
    else:
        order = msgspec.json.decode(rest[0], type=LoadOrder)
        print(json.dumps(asdict(peer.load(order))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
