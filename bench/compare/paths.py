"""The folders that the comparison reads and writes; git ignores the output of runs."""

from pathlib import Path

#: The project's root: commands run here, so that `-m bench.compare…` resolves.
ROOT = Path(__file__).resolve().parents[2]

#: The comparison's own sources that are not Python.
SOURCES = ROOT / "bench" / "compare"

#: Compiled peers and generated protobuf modules.
BUILD = ROOT / "build" / "bench"

#: JSON, Markdown and plots of the latest run.
RESULTS = ROOT / "bench" / "results"

#: The plots and tables of the documents, below the root; these git keeps.
PLOTS = Path("bench") / "plots"
TABLES = Path("bench") / "RESULTS.md"
