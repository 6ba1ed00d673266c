"""The sources of three modules, as setup.py builds them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.source_tree import ROOT

__all__ = ["DECLARATION", "HEADER", "ONE", "TWO", "Tree"]

HEADER = "static int fastrpc_step(void) { return 1; }\n"
DECLARATION = (
    'cdef extern from "base/hash64.h":\n    int fastrpc_step() noexcept nogil\n\ncdef int one(int value)\n'
)
ONE = "cdef int one(int value):\n    return value + fastrpc_step()\n\ndef answer():\n    return one(41)\n"
TWO = "from fastrpc._core.base.one cimport one\n\ndef twice():\n    return one(one(40))\n"


class Tree:
    """Sources that setup.py builds, and a cache of their own."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.root = root
        self.base = root / "src/fastrpc/_core/base"
        #: The interpreter that runs setup.py.
        self.python = sys.executable
        # Whatever build the tests themselves run on.
        own = ("FASTRPC_BUILD", "FASTRPC_BUILD_CACHE")
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in own},
            "XDG_CACHE_HOME": str(cache),
        }
        self.base.mkdir(parents=True)
        for folder in (self.base, self.base.parent, self.base.parent.parent):
            (folder / "__init__.py").touch()
        shutil.copytree(ROOT / "ci" / "compiling", root / "ci" / "compiling")
        shutil.copy(ROOT / "ci" / "__init__.py", root / "ci")
        shutil.copy(ROOT / "setup.py", root)
        (root / "pyproject.toml").write_text('[project]\nname = "fastrpc"\nversion = "0"\n')
        for name, text in {
            "hash64.h": HEADER,
            "one.pxd": DECLARATION,
            "one.pyx": ONE,
            "two.pyx": TWO,
        }.items():
            (self.base / name).write_text(text)

    def command(self) -> list[str]:
        return [self.python, "setup.py", "--quiet", "build_ext", "--inplace"]

    def build(self, **environment: str) -> str:
        """Build in place, and return the output."""
        built = subprocess.run(
            self.command(),
            cwd=self.root,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert built.returncode == 0, built.stderr
        return built.stdout

    def run(self, code: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", f"from fastrpc._core.base import one, two; print({code})"],
            env=self.environment | {"PYTHONPATH": str(self.root / "src")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
