"""Counting instructions: a run of the worker under callgrind, in this tree or in that of an older commit."""

import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path

from bench.compare.paths import ROOT

__all__ = ["CountingFailedError", "count_commit", "count_tree", "environment", "last_commit_of"]

#: Marks around a path: before it runs warm, before the first count, between the two, at the end.
MARKS = 4

#: A minute on a machine without other work; next to other programs, at a lower weight, much longer.
WORKER_SECONDS = 1_200
BUILD = ROOT / "build" / "guard"

#: The compilers, the packages compiled against, and the packages that run beside our own code.
PACKAGES = ("Cython", "msgspec", "uvloop")


class CountingFailedError(Exception):
    """A program that is needed for counting failed; carries the end of its output."""


def environment() -> dict[str, str]:
    """Return everything besides the sources on which the counts depend: they compare only if all of it is equal."""
    return {
        "python": sys.version,
        "compiler": _first_line([*sysconfig.get_config_var("CC").split(), "--version"]),
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine(),
        "valgrind": _first_line(["valgrind", "--version"]),
        **{package: version(package) for package in PACKAGES},
    }


def count_tree(tree: Path, library: Path) -> dict[str, float]:
    """Count the instructions per call of each hot path of a built tree.

    Args:
        library: the folder from which that tree's package is imported.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    clock = BUILD / "clock.so"
    compiler = sysconfig.get_config_var("CC").split()
    _run([*compiler, "-O1", "-shared", "-fPIC", "-o", str(clock), str(tree / "bench/guard/clock.c")], tree)
    with tempfile.TemporaryDirectory() as folder:
        dumps = Path(folder)
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={dumps}/counts"]
        command += ["--dump-before=getloadavg", sys.executable, "-m", "bench.guard.worker"]
        output = _run(
            command,
            tree,
            PYTHONPATH=os.pathsep.join(map(str, (library, tree))),
            PYTHONHASHSEED="0",
            LD_PRELOAD=str(clock),
        )
        return _counts(output, dumps)


def _counts(output: str, dumps: Path) -> dict[str, float]:
    """Put together the names and times that the worker printed and the counts that callgrind left."""
    names = [line.split("\t") for line in output.splitlines() if "\t" in line]
    totals = [_total(dumps / f"counts.{number}") for number in range(1, MARKS * len(names) + 1)]
    counts = {}
    for (name, times), once, twice in zip(names, totals[2::MARKS], totals[3::MARKS], strict=True):
        counts[name] = round((twice - once) / int(times), 1)
    return counts


def _total(dump: Path) -> int:
    for line in dump.read_text().splitlines():
        if line.startswith("totals:"):
            return int(line.split()[1])
    raise CountingFailedError(f"{dump.name} has no total")


def last_commit_of(path: Path) -> str | None:
    """Return the commit that changed a file last; None outside a repository, or if the file differs from it."""
    try:
        if _run(["git", "status", "--porcelain", "--", str(path)], ROOT).strip():
            return None
        return _run(["git", "log", "-1", "--format=%H", "--", str(path)], ROOT).strip() or None
    except (CountingFailedError, OSError):
        return None


def count_commit(commit: str) -> dict[str, float]:
    """Build a commit of this repository in a separate tree, and count its hot paths here."""
    tree = BUILD / commit
    if not (tree / ".built").exists():
        tree.mkdir(parents=True, exist_ok=True)
        _run(["git", "archive", f"--output={tree}.tar", commit], ROOT)
        _run(["tar", "-xf", f"{tree}.tar"], tree)
        _run(
            [sys.executable, "setup.py", "--quiet", "build", "--build-lib", "lib"],
            tree,
            FASTRPC_BUILD="release",
        )
        (tree / ".built").touch()
    return count_tree(tree, tree / "lib")


def _first_line(command: list[str]) -> str:
    return _run(command, ROOT).splitlines()[0]


def _run(command: list[str], directory: Path, **variables: str) -> str:
    """Run a program in a separate small environment and return its output."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    outcome = subprocess.run(
        command,
        cwd=directory,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=WORKER_SECONDS,
        check=False,
    )
    if outcome.returncode:
        raise CountingFailedError(
            f"{' '.join(command)} ended with {outcome.returncode}:\n{outcome.stderr[-4000:]}"
        )
    return outcome.stdout
